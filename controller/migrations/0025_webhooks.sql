-- Where events are sent to, and how far each one is.
CREATE TABLE webhooks (
    id            TEXT    PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    url           TEXT    NOT NULL,
    -- JSON array of kinds and beginnings of kinds ("alarm.*"); empty: all.
    kinds         TEXT    NOT NULL,
    -- Only events of this project; NULL: all.
    project_id    TEXT    REFERENCES projects (id) ON DELETE CASCADE,
    -- What messages are signed with, wrapped.
    secret        BLOB    NOT NULL,
    secret_by     TEXT    NOT NULL,
    -- active, disabled
    state         TEXT    NOT NULL,
    -- Why it is disabled.
    why           TEXT    NOT NULL DEFAULT '',
    -- Rises with each change that whoever delivers must know of.
    version       INTEGER NOT NULL DEFAULT 1,
    -- All events up to and including this one were delivered, or are not for it.
    cursor        INTEGER NOT NULL,
    -- Of the first event after that: how often it was refused in a row, since when, why, and when it is tried again.
    attempts      INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_error    TEXT    NOT NULL DEFAULT '',
    next_at       INTEGER,
    delivered     INTEGER NOT NULL DEFAULT 0,
    delivered_at  INTEGER,
    created_by    TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
