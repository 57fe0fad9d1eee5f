//! Backup of a data folder while its controller runs, and its restoration.
//!
//! An archive is a tar, compressed with zstd, that only its owner can read: `backup.json` first, which lists every other
//! file with its length and BLAKE3 digest, then the database as one consistent snapshot (`VACUUM INTO`), then what is in
//! `identity/`. The artifact store is not in it: its objects never change once they are written, so that any copy that is
//! made after the archive has what the archive needs.
//!
//! A restored database is older than the world. What it does not know of has happened: servers that it takes for free
//! were deployed, deployments that it takes for running have ended. So [`restore()`] puts every node on hold
//! ([`Holds`]): nothing is sent to it, it boots its own disk, and no deployment begins on it, until its agent has called
//! and holds just what the database says, or until an operator says so. Numbers of events go on far behind those that
//! anybody may have seen.
//!
//! A database that was put back by copying is found out by its [`Witness`] at the start, and marked in the same way. A whole
//! folder that was put back is found out by the first agent that names a task which was never in the database: its node
//! goes on hold, and it is not told to stop.

mod archive;
mod error;
mod hold;
mod mark;
mod restore;
mod take;
#[cfg(test)]
mod tests;
mod witness;

pub use error::BackupError;
pub use hold::{Hold, HoldReason, Holds};
pub(crate) use hold::{hold_for_task, hold_of, release};
pub use restore::{Restored, restore};
pub use take::{Taken, take};
pub use witness::{WITNESS, Witness, run};
