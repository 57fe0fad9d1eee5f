-- Deployments of many nodes by one request: a few at a time, and no more after too many failures.

CREATE TABLE batches (
    id           TEXT PRIMARY KEY,
    project_id   TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    image_name   TEXT NOT NULL,
    -- Deployments that run at a time, at most.
    at_once      INTEGER NOT NULL,
    -- Failures after which no further one begins; NULL: any number.
    stop_after   INTEGER,
    -- Set: no further one begins, and why.
    stopped_at   INTEGER,
    stop_reason  TEXT NOT NULL DEFAULT '',
    -- Nodes that were refused at once, as JSON: what was asked for, and why not.
    refused      TEXT NOT NULL DEFAULT '[]',
    created_at   INTEGER NOT NULL
) STRICT;

-- Set: made by a batch.
ALTER TABLE deployments ADD COLUMN batch_id TEXT;
CREATE INDEX deployments_by_batch ON deployments (batch_id, id) WHERE batch_id IS NOT NULL;
