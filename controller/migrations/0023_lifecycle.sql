-- What else than deployments takes a node: releases and rescues.

-- install, release, rescue.
ALTER TABLE deployments ADD COLUMN purpose TEXT NOT NULL DEFAULT 'install';
-- What a release or a rescue was asked for, as JSON; NULL: an installation.
ALTER TABLE deployments ADD COLUMN terms TEXT;

-- Set: nothing is begun on the node. JSON with reason, by and since.
ALTER TABLE nodes ADD COLUMN maintenance TEXT;

-- The proof that a disk was wiped. It outlives node and release.
CREATE TABLE wipe_certificates (
    id            TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    node_id       TEXT NOT NULL,
    node_name     TEXT NOT NULL,
    project_id    TEXT NOT NULL,
    -- Serial number, or WWN, of the disk.
    disk          TEXT NOT NULL,
    -- What the agent says, as JSON.
    document      TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX wipe_certificates_by_node ON wipe_certificates (node_id, id);
