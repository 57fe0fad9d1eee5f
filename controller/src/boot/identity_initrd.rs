//! The identity initrd: a cpio archive with `/etc/imprint/identity.json`, made for one boot of one machine.
//!
//! The kernel unpacks it over the ramdisk, so that the agent finds the controller's CA, the manifest keys and its boot
//! token as a file of root's, and nothing secret is on the kernel command line.

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

/// Where the agent looks for it, without the leading slash.
pub const IDENTITY_PATH: &str = "etc/imprint/identity.json";

/// Boot loaders put one initrd behind the other; the kernel looks for the next at a multiple of four, firmware loads
/// whole pages.
const ALIGNMENT: usize = 4096;

const DIRECTORY: u32 = 0o040_755;
const PRIVATE_FILE: u32 = 0o100_600;

/// The contents of `identity.json`.
#[derive(Serialize)]
pub struct Identity<'a> {
    /// Format of this file.
    pub version: u32,
    /// What the agent dials.
    pub controller_url: &'a str,
    /// The CA that signs the controller's certificate.
    pub ca_pem: &'a str,
    /// Public keys (ed25519, hex) of which one must have signed a manifest.
    pub manifest_keys: &'a [String],
    /// The one-time secret.
    pub boot_token: &'a str,
    /// When the token was made; the agent sets a clock that is far off by it.
    pub issued_at: Timestamp,
    /// The NIC that the machine booted from.
    pub node_hint: &'a str,
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("node_hint", &self.node_hint)
            .finish_non_exhaustive()
    }
}

/// The archive: a newc cpio, uncompressed, padded with zeroes to 4096 bytes.
pub fn build(identity: &Identity<'_>) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let json = Zeroizing::new(serde_json::to_vec(identity)?);
    let mut archive = Zeroizing::new(Vec::with_capacity(json.len() + 2 * ALIGNMENT));
    let mut inode = 1;
    for (end, _) in IDENTITY_PATH.match_indices('/') {
        entry(&mut archive, inode, &IDENTITY_PATH[..end], DIRECTORY, &[]);
        inode += 1;
    }
    entry(&mut archive, inode, IDENTITY_PATH, PRIVATE_FILE, &json);
    entry(&mut archive, 0, "TRAILER!!!", 0, &[]);
    let padded = archive.len().next_multiple_of(ALIGNMENT);
    archive.resize(padded, 0);
    Ok(archive)
}

/// One entry of a newc archive (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(archive: &mut Vec<u8>, inode: u32, name: &str, mode: u32, data: &[u8]) {
    let links = if mode == DIRECTORY { 2 } else { 1 };
    // Inode, mode, uid, gid, links, mtime, size, device (4), length of the name with its zero, checksum.
    let fields: [usize; 13] = [
        inode as usize,
        mode as usize,
        0,
        0,
        links,
        0,
        data.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sample() -> Zeroizing<Vec<u8>> {
        build(&Identity {
            version: 1,
            controller_url: "https://10.0.0.1:8443",
            ca_pem: "-----BEGIN CERTIFICATE-----\n",
            manifest_keys: &["ab".repeat(32)],
            boot_token: "secret",
            issued_at: Timestamp::UNIX_EPOCH,
            node_hint: "52:54:00:00:00:01",
        })
        .unwrap()
    }

    /// Reads back (name, mode, data) as the kernel does.
    pub(in crate::boot) fn read(mut archive: &[u8]) -> Vec<(String, usize, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |i: usize| {
                let hex = std::str::from_utf8(&archive[6 + 8 * i..14 + 8 * i]).unwrap();
                usize::from_str_radix(hex, 16).unwrap()
            };
            let (mode, size, name_length) = (field(1), field(6), field(11));
            let name = String::from_utf8(archive[110..110 + name_length - 1].to_vec()).unwrap();
            let data_at = (110 + name_length).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert!(archive[data_at..].iter().all(|b| *b == 0));
                return entries;
            }
            entries.push((name, mode, archive[data_at..data_at + size].to_vec()));
            archive = &archive[(data_at + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn holds_one_private_file_and_its_folders() {
        let archive = sample();
        assert_eq!(archive.len() % 4096, 0);
        let entries = read(&archive);
        let names: Vec<(&str, usize)> = entries.iter().map(|(n, m, _)| (n.as_str(), *m)).collect();
        assert_eq!(
            names,
            [
                ("etc", 0o040_755),
                ("etc/imprint", 0o040_755),
                ("etc/imprint/identity.json", 0o100_600)
            ]
        );
        let json: serde_json::Value = serde_json::from_slice(&entries[2].2).unwrap();
        assert_eq!(json["boot_token"], "secret");
        assert_eq!(json["issued_at"], "1970-01-01T00:00:00Z");
        assert_eq!(json["version"], 1);
    }
}
