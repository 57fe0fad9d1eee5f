//! A deployment has its server boot the ramdisk.

use super::{
    BmcKind, Power, PowerError, PowerWish,
    ask::{Order, running},
    decide::Plan,
    record,
};
use crate::events::doing;

impl Power {
    /// Has a server boot from the network once, for a deployment that waits for that: it is switched off, if it is on, and
    /// then on. Nothing when its power is just changed, when it has no BMC, or when the deployment does not wait any more.
    pub(crate) async fn boot_ramdisk(&self, deployment_id: &str, node_id: &str) -> Result<(), PowerError> {
        let node = self.nodes.get(node_id).await?;
        let mut change = self.events.begin().await?;
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM deployments WHERE id = ? AND state = 'running' AND phase = 'await-agent')",
        )
        .bind(deployment_id)
        .fetch_one(change.connection())
        .await
        .map_err(doing("look whether the deployment waits"))?;
        let record = record::load(change.connection(), node_id).await?;
        let Some(record) = record.filter(|record| waits && record.kind != BmcKind::Manual) else {
            return Ok(());
        };
        if running(change.connection(), node_id).await?.is_some() {
            return Ok(());
        }
        let order = Order {
            plan: Plan {
                wish: PowerWish::Cycle,
                force: false,
                boot: Some(record.boot),
            },
            deployment_id: Some(deployment_id),
            requested_by: None,
        };
        self.begin(&mut change, &node, &record, &order).await?;
        change.commit().await?;
        self.bell.notify_one();
        Ok(())
    }
}
