//! Removing what nobody needs.

use std::{collections::HashMap, time::Duration};

use futures::TryStreamExt;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{Progress, Upkeep, UpkeepError};
use crate::{
    catalog::{Damage, GcPlan, Needs, Removal, plan_gc},
    events::NewEvent,
    store::{StoreObject, StoredObject},
};

/// Objects that a report names; the rest is only counted.
const NAMED: usize = 1000;

/// What is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcRequest {
    /// Only tells what would be removed.
    pub dry_run: bool,
    /// How long an object stays after it was written; `None` as configured.
    pub grace: Option<Duration>,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct GcReport {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Manifests removed.
    pub manifests: u64,
    /// Packs removed.
    pub packs: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Objects among them that the catalogue never knew: left by a crash.
    pub orphans: u64,
    /// Objects that nobody needs, and that are too new to be removed.
    pub young: u64,
    /// Their bytes.
    pub young_bytes: u64,
    /// Objects that somebody needed again in the meantime.
    pub needed_again: u64,
    /// Objects that are needed and not in the store.
    pub missing: u64,
    /// The first thousand removed objects.
    pub objects: Vec<String>,
}

impl GcReport {
    fn add(&mut self, removal: &Removal) {
        match removal.object {
            StoreObject::Manifest(_) => self.manifests += 1,
            StoreObject::Pack(_) => self.packs += 1,
        }
        self.bytes += removal.bytes;
        self.orphans += u64::from(!removal.known);
        if self.objects.len() < NAMED {
            self.objects.push(removal.object.key());
        }
    }
}

impl Upkeep {
    /// Removes what nobody needs.
    pub async fn collect(
        &self,
        request: GcRequest,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<GcReport, UpkeepError> {
        let _alone = self.alone.lock().await;
        progress("look", 0, 0);
        let (needs, plan) = self.survey(request.grace).await?;
        let mut report = GcReport {
            dry_run: request.dry_run,
            young: plan.young.len() as u64,
            young_bytes: plan.young.iter().map(|found| found.bytes).sum(),
            missing: plan.missing.len() as u64,
            ..GcReport::default()
        };
        if request.dry_run {
            plan.remove.iter().for_each(|removal| report.add(removal));
            return Ok(report);
        }
        let lost = lost(&needs, &plan);
        let kept = self.catalog.note_damage(&self.events, &lost).await;
        kept.map_err(UpkeepError::Keep)?;
        let total = plan.remove.len() as u64;
        for (removal, done) in plan.remove.iter().zip(0..) {
            if cancel.is_cancelled() {
                break;
            }
            progress("remove", done, total);
            if self.take(removal).await? {
                report.add(removal);
            } else {
                report.needed_again += 1;
            }
        }
        progress("remove", total, total);
        self.tell(&report).await;
        Ok(report)
    }

    /// What can go, as it looks now.
    pub(super) async fn survey(&self, grace: Option<Duration>) -> Result<(Needs, GcPlan), UpkeepError> {
        // In this order: what is written in between is not needed by what was read, but it is new.
        let needs = self.catalog.needs().await?;
        let stored: Vec<StoredObject> = self.store.list().try_collect().await?;
        let grace = grace.unwrap_or(self.config.gc_grace);
        let plan = plan_gc(&needs, &stored, self.clock.now_ms(), grace);
        Ok((needs, plan))
    }

    /// Removes one object, unless it is needed by now. A crash between the two steps leaves an object that nobody knows,
    /// which the next run finds.
    pub(super) async fn take(&self, removal: &Removal) -> Result<bool, UpkeepError> {
        let _nobody_writes = self.store.removing().await;
        if !self.catalog.release(&removal.object, None).await? {
            return Ok(false);
        }
        self.store.delete(&removal.object).await?;
        Ok(true)
    }

    async fn tell(&self, report: &GcReport) {
        if report.manifests + report.packs == 0 {
            return;
        }
        let event = NewEvent {
            kind: "store.collected",
            node_id: None,
            deployment_id: None,
            message: format!(
                "{} packs and {} manifests that nobody needs were removed: {} bytes.",
                report.packs, report.manifests, report.bytes
            ),
            details: json!({ "packs": report.packs, "manifests": report.manifests, "bytes": report.bytes,
                "orphans": report.orphans }),
        };
        if let Err(error) = self.events.append(event).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "the event of a garbage collection was not kept");
        }
    }
}

/// What is needed and not there, with the manifests that need it.
fn lost(needs: &Needs, plan: &GcPlan) -> Vec<Damage> {
    let mut lost: HashMap<StoreObject, Damage> = plan
        .missing
        .iter()
        .map(|object| {
            let manifests = match object {
                StoreObject::Manifest(digest) => vec![*digest],
                StoreObject::Pack(_) => Vec::new(),
            };
            let damage = Damage {
                object: *object,
                cause: "it is not in the store".to_owned(),
                manifests,
            };
            (*object, damage)
        })
        .collect();
    for (manifest, pack) in &needs.packs {
        let live = needs.manifests.get(manifest) == Some(&true);
        if let Some(damage) = lost.get_mut(&StoreObject::Pack(*pack)).filter(|_| live) {
            damage.manifests.push(*manifest);
        }
    }
    lost.into_values().collect()
}
