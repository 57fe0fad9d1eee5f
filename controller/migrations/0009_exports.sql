-- What a file is known by that an image was written as. The same manifest gives the same file.
CREATE TABLE export_sums (
    manifest   TEXT NOT NULL,
    format     TEXT NOT NULL,
    -- Of the program that writes the format; another one may write other bytes.
    revision   INTEGER NOT NULL,
    file_bytes INTEGER NOT NULL,
    sha256     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (manifest, format, revision)
) STRICT, WITHOUT ROWID;

-- Images that another region sends us. What has come stays until the image is complete, or too old.
CREATE TABLE transfers (
    id            TEXT PRIMARY KEY,
    project_id    TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    created_by    TEXT NOT NULL,
    source_region TEXT NOT NULL,
    -- Id of the image there.
    source_image  TEXT NOT NULL,
    -- What the image is to be, as announced.
    request       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    -- When something came last.
    touched_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX transfers_by_project ON transfers (project_id, source_image);

CREATE TABLE transfer_disks (
    transfer_id TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    -- As the sender signed it.
    manifest    BLOB NOT NULL,
    PRIMARY KEY (transfer_id, position)
) STRICT;

-- Chunks of a transfer that the store has: those that came, and those that the project may use anyway.
CREATE TABLE transfer_chunks (
    transfer_id TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    plain       BLOB NOT NULL,
    frame       BLOB NOT NULL,
    pack        TEXT NOT NULL,
    pack_bytes  INTEGER NOT NULL,
    frame_at    INTEGER NOT NULL,
    frame_bytes INTEGER NOT NULL,
    PRIMARY KEY (transfer_id, plain)
) STRICT, WITHOUT ROWID;
