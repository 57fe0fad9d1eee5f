//! An image as it is kept, and how it is read from the database.

use std::{collections::BTreeMap, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::words::{BootMode, ImageKind, ImageState, PricePer, Source, Target, Visibility};
use crate::clock::timestamp_from_ms;

/// On what terms an image may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct License {
    /// What it is called: "GPL-2.0", "RHEL subscription".
    pub name: String,
    /// It comes with the image.
    #[serde(default)]
    pub included: bool,
    /// Whoever deploys the image needs one of their own.
    #[serde(default)]
    pub required: bool,
    /// Where its text is.
    #[serde(default)]
    pub reference: String,
}

/// What the use of an image costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// A decimal number: "0.05".
    pub amount: String,
    /// Three letters: "EUR".
    pub currency: String,
    /// What it is paid for.
    pub per: PricePer,
}

/// One disk of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageDisk {
    /// `system`, `data`, or a name of its own in a full machine.
    pub role: String,
    /// Key of its manifest in the store (`manifests/<key>`).
    pub manifest: String,
    /// BLAKE3 over the plain content, hex: the identity of the disk.
    pub image_digest: String,
    /// Size of the disk.
    pub disk_size_bytes: u64,
    /// Bytes that are not holes.
    pub data_bytes: u64,
    /// Bytes of all frames.
    pub stored_bytes: u64,
    /// Logical sector size that it was made for.
    pub logical_sector_bytes: u32,
    /// Whether its chunks are encrypted in the store.
    pub encrypted: bool,
    /// BLAKE3 of the manifest without its signatures, hex.
    #[serde(skip)]
    pub manifest_digest: String,
}

/// A change of state that was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Transition {
    /// The state it leads to.
    pub to_state: ImageState,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Id of the image to use instead from then on.
    pub replacement: Option<String>,
    /// What everybody should know who uses the image.
    pub reason: String,
    /// Who planned it.
    pub planned_by: String,
}

/// An image: one version of something that can be deployed. Its content never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Image {
    /// ULID.
    pub id: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// Who made it.
    pub created_by: String,
    /// Name, unique within its project.
    pub name: String,
    /// The family whose version it is.
    pub family: Option<String>,
    /// Which version of the family.
    pub version: Option<String>,
    /// What it is for.
    pub description: String,
    /// What it holds.
    pub kind: ImageKind,
    /// Who may see and use it.
    pub visibility: Visibility,
    /// Where it is in its life.
    pub state: ImageState,
    /// What everybody should know who uses it.
    pub state_reason: String,
    /// Id of the image to use instead.
    pub replacement: Option<String>,
    /// Never the newest of its family.
    pub exclude_from_latest: bool,
    /// Cannot be deleted.
    pub protected: bool,
    /// Where it can be used.
    pub region: String,
    /// How it came to be.
    pub source: Source,
    /// Where it came from.
    pub source_reference: String,
    /// What was imported: "raw", "qcow2", "raw.zst", …
    pub source_format: String,
    /// Id of the image that it was made from.
    pub parent_id: Option<String>,
    /// Model of the server that it was captured from.
    pub source_model: String,
    /// What machines it was made for.
    pub target: Target,
    /// "debian"; empty when it is not known.
    pub os_distribution: String,
    /// "12"; empty when it is not known.
    pub os_version: String,
    /// "x86_64"; empty when it is not known.
    pub architecture: String,
    /// How firmware can start it; empty when it is not known.
    pub boot_modes: Vec<BootMode>,
    /// The smallest disk that it can be used on; 0: its own size.
    pub min_disk_bytes: u64,
    /// The least memory that a machine must have.
    pub min_memory_bytes: u64,
    /// BLAKE3 over the plain content of the first disk, hex: the identity of the image. Empty while it is imported.
    pub image_digest: String,
    /// Size of all disks.
    pub disk_size_bytes: u64,
    /// Bytes of the disks that are not holes.
    pub data_bytes: u64,
    /// Bytes of all frames.
    pub stored_bytes: u64,
    /// Logical sector size that the first disk was made for; 0 while it is imported.
    pub logical_sector_bytes: u32,
    /// Whether it is encrypted in the store.
    pub encrypted: bool,
    /// Something of its stored content was found damaged or missing. It is not deployed until that is mended.
    pub damaged: bool,
    /// On what terms it may be used.
    pub license: Option<License>,
    /// What its use costs.
    pub price: Option<Price>,
    /// Who publishes it.
    pub publisher: String,
    /// Models of servers that it was certified for.
    pub certified_for: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whatever its owner wants to note.
    pub properties: BTreeMap<String, String>,
    /// Its disks; a system disk comes first.
    pub disks: Vec<ImageDisk>,
    /// Planned changes of its state.
    pub transitions: Vec<Transition>,
    /// When it deletes itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Rises with each change of what is said of it.
    pub row_version: i64,
    /// When it was imported.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When what is said of it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Image {
    /// The disk with this role, or the only one.
    #[must_use]
    pub fn disk(&self, role: Option<&str>) -> Option<&ImageDisk> {
        match (role, self.disks.as_slice()) {
            (None | Some(""), [only]) => Some(only),
            (None | Some(""), _) => None,
            (Some(role), disks) => disks.iter().find(|disk| disk.role == role),
        }
    }
}

