-- What a batch has still to make: a controller that was killed goes on with it, and forgets no node.

-- The nodes that have neither a deployment nor a refusal yet; a row goes in the transaction that makes either.
CREATE TABLE batch_pending (
    batch_id TEXT    NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    -- In the order in which they were named.
    position INTEGER NOT NULL,
    -- As it was asked for.
    node     TEXT    NOT NULL,
    PRIMARY KEY (batch_id, position)
) STRICT, WITHOUT ROWID;

-- What was asked for, until all of it is made. Apart, so that it can be deleted then: it may hold user-data.
CREATE TABLE batch_requests (
    batch_id TEXT    PRIMARY KEY REFERENCES batches (id) ON DELETE CASCADE,
    -- What each node gets, as JSON.
    request  TEXT    NOT NULL,
    -- Who asked for it, as JSON.
    caller   TEXT    NOT NULL,
    -- How many nodes were named.
    nodes    INTEGER NOT NULL
) STRICT;

-- A key may belong to a batch as well.
CREATE TABLE new_idempotency_keys (
    key           TEXT PRIMARY KEY,
    request_hash  BLOB NOT NULL,
    -- What the request made: one of the two.
    deployment_id TEXT REFERENCES deployments (id) ON DELETE CASCADE,
    batch_id      TEXT REFERENCES batches (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL
) STRICT;
INSERT INTO new_idempotency_keys (key, request_hash, deployment_id, created_at)
    SELECT key, request_hash, deployment_id, created_at FROM idempotency_keys;
DROP TABLE idempotency_keys;
ALTER TABLE new_idempotency_keys RENAME TO idempotency_keys;
