-- Management controllers of servers, and what is done with their power.

CREATE TABLE bmcs (
    node_id      TEXT    PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    -- redfish, ipmi, manual
    kind         TEXT    NOT NULL,
    -- redfish: http(s)://HOST[:PORT]; ipmi: HOST:PORT; manual: empty.
    address      TEXT    NOT NULL DEFAULT '',
    user_name    TEXT    NOT NULL DEFAULT '',
    -- The password, sealed with a key of its own, and that key, wrapped as those of images are. NULL: manual.
    sealed       BLOB,
    wrapped_key  BLOB,
    wrapped_by   TEXT,
    -- Id or path of the system; NULL: the only one, or the one that is the node.
    system       TEXT,
    -- What its certificate is trusted by: SHA-256 over it, hex, or CAs; both NULL: those of the controller's host.
    fingerprint  TEXT,
    ca_pem       TEXT,
    -- pxe, uefi-http
    boot         TEXT    NOT NULL DEFAULT 'pxe',
    -- What people have to know who power it by hand.
    instructions TEXT    NOT NULL DEFAULT '',
    -- What an operator set, as JSON.
    quirks       TEXT    NOT NULL DEFAULT '{}',
    -- What it said that it manages, when it was asked last.
    vendor       TEXT    NOT NULL DEFAULT '',
    model        TEXT    NOT NULL DEFAULT '',
    -- An override of the boot order that stays is still to be taken back.
    boot_left    INTEGER NOT NULL DEFAULT 0,
    set_by       TEXT    NOT NULL,
    set_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE power_actions (
    id            TEXT    PRIMARY KEY,
    node_id       TEXT    NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    -- on, off, cycle
    action        TEXT    NOT NULL,
    force         INTEGER NOT NULL,
    -- pxe, uefi-http, cd, disk; NULL: what the boot order says.
    boot          TEXT,
    -- running, done, failed
    state         TEXT    NOT NULL,
    -- What is to be reached now: look, off, boot, on.
    stage         TEXT    NOT NULL,
    -- When it was asked for last in this stage; NULL: not yet.
    asked_at      INTEGER,
    deadline      INTEGER NOT NULL,
    -- What is waited for, or what went wrong or is worth knowing, and what can be done.
    why           TEXT    NOT NULL DEFAULT '',
    remedy        TEXT    NOT NULL DEFAULT '',
    -- The same, to be told in the end.
    note          TEXT    NOT NULL DEFAULT '',
    note_remedy   TEXT    NOT NULL DEFAULT '',
    -- The deployment that it is for.
    deployment_id TEXT,
    -- NULL: the controller.
    requested_by  TEXT,
    created_at    INTEGER NOT NULL,
    ended_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX power_actions_by_node ON power_actions (node_id, id);
-- One thing at a time.
CREATE UNIQUE INDEX power_actions_running ON power_actions (node_id) WHERE state = 'running';
