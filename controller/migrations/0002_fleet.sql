-- Nodes, deployments, tasks and the event log.
-- Times are unix milliseconds, ids are ULIDs, documents are JSON text.

CREATE TABLE nodes (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE COLLATE NOCASE,
    state          TEXT NOT NULL,
    version        INTEGER NOT NULL DEFAULT 1,
    -- Lower case with hyphens; NULL when the firmware gives none that can be trusted.
    smbios_uuid    TEXT,
    serial         TEXT,
    hardware       TEXT NOT NULL DEFAULT '',
    inventory      TEXT,
    inventory_at   INTEGER,
    agent_version  TEXT,
    agent_boot_id  TEXT,
    agent_starts   INTEGER,
    agent_defects  TEXT NOT NULL DEFAULT '[]',
    -- {step, cause, remedy} in state failed.
    problem        TEXT,
    deployment_id  TEXT,
    last_seen_at   INTEGER,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX nodes_by_uuid ON nodes (smbios_uuid) WHERE smbios_uuid IS NOT NULL;
CREATE INDEX nodes_by_serial ON nodes (serial) WHERE serial IS NOT NULL;
CREATE INDEX nodes_by_state ON nodes (state, id);

CREATE TABLE node_macs (
    mac      TEXT PRIMARY KEY,
    node_id  TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    position INTEGER NOT NULL
) STRICT;

CREATE INDEX node_macs_by_node ON node_macs (node_id, position);

CREATE TABLE deployments (
    id                   TEXT PRIMARY KEY,
    node_id              TEXT NOT NULL REFERENCES nodes (id),
    version              INTEGER NOT NULL DEFAULT 1,
    -- running, succeeded, failed, cancelled
    state                TEXT NOT NULL,
    -- Where a running deployment is: await-agent, agent-works, await-report.
    phase                TEXT NOT NULL,
    step                 TEXT NOT NULL,
    -- What was asked for, without secrets.
    image_id             TEXT NOT NULL,
    image_name           TEXT NOT NULL,
    image_digest         TEXT NOT NULL,
    manifest_digest      TEXT NOT NULL,
    disk_size_bytes      INTEGER NOT NULL,
    logical_sector_bytes INTEGER NOT NULL,
    disk_rule            TEXT NOT NULL,
    hostname             TEXT NOT NULL,
    boot_order           TEXT NOT NULL,
    grow_root            INTEGER NOT NULL,
    finish               INTEGER NOT NULL,
    -- The task of the present attempt.
    attempt              INTEGER NOT NULL DEFAULT 1,
    task_id              TEXT NOT NULL,
    -- What the reconciler measures its deadlines from.
    phase_since          INTEGER NOT NULL,
    moved_at             INTEGER NOT NULL,
    cancel_requested_at  INTEGER,
    -- Whether the agent has reported the whole image as written and released.
    disk_state           TEXT NOT NULL DEFAULT 'untouched',
    problem              TEXT,
    write_figures        TEXT,
    disk                 TEXT,
    boot_entry           TEXT,
    first_boot           TEXT,
    created_at           INTEGER NOT NULL,
    finished_at          INTEGER
) STRICT;

CREATE UNIQUE INDEX deployments_running ON deployments (node_id) WHERE state = 'running';
CREATE INDEX deployments_by_node ON deployments (node_id, id);
CREATE INDEX deployments_by_state ON deployments (state, id);

-- Every task ever given out: what an agent resends of an old one can still be acknowledged.
CREATE TABLE deployment_tasks (
    task_id        TEXT PRIMARY KEY,
    deployment_id  TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    node_id        TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    -- All numbered messages up to and including this one are kept.
    sequence_taken INTEGER NOT NULL DEFAULT 0,
    -- The boot of the machine in which the agent took the task.
    agent_boot_id  TEXT,
    ended_at       INTEGER,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE deployment_steps (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    step          TEXT NOT NULL,
    position      INTEGER NOT NULL,
    state         TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    detail        TEXT NOT NULL DEFAULT '',
    cause         TEXT NOT NULL DEFAULT '',
    remedy        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (deployment_id, step)
) STRICT;

-- Kept apart so that they can be deleted as soon as the agent has confirmed that they are on the disk.
CREATE TABLE deployment_secrets (
    deployment_id  TEXT PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    user_data      BLOB NOT NULL,
    network_config BLOB NOT NULL,
    meta_data      BLOB NOT NULL
) STRICT;

-- Only digests: each time a task is sent it carries a token of its own, good until the deployment ends.
CREATE TABLE report_tokens (
    token_hash    BLOB PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX report_tokens_by_deployment ON report_tokens (deployment_id);

CREATE TABLE idempotency_keys (
    key           TEXT PRIMARY KEY,
    request_hash  BLOB NOT NULL,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL
) STRICT;

-- Append-only. The numbers rise in the order of commits, since SQLite has one writer at a time.
CREATE TABLE events (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at            INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    node_id       TEXT,
    deployment_id TEXT,
    message       TEXT NOT NULL,
    details       TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_node ON events (node_id, id) WHERE node_id IS NOT NULL;
CREATE INDEX events_by_deployment ON events (deployment_id, id) WHERE deployment_id IS NOT NULL;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'the event log is append-only');
END;
