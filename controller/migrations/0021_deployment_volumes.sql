-- Deployments that go onto a network volume.

-- NULL: onto a disk of the server. The volume may be gone since.
ALTER TABLE deployments ADD COLUMN volume_id TEXT;
-- What it was called then; empty: none.
ALTER TABLE deployments ADD COLUMN volume_name TEXT NOT NULL DEFAULT '';
-- Where the content comes from: streamed, prepared, kept.
ALTER TABLE deployments ADD COLUMN content TEXT NOT NULL DEFAULT 'streamed';
CREATE INDEX deployments_by_volume ON deployments (volume_id) WHERE volume_id IS NOT NULL;
