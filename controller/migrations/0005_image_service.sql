-- Projects, users and their tokens; images as families, versions and disks; members, quotas, jobs, usage.
-- Times are unix milliseconds, ids are ULIDs, documents are JSON text.

-- Tenants. The project `platform` owns what operators make.
CREATE TABLE projects (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    -- NULL: what the configuration says. Private images of one user; stored bytes of the project.
    max_images_per_user INTEGER,
    max_stored_bytes    INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO projects (id, name, description, created_at)
VALUES ('00000000000000000000000000', 'platform', 'Owns what operators make.', 0);

CREATE TABLE users (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE COLLATE NOCASE,
    disabled_at INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;

-- admin and operator are roles in the project `platform` alone.
CREATE TABLE project_users (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, user_id)
) STRICT, WITHOUT ROWID;

-- A token acts for one project, with at most the role that its user has there. NULL: made at the console, of nobody.
ALTER TABLE api_tokens ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE api_tokens ADD COLUMN project_id TEXT NOT NULL DEFAULT '00000000000000000000000000';
-- JSON array of scopes ("images:read"); NULL: all that the role may do.
ALTER TABLE api_tokens ADD COLUMN scopes TEXT;
ALTER TABLE api_tokens ADD COLUMN revoked_at INTEGER;

-- Who did it, and for which project; NULL: the controller itself, or everybody's.
ALTER TABLE events ADD COLUMN project_id TEXT;
ALTER TABLE events ADD COLUMN actor TEXT;

-- Whose machine it is; members of other projects do not see it.
ALTER TABLE nodes ADD COLUMN project_id TEXT NOT NULL DEFAULT '00000000000000000000000000';
CREATE INDEX nodes_by_project ON nodes (project_id, id);

ALTER TABLE deployments ADD COLUMN project_id TEXT NOT NULL DEFAULT '00000000000000000000000000';
ALTER TABLE deployments ADD COLUMN requested_by TEXT NOT NULL DEFAULT '';
-- Key of the manifest in the store; it and its packs stay while the deployment runs.
ALTER TABLE deployments ADD COLUMN manifest TEXT NOT NULL DEFAULT '';
-- JSON array of what the caller was warned of.
ALTER TABLE deployments ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
UPDATE deployments SET manifest = image_digest;
CREATE INDEX deployments_by_manifest ON deployments (manifest) WHERE state = 'running';

-- What the store holds of one disk. Manifests are named by the digest of their bytes, since the same content may lie in
-- other packs for another project, or be encrypted; those of older stores by that of the image.
CREATE TABLE manifests (
    manifest             TEXT PRIMARY KEY,
    -- BLAKE3 of the manifest as stored, without its signatures.
    manifest_digest      TEXT NOT NULL,
    image_digest         TEXT NOT NULL,
    disk_size_bytes      INTEGER NOT NULL,
    data_bytes           INTEGER NOT NULL,
    stored_bytes         INTEGER NOT NULL,
    logical_sector_bytes INTEGER NOT NULL,
    -- The data key of its chunks, wrapped; NULL: not encrypted. And what wrapped it.
    wrapped_key          BLOB,
    wrapped_by           TEXT,
    -- What was read from it, without the packages; NULL: not looked at.
    facts                TEXT,
    lint                 TEXT,
    created_at           INTEGER NOT NULL
) STRICT;

CREATE INDEX manifests_by_image ON manifests (image_digest);

INSERT INTO manifests (manifest, manifest_digest, image_digest, disk_size_bytes, data_bytes, stored_bytes,
                       logical_sector_bytes, created_at)
SELECT image_digest, manifest_digest, image_digest, disk_size_bytes, data_bytes, stored_bytes, logical_sector_bytes,
       min(created_at)
FROM images GROUP BY image_digest;

CREATE TABLE manifest_packs (
    manifest TEXT NOT NULL,
    pack     TEXT NOT NULL,
    PRIMARY KEY (manifest, pack)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_packs_by_pack ON manifest_packs (pack);
INSERT INTO manifest_packs SELECT image_digest, pack FROM image_packs;
DROP TABLE image_packs;

-- Software found in a disk, for search and for the bill of materials.
CREATE TABLE manifest_packages (
    manifest     TEXT NOT NULL REFERENCES manifests (manifest) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    PRIMARY KEY (manifest, name, version, architecture)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_packages_by_name ON manifest_packages (name, manifest);

-- Versions of images. A family is a name within a project.
ALTER TABLE images RENAME TO old_images;

CREATE TABLE images (
    id                   TEXT PRIMARY KEY,
    project_id           TEXT NOT NULL REFERENCES projects (id),
    -- Name of the user, or of the token when it is nobody's.
    created_by           TEXT NOT NULL,
    name                 TEXT NOT NULL,
    family               TEXT,
    version              TEXT,
    description          TEXT NOT NULL DEFAULT '',
    -- system-disk, data-disk, iso, full-machine
    kind                 TEXT NOT NULL,
    -- private, shared, public, community, marketplace
    visibility           TEXT NOT NULL,
    -- queued, importing, active, deactivated, deprecated, obsolete, deleted, failed
    state                TEXT NOT NULL,
    -- What everybody should know who uses it.
    state_reason         TEXT NOT NULL DEFAULT '',
    -- Id of the image to use instead of a deprecated or obsolete one.
    replacement          TEXT,
    exclude_from_latest  INTEGER NOT NULL DEFAULT 0,
    protected            INTEGER NOT NULL DEFAULT 0,
    -- '': that of the controller; filled in at its next start.
    region               TEXT NOT NULL,
    -- upload, url, s3, oci, copy, compose, capture, backup-vault
    source               TEXT NOT NULL,
    -- Where it came from, without secrets.
    source_reference     TEXT NOT NULL DEFAULT '',
    source_format        TEXT NOT NULL,
    -- The image it was copied or made from.
    parent_id            TEXT,
    -- The server model it was captured from.
    source_model         TEXT NOT NULL DEFAULT '',
    -- baremetal, vm, any
    target               TEXT NOT NULL DEFAULT 'baremetal',
    -- Detected, or declared where nothing was detected; '' is unknown.
    os_distribution      TEXT NOT NULL DEFAULT '',
    os_version           TEXT NOT NULL DEFAULT '',
    architecture         TEXT NOT NULL DEFAULT '',
    -- JSON array of "uefi" and "bios".
    boot_modes           TEXT NOT NULL DEFAULT '[]',
    min_disk_bytes       INTEGER NOT NULL DEFAULT 0,
    min_memory_bytes     INTEGER NOT NULL DEFAULT 0,
    -- Sums over its disks.
    disk_size_bytes      INTEGER NOT NULL DEFAULT 0,
    data_bytes           INTEGER NOT NULL DEFAULT 0,
    stored_bytes         INTEGER NOT NULL DEFAULT 0,
    encrypted            INTEGER NOT NULL DEFAULT 0,
    -- {name, included, required, reference}; {amount, currency, per}; JSON, NULL: none said.
    license              TEXT,
    price                TEXT,
    -- Of marketplace images.
    publisher            TEXT NOT NULL DEFAULT '',
    -- JSON array of hardware models it was certified for.
    certified_for        TEXT NOT NULL DEFAULT '[]',
    -- JSON object of texts.
    properties           TEXT NOT NULL DEFAULT '{}',
    row_version          INTEGER NOT NULL DEFAULT 1,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    deleted_at           INTEGER,
    -- Of the request that made it.
    idempotency_key      TEXT
) STRICT;

INSERT INTO images (id, project_id, created_by, name, kind, visibility, state, region, source, source_format,
                    disk_size_bytes, data_bytes, stored_bytes, created_at, updated_at, idempotency_key)
SELECT id, '00000000000000000000000000', '', name, 'system-disk', 'public', 'active', '', 'upload', source_format,
       disk_size_bytes, data_bytes, stored_bytes, created_at, created_at, idempotency_key
FROM old_images;

-- The disks of an image in order; a system disk comes first.
CREATE TABLE image_disks (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    -- system, data, or a name of the operator's choice for the data disks of a full machine.
    role     TEXT NOT NULL,
    manifest TEXT NOT NULL,
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_disks_by_manifest ON image_disks (manifest);
INSERT INTO image_disks SELECT id, 0, 'system', image_digest FROM old_images;
DROP TABLE old_images;

CREATE UNIQUE INDEX images_by_name ON images (project_id, name) WHERE state <> 'deleted';
CREATE UNIQUE INDEX images_by_key ON images (project_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX images_named ON images (name) WHERE state <> 'deleted';
CREATE INDEX images_of_project ON images (project_id, id) WHERE state <> 'deleted';
CREATE INDEX images_by_visibility ON images (visibility, id) WHERE state <> 'deleted';
CREATE INDEX images_by_state ON images (state, id);
CREATE INDEX images_by_family ON images (family, id) WHERE family IS NOT NULL AND state <> 'deleted';

CREATE TABLE image_tags (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    tag      TEXT NOT NULL,
    PRIMARY KEY (image_id, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_tags_by_tag ON image_tags (tag, image_id);

-- Projects that an image is shared with: pending, accepted, rejected.
CREATE TABLE image_members (
    image_id   TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (image_id, project_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_members_by_project ON image_members (project_id, state, image_id);

-- Changes of state that somebody has planned.
CREATE TABLE image_transitions (
    image_id    TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    to_state    TEXT NOT NULL,
    at          INTEGER NOT NULL,
    replacement TEXT,
    reason      TEXT NOT NULL DEFAULT '',
    planned_by  TEXT NOT NULL,
    PRIMARY KEY (image_id, to_state)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_transitions_due ON image_transitions (at);

-- Paid images that a project may deploy.
CREATE TABLE image_entitlements (
    image_id   TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    granted_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (image_id, project_id)
) STRICT, WITHOUT ROWID;

-- Long work: import, export, copy, verify, gc.
CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    project_id TEXT NOT NULL REFERENCES projects (id),
    image_id   TEXT,
    -- queued, running, succeeded, failed, cancelled
    state      TEXT NOT NULL,
    -- What was asked for, without secrets.
    request    TEXT NOT NULL,
    -- {step, bytes_done, bytes_total}
    progress   TEXT,
    result     TEXT,
    -- {cause, remedy, type}
    problem    TEXT,
    requested_by TEXT NOT NULL,
    cancel_requested_at INTEGER,
    idempotency_key     TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER
) STRICT;

CREATE INDEX jobs_by_project ON jobs (project_id, id);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE UNIQUE INDEX jobs_by_key ON jobs (project_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Files that arrive in pieces; the bytes lie in the spool.
CREATE TABLE uploads (
    id           TEXT PRIMARY KEY,
    project_id   TEXT NOT NULL REFERENCES projects (id),
    length_bytes INTEGER,
    -- What the new image is to be, as the request said.
    request      TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;

-- What running imports and copies will take of their project's quota.
CREATE TABLE quota_reservations (
    holder     TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    created_by TEXT NOT NULL,
    images     INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX quota_reservations_by_project ON quota_reservations (project_id);

-- For billing: storage over a span of time, deployments, prices of paid images.
CREATE TABLE usage_records (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    kind               TEXT NOT NULL,
    project_id         TEXT NOT NULL,
    image_id           TEXT NOT NULL,
    deployment_id      TEXT,
    begins_at          INTEGER NOT NULL,
    ends_at            INTEGER NOT NULL,
    -- As if nothing were shared; its part of what is stored once.
    logical_bytes      INTEGER NOT NULL DEFAULT 0,
    deduplicated_bytes INTEGER NOT NULL DEFAULT 0,
    -- {amount, currency, per}
    price              TEXT
) STRICT;

CREATE INDEX usage_records_by_project ON usage_records (project_id, begins_at);

-- Chunks are found again only by projects that may see an image which has them: each has a table of its own.
ALTER TABLE chunks RENAME TO old_chunks;

CREATE TABLE chunks (
    project_id  TEXT NOT NULL,
    plain       BLOB NOT NULL,
    frame       BLOB NOT NULL,
    pack        TEXT NOT NULL,
    -- Length of the whole pack.
    pack_bytes  INTEGER NOT NULL,
    frame_at    INTEGER NOT NULL,
    frame_bytes INTEGER NOT NULL,
    PRIMARY KEY (plain, project_id)
) STRICT, WITHOUT ROWID;

INSERT INTO chunks SELECT '00000000000000000000000000', plain, frame, pack, pack_bytes, frame_at, frame_bytes FROM old_chunks;
DROP TABLE old_chunks;
CREATE INDEX chunks_by_pack ON chunks (pack);
