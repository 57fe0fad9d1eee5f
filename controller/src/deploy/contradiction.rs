//! Machines that ask what to boot and contradict a node: kept, and told once for each change, since such a machine asks
//! at each of its boots.

use jiff::SignedDuration;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{Deployments, error::DeployError};
use crate::{
    boot::BootFacts,
    clock::timestamp_from_ms,
    events::{DatabaseError, NewEvent, doing},
    inventory::{Conflict, NodeProblem},
};

/// Nodes of one contradiction that are told.
const MOST_NODES: usize = 4;

/// How often it is noted that the same machine is still there.
const NOTE_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// How long an operator is reminded of a machine that has not asked again.
const REMIND: SignedDuration = SignedDuration::from_hours(24);

/// How often different contradictions of one node are told at most.
pub(super) const TELL_EVERY: SignedDuration = SignedDuration::from_mins(1);

const REMEDY: &str = "Find out whether a NIC was moved, a mainboard was replaced, or two machines carry the same SMBIOS \
    data. If it is this node with new hardware: imprint node delete NODE, and approve it anew when it has called.";

#[derive(Debug, sqlx::FromRow)]
struct Kept {
    mac: String,
    reason: String,
    last_seen_at: i64,
}

async fn kept(connection: &mut SqliteConnection, node_id: &str) -> Result<Option<Kept>, DatabaseError> {
    sqlx::query_as("SELECT mac, reason, last_seen_at FROM boot_conflicts WHERE node_id = ?")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the contradictions"))
}

impl Deployments {
    /// Keeps that a machine contradicts nodes.
    pub(super) async fn note_contradiction(
        &self,
        facts: &BootFacts,
        conflict: &Conflict,
    ) -> Result<(), DeployError> {
        for node_id in conflict.node_ids.iter().take(MOST_NODES) {
            self.note_contradiction_of(node_id, facts, conflict).await?;
        }
        Ok(())
    }

    async fn note_contradiction_of(
        &self,
        node_id: &str,
        facts: &BootFacts,
        conflict: &Conflict,
    ) -> Result<(), DeployError> {
        let (now, mac) = (self.clock.now(), facts.mac.to_string());
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the contradictions"))?;
        let known = kept(&mut connection, node_id).await?;
        drop(connection);
        let same = known
            .as_ref()
            .filter(|known| known.mac == mac && known.reason == conflict.reason);
        if let Some(same) = same
            && now.duration_since(timestamp_from_ms(same.last_seen_at)) < NOTE_EVERY
        {
            return Ok(());
        }
        if same.is_none() && !self.contradictions.may_tell(node_id, now) {
            return Ok(());
        }
        let mut change = self.events.begin().await?;
        sqlx::query(
            "INSERT INTO boot_conflicts (node_id, mac, reason, first_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT (node_id) DO UPDATE SET mac = ?2, reason = ?3, last_seen_at = ?4, \
             first_at = CASE WHEN mac = ?2 AND reason = ?3 THEN first_at ELSE ?4 END",
        )
        .bind(node_id)
        .bind(&mac)
        .bind(&conflict.reason)
        .bind(now.as_millisecond())
        .execute(change.connection())
        .await
        .map_err(doing("keep a contradiction"))?;
        if same.is_none() {
            change
                .append(NewEvent {
                    kind: "alarm.boot-contradiction",
                    node_id: Some(node_id),
                    deployment_id: None,
                    message: format!(
                        "The machine with {mac} asked what to boot and was left alone: {}.",
                        conflict.reason
                    ),
                    details: json!({
                        "mac": mac, "uuid": facts.smbios_uuid, "serial": facts.serial, "nodes": conflict.node_ids,
                        "remedy": REMEDY,
                    }),
                })
                .await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Forgets the contradictions of a machine that is recognised now.
    pub(super) async fn forget_contradictions(&self, facts: &BootFacts) -> Result<(), DatabaseError> {
        let mac = facts.mac.to_string();
        let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM boot_conflicts WHERE mac = ?)")
            .bind(&mac)
            .fetch_one(&self.db)
            .await
            .map_err(doing("read the contradictions"))?;
        if any {
            sqlx::query("DELETE FROM boot_conflicts WHERE mac = ?")
                .bind(&mac)
                .execute(&self.db)
                .await
                .map_err(doing("forget a contradiction"))?;
        }
        Ok(())
    }

    /// The machine that contradicted the node lately, as a problem.
    pub(super) async fn contradiction(&self, node_id: &str) -> Result<Option<NodeProblem>, DatabaseError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the contradictions"))?;
        let Some(kept) = kept(&mut connection, node_id).await? else {
            return Ok(None);
        };
        let at = timestamp_from_ms(kept.last_seen_at);
        if self.clock.now().duration_since(at) >= REMIND {
            return Ok(None);
        }
        Ok(Some(NodeProblem {
            step: "boot".to_owned(),
            cause: format!(
                "At {at} the machine with {} asked what to boot and was left alone: {}.",
                kept.mac, kept.reason
            ),
            remedy: REMEDY.to_owned(),
        }))
    }
}
