-- Tells this database from any other; the file `witness` beside it says the same, with how far the events were.
CREATE TABLE witness (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation TEXT    NOT NULL
) STRICT;

INSERT INTO witness (only_row, generation) VALUES (1, lower(hex(randomblob(16))));

-- Why a node is on hold: 'restored', 'copied' or 'unknown-task'.
ALTER TABLE node_holds ADD COLUMN reason TEXT NOT NULL DEFAULT 'restored';

-- Tasks that agents have named and that were never in this database: it was older than the world when they came.
CREATE TABLE unknown_tasks (
    node_id  TEXT    NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    task_id  TEXT    NOT NULL,
    seen_at  INTEGER NOT NULL,
    -- An operator has confirmed the node since: the agent may be told to stop.
    given_up INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (node_id, task_id)
) STRICT, WITHOUT ROWID;
