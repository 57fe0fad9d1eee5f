-- The serial console of the server is read by IPMI (Serial over LAN) while a deployment runs on it.
ALTER TABLE bmcs ADD COLUMN serial_over_lan INTEGER NOT NULL DEFAULT 0;
CREATE INDEX bmcs_consoles ON bmcs (node_id) WHERE serial_over_lan = 1;
