//! The table of nodes.

use std::collections::HashMap;

use imprint_proto::agent::v1::Fingerprint;
use serde_json::json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{
    Inventory,
    identity::{Identity, Known, Recognised, Shown, identify},
    node::{Maintenance, Node, NodeProblem, NodeState, SELECT_NODE},
    seen::Seen,
};
use crate::{
    boot::BootFacts,
    clock::Clock,
    events::{Change, DatabaseError, EventLog, NewEvent, doing},
    identity::{Caller, Viewer},
    lifecycle::NodeEvent,
};

/// A node cannot be found or changed.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// Nothing is called that.
    #[error("no node is known as `{wanted}`{}", near_text(near))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// Names that are close.
        near: Vec<String>,
    },
    /// Several nodes have it in common.
    #[error("several nodes are known as `{wanted}`: {}", names.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The state does not allow it.
    #[error("node {name} is {state}; only a discovered or a retired node can be approved")]
    NotDiscovered {
        /// The node.
        name: String,
        /// Its state.
        state: NodeState,
    },
    /// A deployment, a release or a rescue runs.
    #[error("node {name} is {state}")]
    Taken {
        /// The node.
        name: String,
        /// Its state.
        state: NodeState,
    },
    /// The state does not allow it.
    #[error("node {name} is {state}: it cannot be {what}")]
    NotAllowed {
        /// The node.
        name: String,
        /// Its state.
        state: NodeState,
        /// What was wanted: "retired".
        what: &'static str,
    },
    /// Nothing is begun on it.
    #[error("node {name} is in maintenance since {}, by {}: {}", maintenance.since, maintenance.by, maintenance.reason)]
    InMaintenance {
        /// The node.
        name: String,
        /// Why.
        maintenance: Maintenance,
    },
    /// The announcement of a machine.
    #[error("that cannot be the announcement of a machine: {0}")]
    BadAnnouncement(String),
    /// A machine that shows this is known already.
    #[error("node {name} is known by the same {what} already")]
    Known {
        /// The node.
        name: String,
        /// "MAC address 52:54:00:00:00:01", for instance.
        what: String,
    },
    /// Its card shows volumes.
    #[error("node {name} has the volumes {}", volumes.join(", "))]
    HasVolumes {
        /// The node.
        name: String,
        /// Names of the volumes.
        volumes: Vec<String>,
    },
    /// Another node is called that.
    #[error("another node is already called `{0}`")]
    NameTaken(String),
    /// Not a name.
    #[error("`{0}` cannot be the name of a node")]
    BadName(String),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("; there is {}", near.join(", "))
    }
}

/// Which nodes to list.
#[derive(Debug, Clone, Default)]
pub struct NodeQuery {
    /// Only nodes in this state.
    pub state: Option<NodeState>,
    /// Only nodes after this id.
    pub after: String,
    /// At most this many; 100 when 0, 1,000 at most.
    pub page_size: u32,
}

/// A page of nodes, by id.
#[derive(Debug, Clone)]
pub struct NodePage {
    /// The nodes.
    pub items: Vec<Node>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// The known machines; cheap to clone.
#[derive(Debug, Clone)]
pub struct Nodes {
    pub(super) db: SqlitePool,
    pub(super) clock: Clock,
    pub(super) events: EventLog,
    pub(super) seen: Seen,
}

impl Nodes {
    /// The nodes of the database.
    #[must_use]
    pub fn new(db: SqlitePool, clock: Clock, events: EventLog) -> Self {
        Self {
            db,
            clock,
            events,
            seen: Seen::default(),
        }
    }

    /// The node with this id.
    pub async fn get(&self, id: &str) -> Result<Node, InventoryError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the node"))?;
        load(&mut connection, id)
            .await?
            .ok_or_else(|| InventoryError::NotFound {
                wanted: id.to_owned(),
                near: vec![],
            })
    }

