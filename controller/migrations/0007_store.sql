-- What was found damaged or missing in the store, until it is found good, written again or removed.

CREATE TABLE store_damage (
    -- "packs/<hex>", "manifests/<hex>"
    object   TEXT PRIMARY KEY,
    cause    TEXT NOT NULL,
    found_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Manifests that cannot be written to a disk because of it: those that need the damaged part.
CREATE TABLE manifest_damage (
    manifest TEXT NOT NULL,
    object   TEXT NOT NULL REFERENCES store_damage (object) ON DELETE CASCADE,
    PRIMARY KEY (manifest, object)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_damage_by_object ON manifest_damage (object);
