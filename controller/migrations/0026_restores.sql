-- Backups that were restored into this database.
CREATE TABLE restores (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    restored_at INTEGER NOT NULL,
    -- When the backup was made, and the newest event in it.
    taken_at    INTEGER NOT NULL,
    newest_event INTEGER NOT NULL
) STRICT;

-- Nodes of which nobody knows what happened to them since the backup: nothing is sent to them until that is known.
CREATE TABLE node_holds (
    node_id     TEXT    PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    -- When the backup was made.
    taken_at    INTEGER NOT NULL,
    since       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
