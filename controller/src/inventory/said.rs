//! What agents say of themselves and of their machines, as it is kept.

use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Inventory,
    nodes::{InventoryError, Nodes, clipped, load},
};
use crate::events::{DatabaseError, NewEvent, doing};

impl Nodes {
    /// Keeps what an agent said about itself when its session began.
    pub async fn record_agent(
        &self,
        connection: &mut SqliteConnection,
        node_id: &str,
        hello: &imprint_proto::agent::v1::Hello,
    ) -> Result<(), DatabaseError> {
        let defects: Vec<String> = hello
            .defects
            .iter()
            .take(20)
            .map(|defect| clipped(defect))
            .collect();
        sqlx::query(
            "UPDATE nodes SET agent_version = ?, agent_boot_id = ?, agent_starts = ?, agent_defects = ?, last_seen_at = ? WHERE id = ?",
        )
        .bind(clipped(&hello.agent_version))
        .bind(clipped(&hello.boot_id))
        .bind(i64::from(hello.start_count))
        .bind(json!(defects).to_string())
        .bind(self.clock.now_ms())
        .bind(node_id)
        .execute(connection)
        .await
        .map_err(doing("keep the agent's greeting"))?;
        Ok(())
    }

    /// Keeps an inventory; an event tells when the hardware is not what it was.
    pub async fn record_inventory(&self, node_id: &str, inventory: &Inventory) -> Result<(), InventoryError> {
        let text = serde_json::to_string(inventory).expect("an inventory has only text keys");
        // Agents that call again mostly have nothing new to say: that is seen without standing in line for a change.
        let same: Option<bool> = sqlx::query_scalar("SELECT inventory = ? FROM nodes WHERE id = ?")
            .bind(&text)
            .bind(node_id)
            .fetch_optional(&self.db)
            .await
            .map_err(doing("read the inventory"))?
            .flatten();
        if same == Some(true) {
            self.seen(node_id);
            return Ok(());
        }
        let mut change = self.events.begin().await?;
        let Some(node) = load(change.connection(), node_id).await? else {
            return Err(InventoryError::NotFound {
                wanted: node_id.to_owned(),
                near: vec![],
            });
        };
        let former: Option<String> = sqlx::query_scalar("SELECT inventory FROM nodes WHERE id = ?")
            .bind(node_id)
            .fetch_one(change.connection())
            .await
            .map_err(doing("read the inventory"))?;
        sqlx::query(
            "UPDATE nodes SET inventory = ?, inventory_at = ?, hardware = ?, last_seen_at = ? WHERE id = ?",
        )
        .bind(&text)
        .bind(self.clock.now_ms())
        .bind(inventory.hardware())
        .bind(self.clock.now_ms())
        .bind(node_id)
        .execute(change.connection())
        .await
        .map_err(doing("keep the inventory"))?;
        // What comes and goes by itself is kept, and is no event.
        let known: Option<Inventory> = former.as_deref().and_then(|text| serde_json::from_str(text).ok());
        if known.is_none_or(|known| known.steady() != inventory.steady()) {
            let kind = if former.is_none() {
                "node.inventory.taken"
            } else {
                "node.inventory.changed"
            };
            let disks = inventory.disks.len();
            let message = format!(
                "Node {} has {disks} disks and {} NICs.",
                node.name,
                inventory.nics.len()
            );
            let details = json!({ "disks": disks, "nics": inventory.nics.len(), "memory_bytes": inventory.memory_bytes });
            change
                .append(NewEvent {
                    kind,
                    node_id: Some(node_id),
                    deployment_id: None,
                    message,
                    details,
                })
                .await?;
        }
        change.commit().await?;
        Ok(())
    }
}
