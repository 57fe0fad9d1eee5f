-- What the hardware model of a node said about a deployment: the model whose rule chose the disk (NULL: the request said
-- which, or nobody), and by how many seconds such servers boot longer than others.
ALTER TABLE deployments ADD COLUMN disk_rule_model TEXT;
ALTER TABLE deployments ADD COLUMN boot_seconds INTEGER NOT NULL DEFAULT 0;
