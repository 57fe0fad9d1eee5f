//! Volumes are made known, found and forgotten, and cards are named.

use serde_json::json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use ulid::Ulid;

use super::{
    BackendKind, Backing, Limits, OpiCard, VolumeError, VolumeRecord, VolumeState, Volumes,
    attach::{busy, tell},
    check::{LONGEST_NAME, check},
    decide::Reason,
    record::SELECT,
    source::Source,
};
use crate::{
    events::{Change, NewEvent, doing},
    identity::{Caller, PLATFORM, Viewer},
    inventory::Node,
};

/// A volume to be made known.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Whose it is to be; `None`: the platform's.
    pub project_id: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What holds its bytes.
    pub backing: Backing,
    /// What it may use.
    pub limits: Limits,
}

/// A page of volumes, by id.
#[derive(Debug, Clone)]
pub struct VolumePage {
    /// The volumes.
    pub items: Vec<VolumeRecord>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Volumes {
    /// Makes a volume known that its storage has already.
    pub async fn create(&self, by: &Caller, new: &NewVolume) -> Result<VolumeRecord, VolumeError> {
        check(new).map_err(VolumeError::Invalid)?;
        let project = new.project_id.as_deref().unwrap_or(PLATFORM);
        let mut change = self.events.begin_by(by.author().in_project(project)).await?;
        let id = Ulid::generate().to_string();
        let row = NewRow {
            id: &id,
            new,
            state: VolumeState::Available,
            backend: None,
            source: None,
        };
        let record = insert(&mut change, by, self.clock.now_ms(), &row).await?;
        tell(&mut change, "volume.created", &record, "was made known", None).await?;
        change.commit().await?;
        Ok(record)
    }

    /// The volume with this id or name, if the viewer may see it.
    pub async fn find(&self, viewer: &Viewer, wanted: &str) -> Result<VolumeRecord, VolumeError> {
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push("WHERE (id = ").push_bind(wanted.to_uppercase());
        sql.push(" OR name = ").push_bind(wanted).push(")");
        if let Some(project) = viewer.project() {
            sql.push(" AND project_id = ").push_bind(project);
        }
        let found: Vec<VolumeRecord> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for the volume"))?;
        found
            .into_iter()
            .next()
            .map(|record| self.with_progress(record))
            .ok_or_else(|| VolumeError::NotFound(wanted.chars().take(LONGEST_NAME).collect()))
    }

    /// A page of the volumes that the viewer may see.
    pub async fn list(
        &self,
        viewer: &Viewer,
        after: &str,
        page_size: u32,
    ) -> Result<VolumePage, VolumeError> {
        let limit = match page_size {
            0 => 100,
            size => i64::from(size.min(1000)),
        };
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push("WHERE id > ").push_bind(after);
        if let Some(project) = viewer.project() {
            sql.push(" AND project_id = ").push_bind(project);
        }
        sql.push(" ORDER BY id LIMIT ").push_bind(limit + 1);
        let mut items: Vec<VolumeRecord> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list volumes"))?;
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = if more {
            items.last().map(|volume| volume.id.clone())
        } else {
            None
        };
        let items = items
            .into_iter()
            .map(|record| self.with_progress(record))
            .collect();
        Ok(VolumePage { items, next })
    }

    /// Forgets a volume that no server has. What the back-end has made is deleted; other bytes stay where they are.
    pub async fn delete(&self, by: &Caller, wanted: &str) -> Result<VolumeRecord, VolumeError> {
        let found = self.find(&by.viewer(), wanted).await?;
        if found.backend.is_some() {
            return self.delete_made(by, found).await;
        }
        let mut change = self
            .events
            .begin_by(by.author().in_project(&found.project_id))
            .await?;
        let record = load(change.connection(), &found.id).await?;
        if record.attachment.is_some() {
            return Err(busy(change.connection(), record).await?);
        }
        tell(&mut change, "volume.deleted", &record, "was forgotten", None).await?;
        sqlx::query("DELETE FROM volumes WHERE id = ?")
            .bind(&record.id)
            .execute(change.connection())
            .await
            .map_err(doing("delete the volume"))?;
        change.commit().await?;
        Ok(record)
    }

    /// Says where the SDI card of a node is, or that it has none.
    pub async fn set_card(&self, by: &Caller, wanted: &str, card: Option<&str>) -> Result<Node, VolumeError> {
        if let Some(address) = card {
            OpiCard::at(address)?;
        }
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let other: Option<String> = sqlx::query_scalar("SELECT name FROM nodes WHERE card = ? AND id <> ?")
            .bind(card)
            .bind(&node.id)
            .fetch_optional(change.connection())
            .await
            .map_err(doing("look whose card it is"))?;
        if let Some(other) = other {
            return Err(VolumeError::CardTaken {
                address: card.unwrap_or_default().to_owned(),
                other,
            });
        }
        if card.is_none() {
            let shown: Vec<String> = sqlx::query_scalar(
                "SELECT name FROM volumes WHERE node_id = ? AND kind IS NOT NULL ORDER BY name LIMIT 20",
            )
            .bind(&node.id)
            .fetch_all(change.connection())
            .await
            .map_err(doing("look for volumes of the card"))?;
            if !shown.is_empty() {
                return Err(VolumeError::CardInUse {
                    node: node.name,
                    volumes: shown,
                });
            }
        }
        sqlx::query("UPDATE nodes SET card = ? WHERE id = ?")
            .bind(card)
            .bind(&node.id)
            .execute(change.connection())
            .await
            .map_err(doing("keep the card of the node"))?;
        let message = match card {
            Some(address) => format!("The SDI card of node {} is at {address}.", node.name),
            None => format!("Node {} has no SDI card.", node.name),
        };
        change
            .append(NewEvent {
                kind: "node.card",
                node_id: Some(&node.id),
                deployment_id: None,
                message,
                details: json!({ "card": card }),
            })
            .await?;
        change.commit().await?;
        Ok(node)
    }

    /// Where the card of a node is.
    pub async fn card_of(&self, node_id: &str) -> Result<Option<String>, VolumeError> {
        let card: Option<Option<String>> = sqlx::query_scalar("SELECT card FROM nodes WHERE id = ?")
            .bind(node_id)
            .fetch_optional(&self.db)
            .await
            .map_err(doing("read the card of the node"))?;
        Ok(card.flatten())
    }
}

/// A volume that is not in the books yet.
pub(super) struct NewRow<'a> {
    pub id: &'a str,
    pub new: &'a NewVolume,
    pub state: VolumeState,
    pub backend: Option<BackendKind>,
    /// What it is to be prepared from.
    pub source: Option<&'a Source>,
}

