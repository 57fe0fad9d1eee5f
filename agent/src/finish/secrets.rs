//! What must not stay readable on a disk whose system is not wanted: user-data and the token of the first-boot report.
//!
//! A cleared head keeps the disk from booting and nothing more. Here the files are overwritten where they lie, flushed
//! and removed, so that their sectors hold zeroes.

use super::confined::{ConfinedError, ConfinedRoot, TEMPORARY};

/// The seed of cloud-init.
pub(super) const SEED: &str = "var/lib/cloud/seed/nocloud";
/// What the guest plugin knows.
pub(super) const GUEST: &str = "etc/imprint";

const SEED_FILES: &[&str] = &[
    "user-data",
    "meta-data",
    "vendor-data",
    "network-config",
    TEMPORARY,
];
const GUEST_FILES: &[&str] = &["guest.json", "guest-identity.json", TEMPORARY];

/// Overwrites and removes the files of the seed. The answer is how many there were.
///
/// # Errors
/// When one of them can't be overwritten.
pub(super) fn erase_seed(root: &ConfinedRoot) -> Result<usize, ConfinedError> {
    erase(root, SEED, SEED_FILES)
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
