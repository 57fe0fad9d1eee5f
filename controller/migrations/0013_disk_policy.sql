-- What a deployment may do to disks that are not blank: names of disks to be wiped, disks of earlier deployments, and
-- whether other systems' disks are left alone. JSON.
ALTER TABLE deployments ADD COLUMN disk_policy TEXT NOT NULL DEFAULT '{}';
