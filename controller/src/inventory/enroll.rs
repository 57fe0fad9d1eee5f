//! A machine calls: it is recognised, made known, or refused.

use imprint_proto::agent::v1::Fingerprint;
use serde_json::json;
use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{
    identity::{Conflict, Identity, Shown, identify},
    node::{Node, NodeState},
    nodes::{Nodes, candidates, load, transit},
};
use crate::{
    events::{Change, DatabaseError, NewEvent, doing},
    lifecycle::NodeEvent,
};

/// A machine cannot be made known.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// It shows nothing that tells it from others.
    #[error("the machine shows no usable MAC address, so it cannot be told from others")]
    Anonymous,
    /// It contradicts what is known.
    #[error("the machine cannot be told from another one")]
    Conflict(#[source] Conflict),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Nodes {
    /// As [`Nodes::enroll_in`], on its own; a machine in conflict leaves an alarm.
    pub async fn enroll(&self, fingerprint: &Fingerprint, agent_version: &str) -> Result<Node, EnrollError> {
        let mut change = self.events.begin().await?;
        match self.enroll_in(&mut change, fingerprint, agent_version).await {
            Ok(node) => {
                change.commit().await?;
                Ok(node)
            }
            Err(error) => {
                drop(change);
                if let EnrollError::Conflict(conflict) = &error {
                    self.tell_conflict(conflict, fingerprint).await?;
                }
                Err(error)
            }
        }
    }

    /// The node of a machine that shows this fingerprint; an unknown one becomes known as `discovered`. After an error
    /// the change is not to be committed.
    pub async fn enroll_in(
        &self,
        change: &mut Change,
        fingerprint: &Fingerprint,
        agent_version: &str,
    ) -> Result<Node, EnrollError> {
        let shown = Shown::by_agent(fingerprint);
        if shown.macs.is_empty() {
            return Err(EnrollError::Anonymous);
        }
        let known = candidates(change.connection(), &shown).await?;
        let id = match identify(&shown, &known) {
            Identity::Same(id) => id,
            Identity::New => {
                let id = Ulid::generate().to_string();
                let name = free_name(change.connection(), &shown, &id).await?;
                sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES (?, ?, ?, ?)")
                    .bind(&id)
                    .bind(&name)
                    .bind(NodeState::Discovered.as_str())
                    .bind(self.clock.now_ms())
                    .execute(change.connection())
                    .await
                    .map_err(doing("make the node known"))?;
                change
                    .append(NewEvent {
                        kind: "node.discovered",
                        node_id: Some(&id),
                        deployment_id: None,
                        message: format!("A new machine called and is known as {name}; approve it to take it into service."),
                        details: json!({ "name": name, "macs": shown.macs, "uuid": shown.uuid, "serial": shown.serial }),
                    })
                    .await?;
                id
            }
            Identity::Conflict(conflict) => return Err(EnrollError::Conflict(conflict)),
        };
        sqlx::query(
            "UPDATE nodes SET smbios_uuid = COALESCE(?, smbios_uuid), serial = COALESCE(?, serial), agent_version = ?, last_seen_at = ? WHERE id = ?",
        )
        .bind(&shown.uuid)
        .bind(&shown.serial)
        .bind(agent_version.chars().take(100).collect::<String>())
        .bind(self.clock.now_ms())
        .bind(&id)
        .execute(change.connection())
        .await
        .map_err(doing("keep the machine's identity"))?;
        keep_macs(change.connection(), &id, &shown.macs).await?;
        let read = || doing("read the node")(sqlx::Error::RowNotFound);
        let node = load(change.connection(), &id).await?.ok_or_else(read)?;
        if node.state.after(NodeEvent::Called) == Some(node.state) {
            return Ok(node);
        }
        transit(change.connection(), &node, NodeEvent::Called, None).await?;
        change
            .append(NewEvent {
                kind: "node.approved",
                node_id: Some(&id),
                deployment_id: None,
                message: format!(
                    "Node {} has called, as was announced, and is available.",
                    node.name
                ),
                details: json!({ "name": node.name }),
            })
            .await?;
        Ok(load(change.connection(), &id).await?.ok_or_else(read)?)
    }

    /// Writes that a machine was refused because it contradicts what is known.
    pub async fn tell_conflict(
        &self,
        conflict: &Conflict,
        fingerprint: &Fingerprint,
    ) -> Result<(), DatabaseError> {
        let shown = Shown::by_agent(fingerprint);
        self.events
            .append(NewEvent {
                kind: "alarm.identity-conflict",
                node_id: conflict.node_ids.first().map(String::as_str),
                deployment_id: None,
                message: format!("A machine was refused: {}.", conflict.reason),
                details: json!({
                    "nodes": conflict.node_ids, "macs": shown.macs, "uuid": shown.uuid, "serial": shown.serial,
                    "remedy": "Check whether a NIC was moved or whether two machines carry the same SMBIOS data.",
                }),
            })
            .await
            .map(drop)
    }
}

pub(super) async fn keep_macs(
    connection: &mut SqliteConnection,
    node_id: &str,
    macs: &[String],
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM node_macs WHERE node_id = ?")
        .bind(node_id)
        .execute(&mut *connection)
        .await
        .map_err(doing("keep the machine's MAC addresses"))?;
    for (position, mac) in (0_i64..).zip(macs) {
        sqlx::query("INSERT INTO node_macs (mac, node_id, position) VALUES (?, ?, ?)")
            .bind(mac)
            .bind(node_id)
            .bind(position)
            .execute(&mut *connection)
            .await
            .map_err(doing("keep the machine's MAC addresses"))?;
    }
    Ok(())
}

/// `node-` and the last half of the first MAC address, longer where that is taken.
async fn free_name(
    connection: &mut SqliteConnection,
    shown: &Shown,
    id: &str,
) -> Result<String, DatabaseError> {
    let mac: String = shown
        .macs
        .first()
        .map(|mac| mac.replace(':', ""))
        .unwrap_or_default();
    let short = mac.get(6..).unwrap_or(&mac);
    for name in [format!("node-{short}"), format!("node-{mac}")] {
        let taken: Option<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE name = ?")
            .bind(&name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(doing("look for a free name"))?;
        if taken.is_none() {
            return Ok(name);
        }
    }
    Ok(format!("node-{}", id.to_lowercase()))
}
