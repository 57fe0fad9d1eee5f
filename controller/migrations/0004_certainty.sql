-- What has to outlive a session or a lost answer, so that nothing is believed that is not known.

-- When the task left for the agent: from then on the disk may have been touched, until the agent says how it ended.
ALTER TABLE deployment_tasks ADD COLUMN sent_at INTEGER;
-- When an agent said, at the beginning of a session, that it holds the task.
ALTER TABLE deployment_tasks ADD COLUMN held_at INTEGER;
-- Of older tasks it is not known; only a deployment that still waits for its agent has certainly sent none.
UPDATE deployment_tasks SET sent_at = created_at
WHERE deployment_id NOT IN (SELECT id FROM deployments WHERE phase = 'await-agent');

-- Digest of the public key whose certificate the token was exchanged for: the same key may ask again.
ALTER TABLE boot_tokens ADD COLUMN spent_by BLOB;

-- The last machine that contradicted a node when it asked what to boot.
CREATE TABLE boot_conflicts (
    node_id      TEXT PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    mac          TEXT NOT NULL,
    reason       TEXT NOT NULL,
    first_at     INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT;

-- Request digests are keyed now; those made without the key would be taken for other requests.
DELETE FROM idempotency_keys;