    /// The node with this id, name, UUID, serial number or MAC address, if the viewer may see it. What he may not see
    /// does not exist for him, also not as one of several.
    pub async fn find(&self, viewer: &Viewer, wanted: &str) -> Result<Node, InventoryError> {
        let wanted = wanted.trim();
        let uuid = Uuid::try_parse(wanted).ok();
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT_NODE);
        sql.push("WHERE ");
        if let Some(project) = viewer.project() {
            sql.push("n.project_id = ").push_bind(project).push(" AND ");
        }
        sql.push("(n.id = ").push_bind(wanted.to_uppercase());
        sql.push(" OR n.name = ").push_bind(wanted);
        sql.push(" OR n.serial = ").push_bind(wanted);
        if let Some(uuid) = uuid {
            sql.push(" OR n.smbios_uuid IN (")
                .push_bind(uuid.hyphenated().to_string());
            sql.push(", ").push_bind(swapped(uuid)).push(")");
        }
        if let Ok(mac) = wanted.parse::<crate::boot::MacAddress>() {
            sql.push(" OR n.id IN (SELECT node_id FROM node_macs WHERE mac = ")
                .push_bind(mac.to_string())
                .push(")");
        }
        sql.push(") ORDER BY n.id LIMIT 10");
        let mut found: Vec<Node> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for the node"))?;
        // An id or a name is said on purpose; serial numbers may repeat.
        if let Some(exact) = found
            .iter()
            .position(|node| node.id.eq_ignore_ascii_case(wanted) || node.name.eq_ignore_ascii_case(wanted))
        {
            return Ok(found.swap_remove(exact));
        }
        match found.len() {
            0 => Err(InventoryError::NotFound {
                wanted: clipped(wanted),
                near: self.near(viewer, wanted).await?,
            }),
            1 => Ok(found.remove(0)),
            _ => Err(InventoryError::Ambiguous {
                wanted: clipped(wanted),
                names: found.into_iter().map(|node| node.name).collect(),
            }),
        }
    }

    async fn near(&self, viewer: &Viewer, wanted: &str) -> Result<Vec<String>, DatabaseError> {
        let start: String = wanted
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .take(4)
            .collect();
        if start.is_empty() {
            return Ok(Vec::new());
        }
        let like = "SELECT name FROM nodes WHERE name LIKE ?1 AND (?2 IS NULL OR project_id = ?2) ORDER BY name LIMIT 5";
        sqlx::query_scalar(like)
            .bind(format!("{start}%"))
            .bind(viewer.project())
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for nodes"))
    }

    /// A page of the nodes that the viewer may see.
    pub async fn list(&self, viewer: &Viewer, query: &NodeQuery) -> Result<NodePage, InventoryError> {
        let limit = match query.page_size {
            0 => 100,
            size => i64::from(size.min(1000)),
        };
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT_NODE);
        sql.push("WHERE n.id > ").push_bind(&query.after);
        if let Some(project) = viewer.project() {
            sql.push(" AND n.project_id = ").push_bind(project);
        }
        if let Some(state) = query.state {
            sql.push(" AND n.state = ").push_bind(state.as_str());
        }
        sql.push(" ORDER BY n.id LIMIT ").push_bind(limit + 1);
        let mut items: Vec<Node> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list nodes"))?;
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = if more {
            items.last().map(|node| node.id.clone())
        } else {
            None
        };
        Ok(NodePage { items, next })
    }

    /// The inventory that the agent sent last.
    pub async fn inventory(&self, node_id: &str) -> Result<Option<Inventory>, InventoryError> {
        let text: Option<Option<String>> = sqlx::query_scalar("SELECT inventory FROM nodes WHERE id = ?")
            .bind(node_id)
            .fetch_optional(&self.db)
            .await
            .map_err(doing("read the inventory"))?;
        let decoded = text.flatten().map(|text| serde_json::from_str(&text)).transpose();
        decoded.map_err(|error| doing("read the inventory")(sqlx::Error::Decode(Box::new(error))).into())
    }

    /// Nodes after an id with what is known of their hardware, by id; of one project if it is named.
    pub(crate) async fn with_inventories(
        &self,
        project: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(Node, Option<Inventory>)>, InventoryError> {
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT_NODE);
        sql.push("WHERE n.id > ").push_bind(after);
        if let Some(project) = project {
            sql.push(" AND n.project_id = ").push_bind(project);
        }
        sql.push(" ORDER BY n.id LIMIT ")
            .push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let read = doing("read the nodes");
        let nodes: Vec<Node> = sql.build_query_as().fetch_all(&self.db).await.map_err(read)?;
        let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else {
            return Ok(Vec::new());
        };
        let known: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, inventory FROM nodes WHERE id BETWEEN ? AND ? AND inventory IS NOT NULL",
        )
        .bind(&first.id)
        .bind(&last.id)
        .fetch_all(&self.db)
        .await
        .map_err(doing("read the inventories"))?;
        let mut known: HashMap<String, String> = known.into_iter().collect();
        let mut pairs = Vec::with_capacity(nodes.len());
        for node in nodes {
            let text = known.remove(&node.id);
            let inventory = text.map(|text| serde_json::from_str(&text)).transpose();
            let decoded = inventory.map_err(|error| sqlx::Error::Decode(Box::new(error)));
            pairs.push((node, decoded.map_err(doing("read the inventories"))?));
        }
        Ok(pairs)
    }

    /// Takes a discovered node into service, under a new name if one is given.
    pub async fn approve(
        &self,
        by: &Caller,
        wanted: &str,
        name: Option<&str>,
    ) -> Result<Node, InventoryError> {
        let node = self.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let node = load(change.connection(), &node.id).await?.unwrap_or(node);
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let rename = name.filter(|name| *name != node.name);
        // Approving twice with the same name is the same as approving once.
        if node.state == NodeState::Available && rename.is_none() {
            return Ok(node);
        }
        if node.state.after(NodeEvent::Approved).is_none() {
            return Err(InventoryError::NotDiscovered {
                name: node.name,
                state: node.state,
            });
        }
        if let Some(name) = rename {
            rename_node(&mut change, &node, name).await?;
        }
        let shown = rename.unwrap_or(&node.name).to_owned();
        transit(change.connection(), &node, NodeEvent::Approved, None).await?;
        change
            .append(NewEvent {
                kind: "node.approved",
                node_id: Some(&node.id),
                deployment_id: None,
                message: format!("Node {shown} was taken into service and is available."),
                details: json!({ "name": shown, "former_name": node.name }),
            })
            .await?;
        change.commit().await?;
        self.get(&node.id).await
    }

    /// Which node a booting machine is.
    pub async fn find_for_boot(&self, facts: &BootFacts) -> Result<Recognised, InventoryError> {
        let mut connection = self.db.acquire().await.map_err(doing("look for the machine"))?;
        Ok(recognise(&mut connection, &Shown::by_boot_loader(facts)).await?)
    }

    /// Which node the machine of an agent is, before anything is kept about it.
    pub async fn find_for_agent(
        &self,
        connection: &mut SqliteConnection,
        fingerprint: &Fingerprint,
    ) -> Result<Recognised, DatabaseError> {
        recognise(connection, &Shown::by_agent(fingerprint)).await
    }
}

