-- What a deployment says of finishing besides the rest, as JSON: form of cloud-init's seed, fresh UUIDs of file systems, arguments
-- of the installed kernels.
ALTER TABLE deployments ADD COLUMN finish_options TEXT NOT NULL DEFAULT '{}';
