-- Boot services: one-time boot tokens and the leases of the DHCP server's own range.

CREATE TABLE boot_tokens (
    -- ULID; names the token in events and logs, is no secret.
    id            TEXT PRIMARY KEY NOT NULL,
    -- BLAKE3 of the token; the token itself is never stored.
    token_hash    BLOB NOT NULL UNIQUE,
    -- Boot NIC, lower case with colons.
    mac           TEXT NOT NULL,
    -- SMBIOS system UUID, lower case with hyphens, as the boot loader reported it.
    smbios_uuid   TEXT,
    issued_at     INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    -- When it was exchanged for a certificate.
    spent_at      INTEGER,
    -- When a later token of the same machine took its place.
    superseded_at INTEGER
) STRICT;

CREATE INDEX boot_tokens_by_mac ON boot_tokens (mac);
CREATE INDEX boot_tokens_by_expiry ON boot_tokens (expires_at);

CREATE TABLE dhcp_leases (
    -- IPv4 address as a number: one lease per address.
    address    INTEGER PRIMARY KEY NOT NULL,
    -- The NIC, lower case with colons: one lease per NIC.
    mac        TEXT NOT NULL UNIQUE,
    expires_at INTEGER NOT NULL
) STRICT;
