//! Volumes are given to servers. What takes time is only written down here; [`drive`](super::drive) does it.

use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    DiskKind, PciFunction, VolumeError, VolumeRecord, VolumeState, Volumes, content,
    decide::{Reason, patience},
    record::Attachment,
    table::load,
};
use crate::{
    events::{Change, NewEvent, doing},
    identity::Caller,
    inventory::{InventoryError, Node},
};

const LAST_FUNCTION: u16 = 255;

/// Where a volume is to appear; of no meaning for disks that are presented already.
#[derive(Debug, Clone, Copy)]
pub struct WantedSeat {
    /// As what.
    pub kind: DiskKind,
    /// The card's function; `None`: the first one that has no volume.
    pub function: Option<PciFunction>,
}

impl Volumes {
    /// Has a volume shown to a server. Asking again for the same is no error, and tries again after one. A disk that is
    /// presented already is the server's at once.
    pub async fn attach(
        &self,
        by: &Caller,
        wanted: &str,
        node: &str,
        seat: WantedSeat,
    ) -> Result<VolumeRecord, VolumeError> {
        let found = self.find(&by.viewer(), wanted).await?;
        let node = self.nodes.find(&by.viewer(), node).await?;
        let mut change = self
            .events
            .begin_by(by.author().in_project(&found.project_id))
            .await?;
        let next = self.attach_in(&mut change, &found.id, &node, seat).await?;
        content::in_use(change.connection(), &next.id).await?;
        change.commit().await?;
        self.bell.notify_one();
        Ok(next)
    }

    /// The same as a part of a change; when that is done, the task finds by itself what there is to do.
    pub(crate) async fn attach_in(
        &self,
        change: &mut Change,
        id: &str,
        node: &Node,
        seat: WantedSeat,
    ) -> Result<VolumeRecord, VolumeError> {
        let record = load(change.connection(), id).await?;
        // Read again: it may have changed hands, or be gone.
        let (project_id, card) = place(change.connection(), node).await?;
        if record.project_id != project_id {
            return Err(VolumeError::OtherProject {
                name: record.name,
                node: node.name.clone(),
            });
        }
        match (&record.attachment, record.state) {
            (Some(there), VolumeState::Attaching | VolumeState::Attached) if is_there(there, node, seat) => {
                return Ok(record);
            }
            (Some(there), VolumeState::Error) if is_there(there, node, seat) => {}
            (None, VolumeState::Available) => {}
            _ => return Err(busy(change.connection(), record).await?),
        }
        let (state, attachment) = if record.backing.is_static() {
            let attachment = static_disk(change.connection(), &record, node, seat).await?;
            (VolumeState::Attached, attachment)
        } else {
            if card.is_none() {
                return Err(VolumeError::NoCard(node.name.clone()));
            }
            let attachment = on_card(change.connection(), &record, node, seat).await?;
            (VolumeState::Attaching, attachment)
        };
        let reason = Reason::at_first(state);
        self.go(change, &record, state, &reason, Some(&attachment)).await
    }

    /// Has the task look at once whether there is something to do.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Writes a new state with its event; nothing when the volume has changed since it was read.
    pub(super) async fn go(
        &self,
        change: &mut Change,
        record: &VolumeRecord,
        state: VolumeState,
        reason: &Reason,
        attachment: Option<&Attachment>,
    ) -> Result<VolumeRecord, VolumeError> {
        let now = self.clock.now_ms();
        let patience = patience(state).and_then(|patience| i64::try_from(patience.as_millis()).ok());
        let deadline = patience.map(|patience| now.saturating_add(patience));
        let function = attachment.and_then(|there| there.function);
        sqlx::query(
            "UPDATE volumes SET state = ?1, version = version + 1, since = ?2, deadline = ?3, why = ?4, remedy = ?5, \
             node_id = ?6, port = ?7, physical = ?8, virtual = ?9, kind = ?10, card_name = ?11 \
             WHERE id = ?12 AND version = ?13",
        )
        .bind(state.as_str())
        .bind(now)
        .bind(deadline)
        .bind(&reason.why)
        .bind(&reason.remedy)
        .bind(attachment.map(|there| &there.node_id))
        .bind(function.map(|function| function.port))
        .bind(function.map(|function| function.physical))
        .bind(function.map(|function| function.virtual_))
        .bind(attachment.and_then(|there| there.kind).map(DiskKind::as_str))
        .bind(attachment.map_or("", |there| there.card_name.as_str()))
        .bind(&record.id)
        .bind(record.version)
        .execute(change.connection())
        .await
        .map_err(doing("change the state of the volume"))?;
        let next = load(change.connection(), &record.id).await?;
        if next.version == record.version + 1 {
            let (kind, what) = words_of(state);
            let node = attachment
                .or(record.attachment.as_ref())
                .map(|there| there.node_id.clone());
            tell(
                change,
                kind,
                &next,
                &what_happened(state, what, reason),
                node.as_deref(),
            )
            .await?;
        }
        Ok(next)
    }
}

fn what_happened(state: VolumeState, what: &str, reason: &Reason) -> String {
    match state {
        VolumeState::Error => format!("{what}: {}", reason.why),
        _ => what.to_owned(),
    }
}

