//! A deployment has its server boot what it waits for.

use super::{
    BmcKind, BootTarget, Power, PowerError, PowerWish,
    ask::{Order, running},
    decide::Plan,
    record,
};
use crate::{
    deploy::{Effect, Phase},
    events::doing,
};

/// What a deployment wants of a server in a phase; `ramdisk` is how its firmware boots that.
///
/// A server that is to come into the ramdisk is switched off for that, as long as it has not asked for it. Where somebody may
/// be at work, in the ramdisk or in the installed system, it is only switched on.
fn plan(phase: Phase, effect: Effect, ramdisk: BootTarget) -> Option<Plan> {
    let (wish, boot) = match (phase, effect) {
        (_, Effect::SendTask | Effect::SendCancel) | (Phase::Queued | Phase::Ended, _) => return None,
        (Phase::AwaitAgent, Effect::BootRamdisk) => (PowerWish::Cycle, Some(ramdisk)),
        (Phase::AwaitAgent | Phase::AgentWorks, _) => (PowerWish::On, Some(ramdisk)),
        (Phase::AwaitReport, _) => (PowerWish::On, None),
    };
    Some(Plan {
        wish,
        force: false,
        boot,
    })
}

impl Power {
    /// Has a server boot what a deployment waits for. Nothing when its power is just changed, when it has no BMC, or when the
    /// deployment does not wait any more.
    pub(crate) async fn have_boot(
        &self,
        deployment_id: &str,
        node_id: &str,
        effect: Effect,
    ) -> Result<(), PowerError> {
        let node = self.nodes.get(node_id).await?;
        let mut change = self.events.begin().await?;
        let phase: Option<String> = sqlx::query_scalar(
            "SELECT phase FROM deployments AS d WHERE id = ? AND state = 'running' \
             AND NOT EXISTS (SELECT 1 FROM node_holds AS h WHERE h.node_id = d.node_id)",
        )
        .bind(deployment_id)
        .fetch_optional(change.connection())
        .await
        .map_err(doing("look what the deployment waits for"))?;
        let record = record::load(change.connection(), node_id).await?;
        let record = record.filter(|record| record.kind != BmcKind::Manual);
        let phase = phase.and_then(|word| word.parse::<Phase>().ok());
        let (Some(record), Some(phase)) = (record, phase) else {
            return Ok(());
        };
        let Some(plan) = plan(phase, effect, record.boot) else {
            return Ok(());
        };
        if running(change.connection(), node_id).await?.is_some() {
            return Ok(());
        }
        let order = Order {
            plan,
            deployment_id: Some(deployment_id),
            requested_by: None,
        };
        self.begin(&mut change, &node, &record, &order).await?;
        change.commit().await?;
        self.bell.notify_one();
        Ok(())
    }
}
