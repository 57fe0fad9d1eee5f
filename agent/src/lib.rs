//! The agent of Imprint: it runs in a ramdisk, puts one image onto one disk and proves it.
//!
//! The way of one run, by module:
//!
//! 1. [`run`] starts all: [`selfcheck`] of the ramdisk, [`identity`] (boot token exchanged for a certificate),
//!    [`inventory`], then the [`session`] that is kept open for as long as the machine runs the ramdisk.
//! 2. A task that arrives over the session goes to [`tasks`], which run one at a time, each step reported through the
//!    durable outbox ([`session`]) and each one idempotent, so that a killed agent goes on after its restart.
//! 3. Steps of a deployment: [`imprint_hardware::disk`] names the one disk, [`target`] opens it exclusively, [`stream`] writes and
//!    proves the image, [`finish`] edits partitions, files and EFI variables. No program of the image is ever run.
//!
//! What the agent and its kernel say meanwhile is kept in [`log`], and told to the controller as far as there is room.
//!
//! What all that is done to is a [`machine`]: this one, or one that is made up.
//!
//! Invariants: nothing is written to any disk without a task; the disk can't boot before its image is proven, nor
//! after a failure; secrets live in RAM, mode 0600, and never in a log.
//!
//! [`wipe`] makes what disks hold unreadable, with proof; a task of its own. So is a [`rescue`], which lets somebody in by ssh.
//!
//! [`write_command`] and [`wipe_command`] are the same engines by hand (`imprint-agent write`, `imprint-agent wipe`).

pub mod finish;
pub mod identity;
pub mod inventory;
pub mod log;
pub mod machine;
pub mod rescue;
pub mod run;
pub mod selfcheck;
pub mod session;
pub mod source;
pub mod stream;
pub mod sys;
pub mod target;
pub mod tasks;
pub mod wipe;
pub mod wipe_command;
pub mod write_command;

/// Version of the agent, as `imprint-agent --version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