/// Writes a volume into the books.
pub(super) async fn insert(
    change: &mut Change,
    by: &Caller,
    now_ms: i64,
    row: &NewRow<'_>,
) -> Result<VolumeRecord, VolumeError> {
    let new = row.new;
    let backing =
        serde_json::to_string(&new.backing).map_err(|error| VolumeError::Invalid(error.to_string()))?;
    let inserted = sqlx::query(
        "INSERT INTO volumes (id, name, project_id, size_bytes, backing, kiops, mb_per_s, state, why, since, created_by, \
         created_at, backend, image_id, image_name, image_digest, manifest, logical_sector_bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?10, ?12, ?13, ?14, ?15, ?16, ?17) \
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(row.id)
    .bind(&new.name)
    .bind(new.project_id.as_deref().unwrap_or(PLATFORM))
    .bind(i64::try_from(new.size_bytes).unwrap_or(i64::MAX))
    .bind(backing)
    .bind(new.limits.kiops)
    .bind(new.limits.mb_per_s)
    .bind(row.state.as_str())
    .bind(Reason::at_first(row.state).why)
    .bind(now_ms)
    .bind(&by.name)
    .bind(row.backend.map(BackendKind::as_str))
    .bind(row.source.map(|source| &source.image.id))
    .bind(row.source.map(|source| &source.image.name))
    .bind(row.source.map(|source| &source.disk.image_digest))
    .bind(row.source.map(|source| &source.disk.manifest))
    .bind(row.source.map(|source| source.disk.logical_sector_bytes))
    .execute(change.connection())
    .await
    .map_err(doing("keep the volume"))?;
    if inserted.rows_affected() != 1 {
        return Err(VolumeError::NameTaken(new.name.clone()));
    }
    load(change.connection(), row.id).await
}

pub(super) async fn load(connection: &mut SqliteConnection, id: &str) -> Result<VolumeRecord, VolumeError> {
    let found: Option<VolumeRecord> = sqlx::query_as(sqlx::AssertSqlSafe(format!("{SELECT} WHERE id = ?")))
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the volume"))?;
    found.ok_or_else(|| VolumeError::NotFound(id.to_owned()))
}
