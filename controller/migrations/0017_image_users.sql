-- What becomes of users that the image brings: keep, remove-keys, lock-passwords, remove-access.
ALTER TABLE deployments ADD COLUMN image_users TEXT NOT NULL DEFAULT 'keep';
