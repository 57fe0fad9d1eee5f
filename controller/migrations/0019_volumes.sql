-- Network volumes that servers see as disks, and the SDI cards that show them.

-- Where the server's SDI card serves OPI's storage API: HOST:PORT.
ALTER TABLE nodes ADD COLUMN card TEXT;

CREATE TABLE volumes (
    id               TEXT    PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    size_bytes       INTEGER NOT NULL,
    -- What holds its bytes, as JSON.
    backing          TEXT    NOT NULL,
    -- What it may use at most; NULL: all.
    kiops            INTEGER,
    mb_per_s         INTEGER,
    -- available, attaching, attached, detaching, error
    state            TEXT    NOT NULL,
    -- Rises with each change of state.
    version          INTEGER NOT NULL DEFAULT 1,
    -- Of the state: when it began, and when it is given up.
    since            INTEGER NOT NULL,
    deadline         INTEGER,
    -- What is waited for, or what went wrong, and what can be done.
    why              TEXT    NOT NULL DEFAULT '',
    remedy           TEXT    NOT NULL DEFAULT '',
    -- Where it is, or is to be; without function and kind when no card has a part in it.
    node_id          TEXT    REFERENCES nodes (id),
    port             INTEGER,
    physical         INTEGER,
    virtual          INTEGER,
    kind             TEXT,
    -- What the card calls it; empty until it is attached.
    card_name        TEXT    NOT NULL DEFAULT '',
    created_by       TEXT    NOT NULL,
    created_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- A function shows one disk.
CREATE UNIQUE INDEX volumes_by_function ON volumes (node_id, port, physical, virtual) WHERE node_id IS NOT NULL;
