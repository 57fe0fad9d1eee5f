//! Disks that an SDI card presents: a network volume that a server sees as a local disk.
//!
//! [`provider`] is the seam: what a volume and its place are, and what a card, or whatever stands for one, does with them.
//! [`opi`] speaks with cards of the open standard, OPI's storage API.
//!
//! Requests only write down what is wanted ([`table`], [`attach`]); a task ([`drive`]) asks the cards, has the pure
//! [`decide`] say what becomes of the volume, and writes that down with its event.
//!
//! A disk that somebody else presents already needs no card: attaching and detaching it is bookkeeping.
//!
//! A volume has its bytes where its storage has them already, or a [`backend`] of this controller makes it ([`make`]), full of
//! zeros or with the disk of an image ([`prepare`]).
//!
//! Invariants: a function of a card has one volume; a volume that has an attachment is not forgotten, and neither is its
//! node; what a card shows is the truth, and the books follow it; what the back-end has for a volume is in the books before it
//! is made, and until it is gone.

mod attach;
pub mod backend;
mod check;
mod claim;
pub(crate) mod content;
mod decide;
mod detach;
mod drive;
mod error;
mod fault;
mod make;
pub mod opi;
mod prepare;
pub mod provider;
mod record;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::{Notify, Semaphore};

pub use attach::WantedSeat;
pub use backend::{BackendKind, FilesBackend, NbdServer, VolumeBackend};
pub use content::VolumeContent;
pub use detach::Detaching;
pub use drive::{Orphan, Orphans, StoredOrphan, run};
pub use error::ProviderError;
pub use fault::VolumeError;
pub use make::WantedVolume;
pub use opi::OpiCard;
pub use prepare::{Images, Prepared, Progress};
pub use provider::{
    Backing, DiskKind, ExpectedDisk, Limits, PciFunction, Presence, Presented, Seat, Volume, VolumeProvider,
};
pub use record::{Attachment, VolumeRecord, VolumeState};
pub use source::FromImage;
pub use table::{NewVolume, VolumePage};

use self::{claim::Busy, prepare::Bases};
use crate::{clock::Clock, events::EventLog, inventory::Nodes};

/// The volumes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    nodes: Nodes,
    images: Images,
    /// Who makes volumes; `None`: only those are known that are there already.
    backend: Option<Arc<dyn VolumeBackend>>,
    busy: Busy,
    bases: Bases,
    /// For those that are prepared from images.
    slots: Arc<Semaphore>,
    /// Rung when something is to be done.
    bell: Arc<Notify>,
}

impl Volumes {
    /// The volumes of the database.
    #[must_use]
    pub fn new(
        db: SqlitePool,
        clock: Clock,
        events: EventLog,
        nodes: Nodes,
        images: Images,
        backend: Option<Arc<dyn VolumeBackend>>,
    ) -> Self {
        Self {
            db,
            clock,
            events,
            nodes,
            images,
            backend,
            busy: Busy::default(),
            bases: Bases::default(),
            slots: Arc::new(Semaphore::new(prepare::AT_ONCE)),
            bell: Arc::default(),
        }
    }
}
