//! A volume as it is kept.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{
    BackendKind, Backing, DiskKind, Limits, PciFunction, Prepared, Progress, Seat, Volume,
    provider::serial_of,
};
use crate::{clock::timestamp_from_ms, words::words};

words! {
    /// Where a volume is in its life.
    VolumeState, "state of volumes", {
        /// The back-end makes it.
        Preparing => "preparing",
        /// No server has it.
        Available => "available",
        /// A card is to show it to a server.
        Attaching => "attaching",
        /// The card shows it.
        Attached => "attached",
        /// The card is to show it no more.
        Detaching => "detaching",
        /// Something failed, and nothing more is tried.
        Error => "error",
        /// The back-end deletes its bytes; then it is forgotten.
        Deleting => "deleting",
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VolumeRecord {
    /// ULID.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// Whose it is.
    pub project_id: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What holds its bytes.
    pub backing: Backing,
    /// What has made it, and deletes it; null: its storage is somebody else's.
    pub backend: Option<BackendKind>,
    /// The image that it was, or is to be, prepared from, or that a deployment has put onto it; null: nobody knows of one.
    pub prepared: Option<Prepared>,
    /// How far that is; null: it is not being written just now.
    pub progress: Option<Progress>,
    /// What it may use.
    pub limits: Limits,
    /// Where it is in its life.
    pub state: VolumeState,
    /// Since when it is there.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When that is given up; null: nothing is tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// What is waited for, or what went wrong; else empty.
    pub why: String,
    /// What can be done about it; else empty.
    pub remedy: String,
    /// Where it is, or is to be; null: nowhere.
    pub attachment: Option<Attachment>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Rises with each change of state.
    #[serde(skip)]
    pub(super) version: i64,
}

/// Where a volume is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Attachment {
    /// The server.
    pub node_id: String,
    /// The card's function; null: no card has a part in it.
    pub function: Option<PciFunction>,
    /// What the server takes the disk for; null: no card has a part in it.
    pub kind: Option<DiskKind>,
    /// What its disk says as its serial number, on cards that let it say something; empty when only its WWN is known.
    pub serial: String,
    /// What the card calls it; empty until it has shown it.
    pub card_name: String,
}

impl Attachment {
    /// Where the card shows it; `None`: no card has a part in it.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        self.function
            .zip(self.kind)
            .map(|(function, kind)| Seat { function, kind })
    }
}

impl VolumeRecord {
    /// As who presents it needs to know it.
    #[must_use]
    pub fn volume(&self) -> Volume {
        Volume {
            id: self.id.clone(),
            size_bytes: self.size_bytes,
            backing: self.backing.clone(),
            limits: self.limits,
        }
    }
}

pub(super) const SELECT: &str = "SELECT * FROM volumes ";

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn function(row: &SqliteRow) -> Result<Option<PciFunction>, sqlx::Error> {
    let Some(physical) = row.try_get("physical")? else {
        return Ok(None);
    };
    Ok(Some(PciFunction {
        port: row.try_get("port")?,
        physical,
        virtual_: row.try_get("virtual")?,
    }))
}

fn prepared(row: &SqliteRow) -> Result<Option<Prepared>, sqlx::Error> {
    let Some(image_id) = row.try_get("image_id")? else {
        return Ok(None);
    };
    let prepared_at: Option<i64> = row.try_get("prepared_at")?;
    Ok(Some(Prepared {
        image_id,
        image: row.try_get("image_name")?,
        image_digest: row.try_get("image_digest")?,
        prepared_at: prepared_at.map(timestamp_from_ms),
        manifest: row.try_get("manifest")?,
        logical_sector_bytes: row.try_get("logical_sector_bytes")?,
    }))
}

impl sqlx::FromRow<'_, SqliteRow> for VolumeRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let id: String = row.try_get("id")?;
        let backing: String = row.try_get("backing")?;
        let deadline: Option<i64> = row.try_get("deadline")?;
        let node: Option<String> = row.try_get("node_id")?;
        let kind: Option<String> = row.try_get("kind")?;
        let backend: Option<String> = row.try_get("backend")?;
        let backing: Backing = serde_json::from_str(&backing).map_err(decode)?;
        let attachment = match node {
            None => None,
            Some(node_id) => Some(Attachment {
                node_id,
                function: function(row)?,
                kind: kind.map(|word| word.parse()).transpose().map_err(decode)?,
                serial: match &backing {
                    Backing::Static { serial, .. } => serial.clone().unwrap_or_default(),
                    Backing::NvmeTcp { .. } | Backing::Named { .. } => serial_of(&id),
                },
                card_name: row.try_get("card_name")?,
            }),
        };
        Ok(Self {
            name: row.try_get("name")?,
            project_id: row.try_get("project_id")?,
            size_bytes: row.try_get::<i64, _>("size_bytes")?.try_into().map_err(decode)?,
            backing,
            backend: backend.map(|word| word.parse()).transpose().map_err(decode)?,
            prepared: prepared(row)?,
            progress: None,
            limits: Limits {
                kiops: row.try_get("kiops")?,
                mb_per_s: row.try_get("mb_per_s")?,
            },
            state: row.try_get::<String, _>("state")?.parse().map_err(decode)?,
            since: timestamp_from_ms(row.try_get("since")?),
            deadline: deadline.map(timestamp_from_ms),
            why: row.try_get("why")?,
            remedy: row.try_get("remedy")?,
            attachment,
            created_by: row.try_get("created_by")?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
            version: row.try_get("version")?,
            id,
        })
    }
}