/// Rows of `images` with what other tables hold of them, in their order.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    rows: &[SqliteRow],
) -> Result<Vec<Image>, sqlx::Error> {
    let mut images = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() {
        return Ok(images);
    }
    let ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
    let ids = serde_json::to_string(&ids).map_err(decode)?;
    let disks = sqlx::query(
        "SELECT d.image_id, d.role, m.* FROM json_each(?) AS j CROSS JOIN image_disks AS d ON d.image_id = j.value
             JOIN manifests AS m ON m.manifest = d.manifest ORDER BY d.image_id, d.position",
    )
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let tags = sqlx::query(
        "SELECT t.image_id, t.tag FROM json_each(?) AS j CROSS JOIN image_tags AS t ON t.image_id = j.value
             ORDER BY t.image_id, t.tag",
    )
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let transitions = sqlx::query(
        "SELECT t.* FROM json_each(?) AS j CROSS JOIN image_transitions AS t ON t.image_id = j.value
             ORDER BY t.image_id, t.at, t.to_state",
    )
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let damaged: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT d.image_id FROM json_each(?) AS j CROSS JOIN image_disks AS d ON d.image_id = j.value
             JOIN manifest_damage AS m ON m.manifest = d.manifest",
    )
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let at: BTreeMap<String, usize> = images.iter().map(|image| image.id.clone()).zip(0..).collect();
    let place = |row: &SqliteRow| -> Result<usize, sqlx::Error> {
        let id: String = row.try_get("image_id")?;
        at.get(&id).copied().ok_or(sqlx::Error::RowNotFound)
    };
    for row in &disks {
        images[place(row)?].disks.push(disk(row)?);
    }
    for row in &tags {
        images[place(row)?].tags.push(row.try_get("tag")?);
    }
    for id in &damaged {
        images[*at.get(id).ok_or(sqlx::Error::RowNotFound)?].damaged = true;
    }
    for row in &transitions {
        images[place(row)?].transitions.push(transition(row)?);
    }
    for image in &mut images {
        if let Some(first) = image.disks.first() {
            image.image_digest.clone_from(&first.image_digest);
            image.logical_sector_bytes = first.logical_sector_bytes;
        }
        let end = image
            .transitions
            .iter()
            .find(|t| t.to_state == ImageState::Deleted);
        image.expires_at = end.map(|t| t.at);
    }
    Ok(images)
}

fn from_row(row: &SqliteRow) -> Result<Image, sqlx::Error> {
    Ok(Image {
        id: row.try_get("id")?,
        project_id: row.try_get("project_id")?,
        created_by: row.try_get("created_by")?,
        name: row.try_get("name")?,
        family: row.try_get("family")?,
        version: row.try_get("version")?,
        description: row.try_get("description")?,
        kind: word(row, "kind")?,
        visibility: word(row, "visibility")?,
        state: word(row, "state")?,
        state_reason: row.try_get("state_reason")?,
        replacement: row.try_get("replacement")?,
        exclude_from_latest: row.try_get("exclude_from_latest")?,
        protected: row.try_get("protected")?,
        region: row.try_get("region")?,
        source: word(row, "source")?,
        source_reference: row.try_get("source_reference")?,
        source_format: row.try_get("source_format")?,
        parent_id: row.try_get("parent_id")?,
        source_model: row.try_get("source_model")?,
        target: word(row, "target")?,
        os_distribution: row.try_get("os_distribution")?,
        os_version: row.try_get("os_version")?,
        architecture: row.try_get("architecture")?,
        boot_modes: document(row, "boot_modes")?.unwrap_or_default(),
        min_disk_bytes: bytes(row, "min_disk_bytes")?,
        min_memory_bytes: bytes(row, "min_memory_bytes")?,
        image_digest: String::new(),
        disk_size_bytes: bytes(row, "disk_size_bytes")?,
        data_bytes: bytes(row, "data_bytes")?,
        stored_bytes: bytes(row, "stored_bytes")?,
        logical_sector_bytes: 0,
        encrypted: row.try_get("encrypted")?,
        damaged: false,
        license: document(row, "license")?,
        price: document(row, "price")?,
        publisher: row.try_get("publisher")?,
        certified_for: document(row, "certified_for")?.unwrap_or_default(),
        tags: Vec::new(),
        properties: document(row, "properties")?.unwrap_or_default(),
        disks: Vec::new(),
        transitions: Vec::new(),
        expires_at: None,
        row_version: row.try_get("row_version")?,
        created_at: timestamp_from_ms(row.try_get("created_at")?),
        updated_at: timestamp_from_ms(row.try_get("updated_at")?),
    })
}

fn disk(row: &SqliteRow) -> Result<ImageDisk, sqlx::Error> {
    Ok(ImageDisk {
        role: row.try_get("role")?,
        manifest: row.try_get("manifest")?,
        image_digest: row.try_get("image_digest")?,
        disk_size_bytes: bytes(row, "disk_size_bytes")?,
        data_bytes: bytes(row, "data_bytes")?,
        stored_bytes: bytes(row, "stored_bytes")?,
        logical_sector_bytes: row.try_get("logical_sector_bytes")?,
        encrypted: row.try_get::<Option<Vec<u8>>, _>("wrapped_key")?.is_some(),
        manifest_digest: row.try_get("manifest_digest")?,
    })
}

pub(super) fn transition(row: &SqliteRow) -> Result<Transition, sqlx::Error> {
    Ok(Transition {
        to_state: word(row, "to_state")?,
        at: timestamp_from_ms(row.try_get("at")?),
        replacement: row.try_get("replacement")?,
        reason: row.try_get("reason")?,
        planned_by: row.try_get("planned_by")?,
    })
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

fn word<T>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<String, _>(column)?.parse().map_err(decode)
}

fn document<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(decode)
}

fn bytes(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column)
        .map(|n| u64::try_from(n).unwrap_or(0))
}
