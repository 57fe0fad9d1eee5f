-- Images, the chunks they share, and the tokens of callers. Times are milliseconds since 1970, ids are ULIDs.

CREATE TABLE api_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- BLAKE3 of the token, which has 256 random bits: nothing to guess, no salt needed. The token itself is not kept.
    token_hash BLOB NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- NULL: no end.
    expires_at INTEGER
) STRICT;

CREATE TABLE images (
    id                   TEXT PRIMARY KEY,
    name                 TEXT NOT NULL UNIQUE,
    -- Identity of the content; several names may share one.
    image_digest         TEXT NOT NULL,
    -- BLAKE3 of the manifest as stored, without its signatures.
    manifest_digest      TEXT NOT NULL,
    disk_size_bytes      INTEGER NOT NULL,
    data_bytes           INTEGER NOT NULL,
    stored_bytes         INTEGER NOT NULL,
    logical_sector_bytes INTEGER NOT NULL,
    source_format        TEXT NOT NULL,
    created_at           INTEGER NOT NULL,
    -- Of the request that made it.
    idempotency_key      TEXT UNIQUE
) STRICT;

CREATE INDEX images_by_digest ON images (image_digest);

-- Which packs the manifest of an image names.
CREATE TABLE image_packs (
    image_digest TEXT NOT NULL,
    pack         TEXT NOT NULL,
    PRIMARY KEY (image_digest, pack)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_packs_by_pack ON image_packs (pack);

-- Where the frame of a chunk lies, so that the same content is stored once across all images.
CREATE TABLE chunks (
    plain       BLOB PRIMARY KEY,
    frame       BLOB NOT NULL,
    pack        TEXT NOT NULL,
    -- Length of the whole pack.
    pack_bytes  INTEGER NOT NULL,
    frame_at    INTEGER NOT NULL,
    frame_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects of imports that have not ended ("packs/<hex>", "manifests/<hex>"): whatever is here when the controller
-- starts was left by a crash.
CREATE TABLE pending_objects (
    import_id TEXT NOT NULL,
    object    TEXT NOT NULL,
    PRIMARY KEY (import_id, object)
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_objects_by_object ON pending_objects (object);
