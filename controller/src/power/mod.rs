//! Power and boot of servers by their management controllers (BMCs).
//!
//! [`Bmc`] is the seam: what a BMC is asked, whatever it speaks. [`redfish`] is a thin client of the DMTF's Redfish, `ipmi` has
//! `ipmitool` speak with older machines; servers without either are powered by hand, and told so. Where BMCs differ from each
//! other is data ([`quirks`]).
//!
//! Requests only write down what is wanted ([`ask`]); a task ([`drive`]) asks the BMCs, has the pure [`decide`] say what comes
//! next, and writes that down. The server as it is decides, never what was sent before: a controller that is restarted, an
//! answer that is lost or a BMC that takes its time change nothing but the time.
//!
//! The serial consoles of servers are read by IPMI, where that is set ([`consoles`]), while deployments run.
//!
//! Invariants: a password is kept sealed for its node, address and user, and shown by nothing; no certificate is trusted
//! unseen; a BMC that says that it manages another server is not asked to switch it; of a node's power one thing is changed at
//! a time.

mod action;
mod ask;
mod bmc;
mod cd;
mod check;
mod consoles;
mod conversation;
mod decide;
mod drive;
mod error;
mod fault;
mod ipmi;
mod media;
mod network_boot;
pub mod quirks;
mod record;
mod redfish;
mod secret;
mod table;

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::Notify;

pub use action::{ActionState, PowerAction, PowerWish, Stage};
pub(crate) use action::{end, under_way};
pub use ask::{NodePower, WantedPower};
pub use bmc::{Bmc, BootTarget, Hardware, Health, Override, PowerState, Sensor, SensorKind, Switch};
pub use check::NewBmc;
pub(crate) use decide::Reason;
pub use error::BmcError;
pub use fault::PowerError;
pub use media::{Media, set_media};
pub use quirks::BmcQuirks;
pub use record::{BmcKind, BmcRecord};

use crate::{app::App, clock::Clock, deploy::Hub, events::EventLog, identity::ImageKeys, inventory::Nodes};

/// The power of all nodes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Power {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    nodes: Nodes,
    /// Wraps the keys of passwords.
    keys: ImageKeys,
    /// A server that is off has no agent.
    hub: Hub,
    /// Rung when something is to be done.
    bell: Arc<Notify>,
}

impl Power {
    /// The BMCs of the database.
    #[must_use]
    pub fn new(
        db: SqlitePool,
        clock: Clock,
        events: EventLog,
        nodes: Nodes,
        keys: ImageKeys,
        hub: Hub,
    ) -> Self {
        Self {
            db,
            clock,
            events,
            nodes,
            keys,
            hub,
            bell: Arc::default(),
        }
    }
}

/// Drives changes of power, and reads serial consoles, until the controller ends.
pub async fn run(app: App) {
    tokio::join!(drive::run(app.clone()), consoles::run(app));
}
