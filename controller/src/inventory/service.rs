//! Nodes that come into service, are kept out of it for a while, and leave it.

use serde::Deserialize;
use serde_json::json;
use ulid::Ulid;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    identity::Shown,
    node::{Maintenance, Node, NodeState},
    nodes::{InventoryError, Nodes, candidates, clipped, load, require_no_volumes, transit},
};
use crate::{
    boot::MacAddress,
    events::{Change, DatabaseError, NewEvent, doing},
    identity::Caller,
    lifecycle::NodeEvent,
};

/// MAC addresses of one machine, at most.
const MAX_MACS: usize = 64;
/// Letters of a serial number, or of a reason.
const MAX_TEXT: usize = 200;

/// A machine that is to come: it is in service from its first call.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// Unique without regard to case; 1 to 63 letters, digits and inner hyphens.
    pub name: String,
    /// MAC addresses of its NICs: at least one, that it boots from above all.
    pub macs: Vec<String>,
    /// SMBIOS UUID.
    #[serde(default)]
    pub smbios_uuid: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
}

impl NewNode {
    fn read(&self) -> Result<Shown, InventoryError> {
        let bad = |text: String| InventoryError::BadAnnouncement(text);
        if !crate::deploy::hostname::is_label(&self.name) {
            return Err(InventoryError::BadName(clipped(&self.name)));
        }
        if self.macs.is_empty() || self.macs.len() > MAX_MACS {
            return Err(bad(format!("it has {} MAC addresses", self.macs.len())));
        }
        let mut macs = Vec::with_capacity(self.macs.len());
        for text in &self.macs {
            let mac: MacAddress = text.trim().parse().map_err(|error| bad(format!("{error}")))?;
            macs.push(mac.to_string());
        }
        macs.sort();
        macs.dedup();
        let given = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default().trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let uuid = given(&self.smbios_uuid)
            .map(|text| {
                Uuid::try_parse(&text).map_err(|_| bad(format!("`{}` is not a UUID", clipped(&text))))
            })
            .transpose()?
            .map(|uuid| uuid.hyphenated().to_string());
        let serial = given(&self.serial);
        if serial.as_ref().is_some_and(|serial| serial.len() > MAX_TEXT) {
            return Err(bad(format!(
                "its serial number is longer than {MAX_TEXT} letters"
            )));
        }
        Ok(Shown { macs, uuid, serial })
    }
}

