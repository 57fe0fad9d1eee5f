//! Known images, who may see them, and where each chunk of them lies.
//!
//! An image is one immutable version of something that can be deployed: a row of `images`, its disks, and for each disk a
//! manifest in the store. What is said of it can change, its content cannot. Every read says who looks
//! ([`crate::identity::Viewer`]): what a project may not see does not exist for it.

mod begin;
mod bill;
mod compose;
mod damage;
mod delete;
mod entitlements;
mod error;
mod families;
mod find;
mod findings;
mod gc;
mod image;
mod insert;
mod known;
mod lifecycle;
mod list;
mod members;
mod names;
mod parties;
mod pending;
mod preflight;
mod problem;
mod publish;
mod publish_gate;
mod quota;
mod run;
mod shows;
mod spec;
mod terms;
#[cfg(test)]
mod tests;
mod transitions;
mod update;
mod usage;
mod words;

use jiff::SignedDuration;
use sqlx::SqlitePool;

pub use begin::{Abandoned, Finished, NewDisk, NewImage};
pub use bill::{Charge, Usage, UsageKind, UsageLine, UsageQuery, UsageRecord, UsageRecordPage};
pub use compose::{ComposeRequest, Part};
pub use damage::{Damage, DamagedImage};
pub use entitlements::Entitlement;
pub use error::CatalogError;
pub use families::{Family, FamilyPage};
pub use findings::{Detected, Findings};
pub use gc::{Content, GcPlan, ImageBytes, Needs, Removal, StoredManifest, plan as plan_gc};
pub use image::{Image, ImageDisk, License, Price, Transition};
pub use known::KnownChunks;
pub use lifecycle::{Step, step};
pub use list::{ImagePage, ImageQuery};
pub use members::{Invitation, InvitationPage, Member, MemberState};
pub use names::{check_name, edit_distance};
pub use pending::WriteError;
pub(crate) use preflight::right;
pub(crate) use publish::fit_at_once;
pub use publish::{Proofs, PublishRequest};
pub use quota::{Quota, QuotaExceeded, QuotaReservation, QuotaUse, UserQuota};
pub use run::run;
pub use spec::ImageSpec;
pub use terms::TermsError;
pub use transitions::TransitionRequest;
pub use update::ImageChange;
pub(crate) use usage::charge;
pub use words::{BootMode, ImageKind, ImageState, PricePer, Source, Target, Visibility};

use crate::{
    clock::Clock,
    config::{Config, QuotaConfig},
    events::EventLog,
    store::StoreObject,
};

/// The catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    region: String,
    /// How long an ISO image stays.
    iso_life: SignedDuration,
    /// With how many projects an image is shared.
    max_members: usize,
    quota: QuotaConfig,
}

impl Catalog {
    /// Over the database.
    pub fn new(db: SqlitePool, clock: Clock, events: EventLog, config: &Config) -> Self {
        Self {
            db,
            clock,
            events,
            region: config.region.clone(),
            iso_life: SignedDuration::from_hours(24 * i64::from(config.images.iso_days)),
            max_members: config.images.max_members,
            quota: config.quota.clone(),
        }
    }

    /// Where images are used that this controller deploys.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Completes what only the configuration knows. Called before anything is served.
    pub async fn settle(&self) -> Result<(), CatalogError> {
        sqlx::query("UPDATE images SET region = ? WHERE region = ''")
            .bind(&self.region)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Whether an object of the store belongs to a manifest: it is the manifest, or a pack that it names.
    pub async fn uses(&self, manifest: &str, object: &StoreObject) -> Result<bool, CatalogError> {
        match object {
            StoreObject::Manifest(key) => Ok(key.to_string() == manifest),
            StoreObject::Pack(pack) => {
                let query = "SELECT EXISTS (SELECT 1 FROM manifest_packs WHERE manifest = ? AND pack = ?)";
                let query = sqlx::query_scalar(query).bind(manifest).bind(pack.to_string());
                Ok(query.fetch_one(&self.db).await?)
            }
        }
    }
}