/// The kind of an event, and what it says.
fn words_of(state: VolumeState) -> (&'static str, &'static str) {
    match state {
        VolumeState::Attaching => ("volume.attaching", "is being attached"),
        VolumeState::Attached => ("volume.attached", "is attached"),
        VolumeState::Detaching => ("volume.detaching", "is being detached"),
        VolumeState::Available => ("volume.available", "is available"),
        VolumeState::Error => ("volume.error", "has a problem"),
        VolumeState::Preparing => ("volume.preparing", "is being made"),
        VolumeState::Deleting => ("volume.deleting", "is being deleted"),
    }
}

/// Writes an event about a volume, and about its server if it has one.
pub(super) async fn tell(
    change: &mut Change,
    kind: &str,
    record: &VolumeRecord,
    what: &str,
    node: Option<&str>,
) -> Result<(), VolumeError> {
    change
        .append(NewEvent {
            kind,
            node_id: node,
            deployment_id: None,
            message: format!("Volume {} {what}.", record.name),
            details: json!({
                "volume_id": record.id, "name": record.name, "state": record.state, "remedy": record.remedy,
                "attachment": record.attachment,
            }),
        })
        .await?;
    Ok(())
}

/// Its state does not allow it.
pub(super) async fn busy(
    connection: &mut SqliteConnection,
    record: VolumeRecord,
) -> Result<VolumeError, VolumeError> {
    let node = match &record.attachment {
        Some(there) => sqlx::query_scalar("SELECT name FROM nodes WHERE id = ?")
            .bind(&there.node_id)
            .fetch_optional(connection)
            .await
            .map_err(doing("read the volume's node"))?,
        None => None,
    };
    Ok(VolumeError::Busy {
        name: record.name,
        state: record.state,
        node,
    })
}

/// Whether that is where somebody wants it.
fn is_there(there: &Attachment, node: &Node, seat: WantedSeat) -> bool {
    let same_function = seat
        .function
        .is_none_or(|function| there.function == Some(function));
    let same_kind = there.kind.is_none_or(|kind| kind == seat.kind);
    there.node_id == node.id && same_kind && same_function
}

/// Whose the node is, and where its card.
async fn place(
    connection: &mut SqliteConnection,
    node: &Node,
) -> Result<(String, Option<String>), VolumeError> {
    let found: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT project_id, card FROM nodes WHERE id = ?")
            .bind(&node.id)
            .fetch_optional(connection)
            .await
            .map_err(doing("read the node"))?;
    found.ok_or_else(|| {
        InventoryError::NotFound {
            wanted: node.name.clone(),
            near: Vec::new(),
        }
        .into()
    })
}

/// The attachment of a disk that is presented already.
async fn static_disk(
    connection: &mut SqliteConnection,
    record: &VolumeRecord,
    node: &Node,
    seat: WantedSeat,
) -> Result<Attachment, VolumeError> {
    if seat.function.is_some() {
        return Err(VolumeError::NoFunction(record.name.clone()));
    }
    let other: Option<String> = sqlx::query_scalar(
        "SELECT other.name FROM volumes other, volumes this \
         WHERE this.id = ?1 AND other.id <> ?1 AND other.node_id = ?2 AND other.backing = this.backing",
    )
    .bind(&record.id)
    .bind(&node.id)
    .fetch_optional(connection)
    .await
    .map_err(doing("look who has the disk"))?;
    if let Some(other) = other {
        return Err(VolumeError::DiskTaken {
            node: node.name.clone(),
            other,
        });
    }
    Ok(Attachment {
        node_id: node.id.clone(),
        function: None,
        kind: None,
        serial: String::new(),
        card_name: String::new(),
    })
}

/// The attachment of a volume that the node's card is to show.
async fn on_card(
    connection: &mut SqliteConnection,
    record: &VolumeRecord,
    node: &Node,
    seat: WantedSeat,
) -> Result<Attachment, VolumeError> {
    let before = record.attachment.as_ref().and_then(|there| there.function);
    let function = match before.or(seat.function) {
        Some(function) => function,
        None => free_function(&mut *connection, node).await?,
    };
    if let Some(other) = holder(connection, node, function).await?
        && other != record.name
    {
        return Err(VolumeError::FunctionTaken {
            node: node.name.clone(),
            function,
            other,
        });
    }
    Ok(Attachment {
        node_id: node.id.clone(),
        function: Some(function),
        kind: Some(seat.kind),
        serial: String::new(),
        card_name: String::new(),
    })
}

async fn holder(
    connection: &mut SqliteConnection,
    node: &Node,
    function: PciFunction,
) -> Result<Option<String>, VolumeError> {
    let found = sqlx::query_scalar(
        "SELECT name FROM volumes WHERE node_id = ? AND port = ? AND physical = ? AND virtual = ?",
    )
    .bind(&node.id)
    .bind(function.port)
    .bind(function.physical)
    .bind(function.virtual_)
    .fetch_optional(connection)
    .await;
    Ok(found.map_err(doing("look who has the function"))?)
}

/// The first physical function of port 0 that has no volume.
async fn free_function(connection: &mut SqliteConnection, node: &Node) -> Result<PciFunction, VolumeError> {
    let taken: Vec<u16> =
        sqlx::query_scalar("SELECT physical FROM volumes WHERE node_id = ? AND port = 0 AND virtual = 0")
            .bind(&node.id)
            .fetch_all(connection)
            .await
            .map_err(doing("look for a free function"))?;
    let free = (0..=LAST_FUNCTION).find(|number| !taken.contains(number));
    let physical = free.ok_or_else(|| VolumeError::CardFull(node.name.clone()))?;
    Ok(PciFunction {
        physical,
        ..PciFunction::default()
    })
}