impl Nodes {
    /// Announces a machine: when it calls it is in service at once.
    pub async fn announce(&self, by: &Caller, wanted: &NewNode) -> Result<Node, InventoryError> {
        let shown = wanted.read()?;
        let mut change = self.events.begin_by(by.author()).await?;
        let taken: Option<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE name = ?")
            .bind(&wanted.name)
            .fetch_optional(change.connection())
            .await
            .map_err(doing("look for the name"))?;
        if taken.is_some() {
            return Err(InventoryError::NameTaken(wanted.name.clone()));
        }
        if let Some(known) = candidates(change.connection(), &shown).await?.into_iter().next() {
            let mac = shown.macs.iter().find(|mac| known.macs.contains(mac));
            let what = match mac {
                Some(mac) => format!("MAC address {mac}"),
                None if known.serial.is_some() && known.serial == shown.serial => "serial number".to_owned(),
                None => "UUID".to_owned(),
            };
            // The name of what is another project's is not told.
            let name = match self.find(&by.viewer(), &known.node_id).await {
                Ok(node) => node.name,
                Err(_) => "of another project".to_owned(),
            };
            return Err(InventoryError::Known { name, what });
        }
        let id = Ulid::generate().to_string();
        sqlx::query(
            "INSERT INTO nodes (id, name, state, smbios_uuid, serial, project_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&wanted.name)
        .bind(NodeState::Enrolled.as_str())
        .bind(&shown.uuid)
        .bind(&shown.serial)
        .bind(&by.project_id)
        .bind(self.clock.now_ms())
        .execute(change.connection())
        .await
        .map_err(doing("make the node known"))?;
        super::enroll::keep_macs(change.connection(), &id, &shown.macs).await?;
        let message = format!(
            "Node {} was announced; it is in service from its first call.",
            wanted.name
        );
        let details =
            json!({ "name": wanted.name, "macs": shown.macs, "uuid": shown.uuid, "serial": shown.serial });
        tell(&mut change, &id, "node.announced", message, details).await?;
        change.commit().await?;
        self.get(&id).await
    }

    /// Keeps a node out of use, or (`reason` unset) ends that. What runs on it goes on.
    pub async fn set_maintenance(
        &self,
        by: &Caller,
        wanted: &str,
        reason: Option<&str>,
    ) -> Result<Node, InventoryError> {
        let found = self.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let node = load(change.connection(), &found.id).await?.unwrap_or(found);
        let maintenance = reason.map(|reason| Maintenance {
            reason: clipped(reason.trim()),
            by: by.name.clone(),
            since: self.clock.now(),
        });
        let same = match (&node.maintenance, &maintenance) {
            (Some(old), Some(new)) => old.reason == new.reason,
            (old, new) => old.is_none() && new.is_none(),
        };
        if same {
            return Ok(node);
        }
        sqlx::query("UPDATE nodes SET maintenance = ? WHERE id = ?")
            .bind(maintenance.as_ref().map(|it| json!(it).to_string()))
            .bind(&node.id)
            .execute(change.connection())
            .await
            .map_err(doing("keep the node's maintenance"))?;
        let (kind, message) = match &maintenance {
            Some(it) => (
                "node.maintenance.begun",
                format!(
                    "Node {} is in maintenance: {}. Nothing is begun on it.",
                    node.name, it.reason
                ),
            ),
            None => (
                "node.maintenance.ended",
                format!("Node {} is out of maintenance.", node.name),
            ),
        };
        let details = json!({ "reason": maintenance.as_ref().map(|it| &it.reason), "by": by.name });
        tell(&mut change, &node.id, kind, message, details).await?;
        change.commit().await?;
        self.get(&node.id).await
    }

    /// Takes a node out of service for good: it boots its own disk and is left alone. `approve` takes it back.
    pub async fn retire(&self, by: &Caller, wanted: &str) -> Result<Node, InventoryError> {
        let found = self.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let node = load(change.connection(), &found.id).await?.unwrap_or(found);
        if node.state == NodeState::Retired {
            return Ok(node);
        }
        if node.state.is_taken() {
            return Err(InventoryError::Taken {
                name: node.name,
                state: node.state,
            });
        }
        if node.state.after(NodeEvent::Retire).is_none() {
            return Err(InventoryError::NotAllowed {
                name: node.name,
                state: node.state,
                what: "retired",
            });
        }
        require_no_volumes(change.connection(), &node).await?;
        transit(change.connection(), &node, NodeEvent::Retire, None).await?;
        let message = format!("Node {} was retired; it was {}.", node.name, node.state);
        tell(
            &mut change,
            &node.id,
            "node.retired",
            message,
            json!({ "state": node.state }),
        )
        .await?;
        change.commit().await?;
        self.get(&node.id).await
    }

    /// Takes a discovered node into service because the model of its hardware says so; anything else stays as it is.
    pub(crate) async fn approve_by_model(&self, node_id: &str, model: &str) -> Result<bool, InventoryError> {
        let mut change = self.events.begin().await?;
        let Some(node) = load(change.connection(), node_id).await? else {
            return Ok(false);
        };
        if node.state != NodeState::Discovered || node.maintenance.is_some() {
            return Ok(false);
        }
        transit(change.connection(), &node, NodeEvent::Approved, None).await?;
        let message = format!(
            "Node {} was taken into service, as its hardware model {model} says, and is available.",
            node.name
        );
        let details = json!({ "name": node.name, "model": model });
        tell(&mut change, &node.id, "node.approved", message, details).await?;
        change.commit().await?;
        Ok(true)
    }
}

async fn tell(
    change: &mut Change,
    node_id: &str,
    kind: &str,
    message: String,
    details: serde_json::Value,
) -> Result<(), DatabaseError> {
    let event = NewEvent {
        kind,
        node_id: Some(node_id),
        deployment_id: None,
        message,
        details,
    };
    change.append(event).await.map(drop)
}
