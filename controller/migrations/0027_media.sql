-- The controller's own CD is in the virtual drive: it is taken out once the server has started from it.
ALTER TABLE bmcs ADD COLUMN media_left INTEGER NOT NULL DEFAULT 0;