async fn recognise(connection: &mut SqliteConnection, shown: &Shown) -> Result<Recognised, DatabaseError> {
    Ok(
        match identify(shown, &candidates(&mut *connection, shown).await?) {
            Identity::Same(id) => load(connection, &id)
                .await?
                .map_or(Recognised::Unknown, |node| Recognised::Known(Box::new(node))),
            Identity::New => Recognised::Unknown,
            Identity::Conflict(conflict) => Recognised::Contradiction(conflict),
        },
    )
}

/// The node with this id.
pub(crate) async fn load(connection: &mut SqliteConnection, id: &str) -> Result<Option<Node>, DatabaseError> {
    let mut sql = QueryBuilder::<Sqlite>::new(SELECT_NODE);
    sql.push("WHERE n.id = ").push_bind(id);
    sql.build_query_as()
        .fetch_optional(connection)
        .await
        .map_err(doing("read the node"))
}

/// Lets an event move a node, if nobody else has moved it since it was read; answers with its new state.
pub(crate) async fn transit(
    connection: &mut SqliteConnection,
    node: &Node,
    event: NodeEvent,
    problem: Option<&NodeProblem>,
) -> Result<NodeState, DatabaseError> {
    let failed = doing("change the node's state");
    let Some(state) = node.state.after(event) else {
        let text = format!("node {} is {}: {event} is nothing for it", node.name, node.state);
        return Err(failed(sqlx::Error::Protocol(text)));
    };
    let problem = problem.filter(|_| state == NodeState::Failed);
    let result = sqlx::query(
        "UPDATE nodes SET state = ?, problem = ?, version = version + 1 WHERE id = ? AND version = ?",
    )
    .bind(state.as_str())
    .bind(problem.map(|problem| json!(problem).to_string()))
    .bind(&node.id)
    .bind(node.version)
    .execute(connection)
    .await
    .map_err(failed)?;
    if result.rows_affected() == 1 {
        return Ok(state);
    }
    Err(doing(
        "change the node's state, which another change has just moved",
    )(sqlx::Error::RowNotFound))
}

