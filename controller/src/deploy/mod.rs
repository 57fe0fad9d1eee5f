//! Deployments: from the request to the report of the installed system.
//!
//! [`decide`] says what a running deployment does next and knows neither clock nor database. The shell around it
//! (`advance`) loads, decides, persists with a version check and then acts; everything it does may be done twice.
//! Whatever happens to a deployment (a request, a message of its agent, a report, a passing deadline) goes through it.
//!
//! Sessions of agents live in the [`Hub`], in memory only: after a restart of the controller agents call again, say
//! which task they hold, and everything goes on from the database.

mod accept;
mod access;
mod advance;
mod again;
mod batch;
mod boot_choice;
mod certificate;
mod console;
mod contradiction;
mod create;
mod decide;
mod disk_choice;
mod disk_policy;
mod dry_run;
mod ending;
mod error;
mod figures;
mod finish_options;
mod first_boot;
mod fit;
mod held;
mod hello;
mod history;
pub mod hostname;
mod hub;
mod image_key;
mod image_rules;
mod image_users;
mod intake;
mod log;
mod model_rules;
mod network_config;
mod network_nics;
mod plan;
mod power;
mod preflight;
mod progress;
mod record;
mod removal;
mod repeated;
mod report;
mod request;
mod rescue;
mod run;
mod seed_place;
mod state;
mod steps;
mod subject;
mod taken;
#[cfg(test)]
mod tests;
mod user_data;
mod view;
mod volume;
mod watch;
mod why;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use jiff::SignedDuration;
use sqlx::SqlitePool;
use url::Url;

pub use batch::{Batch, BatchCounts, BatchNode, BatchRequest, RefusedNode, Turn};
pub use certificate::{CertificatePage, WipeCertificate, WipeDocument, WipeSamples};
pub use console::{ConsoleTaken, PassedConsole};
pub use decide::{Decision, Effect, Facts, LastTry, PowerFact, TryState, Waiting, decide};
pub use disk_choice::NoDisk;
pub use disk_policy::DiskPolicy;
pub use dry_run::DeploymentPlan;
pub use error::DeployError;
pub use first_boot::{BootPhase, FirstBoot};
pub use hub::{Hub, Outgoing, Seat};
pub use image_rules::ImageRefusal;
pub use image_users::ImageUsers;
pub use preflight::{Condition, Preflight};
pub use record::{Deployment, WriteFigures};
pub use report::ReportError;
pub use request::{DeployRequest, Refusal};
pub use rescue::{Rescue, RescueAccess, RescueRequest, RescueTerms};
pub use run::run;
pub use state::{DeploymentState, DiskState, Phase, Purpose, Step, StepState};
pub use steps::StepView;
pub use taken::{ReleaseRequest, Terms, WipeMethod};
pub use view::{DeploymentPage, DeploymentView};
pub use why::Why;

use crate::{
    catalog::Catalog,
    clock::Clock,
    config::{Config, DeployConfig, TimeoutConfig, UnknownPolicy},
    events::{EventLog, Seldom},
    identity::{ImageKeys, RequestKey},
    inventory::Nodes,
    logs::Logs,
    matching::Matching,
    power::Power,
    volumes::Volumes,
};

/// What deployments need of the controller's secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Under which requests are remembered.
    pub request_key: RequestKey,
    /// Of encrypted images.
    pub image_keys: ImageKeys,
    /// Public keys that orders to installed systems are signed with, 32 bytes each.
    pub order_keys: Vec<Vec<u8>>,
}

/// All deployments; cheap to clone.
#[derive(Debug, Clone)]
pub struct Deployments {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    nodes: Nodes,
    catalog: Catalog,
    request_key: RequestKey,
    image_keys: ImageKeys,
    order_keys: Arc<[Vec<u8>]>,
    matching: Matching,
    volumes: Volumes,
    power: Power,
    hub: Hub,
    logs: Logs,
    controller_url: Url,
    timeouts: TimeoutConfig,
    unknown: UnknownPolicy,
    ramdisk_dir: PathBuf,
    rules: DeployConfig,
    unreadable: Seldom,
    contradictions: Seldom,
    in_hand: batch::InHand,
    /// Secrets were deleted since the database's log was emptied last; at the start nobody knows.
    unscrubbed: Arc<AtomicBool>,
    watch: watch::Watch,
}

impl Deployments {
    /// The deployments of the database.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the concerns that it stands on")]
    pub fn new(
        db: SqlitePool,
        clock: Clock,
        events: EventLog,
        nodes: Nodes,
        catalog: Catalog,
        volumes: Volumes,
        power: Power,
        hub: Hub,
        Secrets {
            request_key,
            image_keys,
            order_keys,
        }: Secrets,
        config: &Config,
    ) -> Self {
        Self {
            matching: Matching::new(
                db.clone(),
                clock.clone(),
                events.clone(),
                nodes.clone(),
                catalog.clone(),
            ),
            volumes,
            power,
            db,
            hub,
            logs: Logs::new(config, clock.clone()),
            events,
            nodes,
            catalog,
            request_key,
            image_keys,
            order_keys: order_keys.into(),
            controller_url: config.public_url.clone(),
            timeouts: config.timeouts.clone(),
            unknown: config.boot.unknown,
            ramdisk_dir: config.boot.ramdisk_dir.clone(),
            rules: config.deploy,
            unreadable: Seldom::every(SignedDuration::MAX),
            contradictions: Seldom::every(contradiction::TELL_EVERY),
            in_hand: batch::InHand::default(),
            unscrubbed: Arc::new(AtomicBool::new(true)),
            watch: watch::Watch::begin(&clock),
            clock,
        }
    }

    /// The volumes that deployments may go onto.
    #[must_use]
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// Which images fit which nodes.
    #[must_use]
    pub fn matching(&self) -> &Matching {
        &self.matching
    }

    /// The open sessions of agents.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What agents say of their work.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// How often an agent is to give a sign of life.
    #[must_use]
    pub fn heartbeat_seconds(&self) -> u32 {
        u32::try_from(self.timeouts.agent_silence_seconds / 3)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// Silence of an agent that ends its session.
    #[must_use]
    pub fn silence(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.timeouts.agent_silence_seconds.max(1))
    }
}
