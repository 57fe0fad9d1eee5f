-- Volumes that a back-end of this controller has made, and those that were prepared from an image.

-- What made it, and has its bytes: files; NULL: it was made known, and its storage is somebody else's.
ALTER TABLE volumes ADD COLUMN backend TEXT;
-- The image that it was, or is to be, prepared from: its id, its name, the disk's digest and the key of its manifest.
ALTER TABLE volumes ADD COLUMN image_id TEXT;
ALTER TABLE volumes ADD COLUMN image_name TEXT;
ALTER TABLE volumes ADD COLUMN image_digest TEXT;
ALTER TABLE volumes ADD COLUMN manifest TEXT;
-- Sector size that the image's disk was made for.
ALTER TABLE volumes ADD COLUMN logical_sector_bytes INTEGER;
-- Since when it holds the image, as it is; NULL: it does not, or not any more.
ALTER TABLE volumes ADD COLUMN prepared_at INTEGER;
