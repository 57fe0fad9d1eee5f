-- What storage and deployments are billed by.

-- Length of the whole pack: what it takes in the store, for all manifests that name it together.
ALTER TABLE manifest_packs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE manifest_packs
SET bytes = coalesce((SELECT max(pack_bytes) FROM chunks WHERE chunks.pack = manifest_packs.pack), 0);

-- What an image takes in the store, and since when: the part of the bill that is not written yet. An image that is gone
-- has none.
CREATE TABLE storage_meters (
    image_id           TEXT PRIMARY KEY,
    project_id         TEXT NOT NULL,
    since              INTEGER NOT NULL,
    -- As if nothing were shared; its part of what is stored once.
    logical_bytes      INTEGER NOT NULL,
    deduplicated_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX storage_meters_by_project ON storage_meters (project_id);
CREATE INDEX storage_meters_by_age ON storage_meters (since);

-- What the image costs that is deployed, as it was when the deployment was asked for; NULL: nothing.
ALTER TABLE deployments ADD COLUMN price TEXT;

-- A deployment is billed once: one record for the server, one for an image that costs something.
CREATE UNIQUE INDEX usage_records_once ON usage_records (deployment_id, kind) WHERE deployment_id IS NOT NULL;
