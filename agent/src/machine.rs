//! The machine under the agent: what it is, and what the agent's work does to it.
//!
//! [`Local`] is the machine that the agent runs on. The seam is there for agents without one: a fleet of them in one
//! process has the same identity, session, outbox and tasks over disks that are made up.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use imprint_proto::agent::v1::{Disk, Fingerprint, FinishPlan, Inventory};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    finish::{Done, FinishError, WrittenDisk, efi::PartitionSignature, guest::Traces},
    stream::{WriteFailure, WriteFigures, WriteNote, WriteProgress, WriteRequest},
    target::Target,
    tasks::{Disarmed, Leave, Trouble, record::Record},
};

mod local;

pub use local::Local;

/// What happens to the connection to the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The agent tries to open a session.
    Dials,
    /// The controller has greeted.
    Open,
    /// The session is gone, or could not be opened.
    Lost,
}

/// What an agent works on. Methods that are not `async` may block: they are called off the network's threads, except
/// those that only tell.
pub trait Machine: fmt::Debug + Send + Sync {
    /// The version that the agent says it has.
    fn version(&self) -> &str {
        crate::VERSION
    }

    /// The kernel's random id of this boot.
    fn boot_id(&self) -> String;

    /// The identity of the hardware.
    fn fingerprint(&self) -> Fingerprint;

    /// What the hardware is.
    fn inventory(&self) -> Inventory;

    /// Finds out what takes its time beside the session, and publishes what that adds to the inventory.
    fn learn(&self, publish: watch::Sender<Inventory>, stop: CancellationToken) -> BoxFuture<'static, ()>;

    /// The disks as they are now.
    fn disks(&self) -> Vec<Disk>;

    /// Takes a disk for this task alone. `claimed`: what an earlier agent of this boot called it, when it had taken it.
    ///
    /// # Errors
    /// When it is in use, or another one than was claimed.
    fn claim(&self, disk: &Disk, claimed: Option<&str>) -> Result<Claim, Trouble>;

    /// Writes and proves an image.
    fn write<'a>(
        &'a self,
        request: WriteRequest,
        progress: watch::Sender<WriteProgress>,
        notes: mpsc::UnboundedSender<WriteNote>,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<WriteFigures, WriteFailure>>;

    /// Makes sure that a written disk is still the one that was claimed, and that nothing uses it.
    ///
    /// # Errors
    /// When it is another one, or in use.
    fn free(&self, disk: &WrittenDisk, claimed: &str) -> Result<(), Trouble>;

    /// The system on a written disk. `prepared`: an earlier agent of this boot has settled its partitions.
    ///
    /// # Errors
    /// See [`FinishError`].
    fn system(
        &self,
        disk: &WrittenDisk,
        plan: &FinishPlan,
        prepared: bool,
    ) -> Result<(Arc<dyn Installed>, Done), FinishError>;

    /// Leaves the disk of a task without anything that boots and without secrets. `hung`: it does not answer.
    fn disarm<'a>(&'a self, record: &'a Record, hung: bool) -> BoxFuture<'a, Disarmed>;

    /// Ends the life of the ramdisk.
    fn leave(&self, leave: Leave);

    /// Hears what becomes of the connection.
    fn line(&self, _change: Line) {}
}

/// The system that was written, with its files.
pub trait Installed: Send + Sync {
    /// Writes the seed, and what belongs to it.
    ///
    /// # Errors
    /// See [`FinishError`].
    fn seed(&self, plan: &FinishPlan) -> Result<Done, FinishError>;

    /// Installs the guest plugin and the traces.
    ///
    /// # Errors
    /// See [`FinishError`].
    fn guest(&self, plan: &FinishPlan, traces: &Traces) -> Result<Done, FinishError>;

    /// Writes the firmware's boot entry; the answer is the entry as it was read back.
    ///
    /// # Errors
    /// See [`FinishError`].
    fn boot_entry(
        &self,
        plan: &FinishPlan,
        formerly_here: &[PartitionSignature],
    ) -> Result<(String, Done), FinishError>;

    /// Lifts the veil that keeps the disk from booting, once all else is done and flushed.
    ///
    /// # Errors
    /// See [`FinishError`].
    fn let_boot(&self) -> Result<(), FinishError>;

    /// Whether it will report its first boot.
    fn reports(&self) -> bool;
}

/// A disk that belongs to a task.
#[derive(Debug)]
pub struct Claim {
    /// What is written to.
    pub target: Arc<dyn Target>,
    /// What tells it from every other disk of this boot.
    pub identity: String,
    /// Partitions that were on it, which boot entries may name.
    pub former: Vec<PartitionSignature>,
}
