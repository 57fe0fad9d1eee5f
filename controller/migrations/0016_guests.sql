-- The guest plugins of installed systems, and the passwords that were set through them.

-- The plugin that reported the last first boot of a node: what its certificate stands for.
CREATE TABLE guests (
    node_id       TEXT    PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    deployment_id TEXT    NOT NULL,
    -- BLAKE3 of its public key (SubjectPublicKeyInfo).
    key_digest    BLOB    NOT NULL,
    version       TEXT    NOT NULL DEFAULT '',
    boot_id       TEXT    NOT NULL DEFAULT '',
    -- Files that are not as they were installed, as a JSON list.
    drift         TEXT    NOT NULL DEFAULT '[]',
    -- The last event of it that was taken; ids rise.
    last_event_id TEXT    NOT NULL DEFAULT '',
    created_at    INTEGER NOT NULL,
    last_seen_at  INTEGER
) STRICT, WITHOUT ROWID;

-- Every order to set a password, without the password.
CREATE TABLE password_resets (
    id            TEXT    PRIMARY KEY,
    node_id       TEXT    NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    deployment_id TEXT    NOT NULL,
    user          TEXT    NOT NULL,
    -- sent, done, refused, expired
    state         TEXT    NOT NULL,
    -- Why it was refused.
    reason        TEXT    NOT NULL DEFAULT '',
    requested_by  TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX password_resets_by_node ON password_resets (node_id, id);
CREATE INDEX password_resets_sent ON password_resets (expires_at) WHERE state = 'sent';
