//! What must not stay readable on a disk whose system is not wanted: user-data and the token of the first-boot report.
//!
//! A cleared head keeps the disk from booting and nothing more. Here the files are overwritten where they lie, flushed
//! and removed, so that their sectors hold zeroes.

use super::confined::{ConfinedError, ConfinedRoot, TEMPORARY};

/// The seed of cloud-init as NoCloud.
pub(super) const NO_CLOUD: &str = "var/lib/cloud/seed/nocloud";
/// The same as ConfigDrive.
pub(super) const CONFIG_DRIVE: &str = "var/lib/cloud/seed/config_drive/openstack/latest";
/// The network for cloud-init where its seed has no room for it.
pub(super) const NETWORK: &str = "99-imprint-network.cfg";
/// What the guest plugin knows.
pub(super) const GUEST: &str = "etc/imprint";

const SEED_FILES: &[&str] = &[
    "user-data",
    "meta-data",
    "vendor-data",
    "network-config",
    TEMPORARY,
];
const DRIVE_FILES: &[&str] = &[
    "user_data",
    "meta_data.json",
    "vendor_data.json",
    "network_data.json",
    TEMPORARY,
];
const GUEST_FILES: &[&str] = &["guest.json", "guest-identity.json", TEMPORARY];

/// Overwrites and removes the files of the seed. The answer is how many there were.
///
/// # Errors
/// When one of them can't be overwritten.
pub(super) fn erase_seed(root: &ConfinedRoot) -> Result<usize, ConfinedError> {
    let (seed, drive) = (
        erase(root, NO_CLOUD, SEED_FILES),
        erase(root, CONFIG_DRIVE, DRIVE_FILES),
    );
    Ok(seed? + drive? + erase(root, "etc/cloud/cloud.cfg.d", &[NETWORK])?)
}

/// Overwrites and removes the files with the report token and the plugin's key. The answer is how many there were.
///
/// # Errors
/// When one of them can't be overwritten.
pub(super) fn erase_token(root: &ConfinedRoot) -> Result<usize, ConfinedError> {
    erase(root, GUEST, GUEST_FILES)
}

/// One that fails does not save the others.
fn erase(root: &ConfinedRoot, folder: &str, names: &[&str]) -> Result<usize, ConfinedError> {
    let erased = names.iter().map(|name| root.erase(&format!("{folder}/{name}")));
    let mut result = Ok(0);
    for erased in erased {
        result = match (result, erased) {
            (Ok(count), Ok(was_there)) => Ok(count + usize::from(was_there)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    result
}