/// All nodes that share a UUID, a serial number or a MAC address with what is shown.
pub(super) async fn candidates(
    connection: &mut SqliteConnection,
    shown: &Shown,
) -> Result<Vec<Known>, DatabaseError> {
    let mut sql = QueryBuilder::<Sqlite>::new(SELECT_NODE);
    sql.push("WHERE n.id IN (SELECT node_id FROM node_macs WHERE mac IN (");
    let mut macs = sql.separated(", ");
    for mac in &shown.macs {
        macs.push_bind(mac);
    }
    sql.push("))");
    if let Some(uuid) = shown.uuid.as_deref().and_then(|uuid| Uuid::try_parse(uuid).ok()) {
        sql.push(" OR n.smbios_uuid IN (")
            .push_bind(uuid.hyphenated().to_string());
        sql.push(", ").push_bind(swapped(uuid)).push(")");
    }
    if let Some(serial) = &shown.serial {
        sql.push(" OR n.serial = ").push_bind(serial);
    }
    sql.push(" ORDER BY n.id LIMIT 100");
    let nodes: Vec<Node> = sql
        .build_query_as()
        .fetch_all(connection)
        .await
        .map_err(doing("look for the machine"))?;
    let known = nodes.into_iter().map(|node| Known {
        node_id: node.id,
        name: node.name,
        uuid: node.smbios_uuid,
        serial: node.serial,
        macs: node.macs,
    });
    Ok(known.collect())
}

/// The same UUID as firmware of the other byte order reads it.
fn swapped(uuid: Uuid) -> String {
    Uuid::from_bytes(uuid.to_bytes_le()).hyphenated().to_string()
}

/// Refused while volumes are attached to the node, or on their way.
pub(super) async fn require_no_volumes(
    connection: &mut SqliteConnection,
    node: &Node,
) -> Result<(), InventoryError> {
    let volumes: Vec<String> =
        sqlx::query_scalar("SELECT name FROM volumes WHERE node_id = ? ORDER BY name LIMIT 20")
            .bind(&node.id)
            .fetch_all(connection)
            .await
            .map_err(doing("look for volumes of the node"))?;
    if volumes.is_empty() {
        return Ok(());
    }
    Err(InventoryError::HasVolumes {
        name: node.name.clone(),
        volumes,
    })
}

async fn rename_node(change: &mut Change, node: &Node, name: &str) -> Result<(), InventoryError> {
    if !crate::deploy::hostname::is_label(name) {
        return Err(InventoryError::BadName(clipped(name)));
    }
    let taken: Option<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE name = ? AND id <> ?")
        .bind(name)
        .bind(&node.id)
        .fetch_optional(change.connection())
        .await
        .map_err(doing("look for the name"))?;
    if taken.is_some() {
        return Err(InventoryError::NameTaken(name.to_owned()));
    }
    sqlx::query("UPDATE nodes SET name = ? WHERE id = ?")
        .bind(name)
        .bind(&node.id)
        .execute(change.connection())
        .await
        .map_err(doing("rename the node"))?;
    Ok(())
}

pub(super) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
