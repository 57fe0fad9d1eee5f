//! What proves that disks were wiped: kept for good, whatever becomes of node and release.

use imprint_proto::agent::v1 as wire;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{Deployments, error::DeployError, intake::clip, record::Deployment};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, doing},
    identity::Viewer,
    inventory::Disk,
};

/// Certificates that one outcome may bring.
const MAX_OF_ONE: usize = 256;
/// Commands, and methods passed over, of one certificate.
const MAX_LINES: usize = 64;

/// What was done to a disk, and what shows it. docs/wipe.md says what each method proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WipeDocument {
    /// The disk as it was found.
    pub disk: Disk,
    /// `auto`, `discard`, `overwrite` or `quick`.
    pub asked: String,
    /// What was used: `nvme-sanitize-block`, `overwrite` and so on; empty: nothing was.
    pub method: String,
    /// Done to its end, both ends clear, all samples as expected. Nothing less is a wipe.
    pub wiped: bool,
    /// Better methods, and why they were not used.
    pub passed_over: Vec<String>,
    /// By the agent's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// By the agent's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Bytes that zeroes were written over.
    pub bytes_overwritten: u64,
    /// Bytes that became zero by a command which guarantees it.
    pub bytes_zeroed: u64,
    /// Blocks that were read back; null: it did not come to that.
    pub samples: Option<WipeSamples>,
    /// What the disk was told and how it answered.
    pub commands: Vec<String>,
    /// Holders that were stopped first.
    pub released: Vec<String>,
    /// What this proves, and what not.
    pub statement: String,
    /// Why it is not wiped; empty: it is.
    pub cause: String,
    /// What the operator can do; empty: nothing has to be done.
    pub remedy: String,
    /// The agent that did it.
    pub agent_version: String,
}

/// Blocks that were read back past all caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WipeSamples {
    /// 32 bytes in hex: it gives the places again.
    pub seed: String,
    /// Blocks that were planned.
    pub count: u32,
    /// Bytes in them.
    pub bytes: u64,
    /// SHA-256 in hex over offset and length of each.
    pub places_digest: String,
    /// `zeroes` or `changed`.
    pub expected: String,
    /// How many read as expected.
    pub as_expected: u32,
    /// How many held a pattern of the agent's own before.
    pub planted: u32,
    /// Where the first wrong one begins.
    pub wrong_at_bytes: Option<u64>,
}

/// The proof that a disk was wiped, or the record that it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WipeCertificate {
    /// ULID.
    pub id: String,
    /// The release.
    pub deployment_id: String,
    /// The node, which may be gone.
    pub node_id: String,
    /// What it was called.
    pub node_name: String,
    /// Whose it was.
    pub project_id: String,
    /// When the controller took it.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// What the agent says.
    #[serde(flatten)]
    pub document: WipeDocument,
}

impl sqlx::FromRow<'_, SqliteRow> for WipeCertificate {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let document: String = row.try_get("document")?;
        Ok(Self {
            id: row.try_get("id")?,
            deployment_id: row.try_get("deployment_id")?,
            node_id: row.try_get("node_id")?,
            node_name: row.try_get("node_name")?,
            project_id: row.try_get("project_id")?,
            received_at: timestamp_from_ms(row.try_get("created_at")?),
            document: serde_json::from_str(&document)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    }
}

/// A page of certificates, by id.
#[derive(Debug, Clone)]
pub struct CertificatePage {
    /// The certificates, newest first.
    pub items: Vec<WipeCertificate>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// The word of a constant of the wire: `WIPE_METHOD_NVME_FORMAT` is `nvme-format`; unspecified is empty.
fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => String::new(),
        word => word.to_lowercase().replace('_', "-"),
    }
}

fn method(method: wire::WipeMethod) -> String {
    word(method.as_str_name(), "WIPE_METHOD_")
}

fn at(at: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::new(at.seconds, at.nanos).ok()
}

fn samples(samples: &wire::WipeSamples) -> WipeSamples {
    WipeSamples {
        expected: word(samples.expected().as_str_name(), "WIPE_EXPECTATION_"),
        seed: hex::encode(samples.seed.get(..32).unwrap_or_default()),
        count: samples.count,
        bytes: samples.bytes,
        places_digest: hex::encode(samples.places_digest.get(..32).unwrap_or_default()),
        as_expected: samples.as_expected,
        planted: samples.planted,
        wrong_at_bytes: samples.wrong_at_bytes,
    }
}

fn command(command: &wire::WipeCommand) -> String {
    format!(
        "{}: {} (code {:#x}, {} ms)",
        clip(&command.name),
        clip(&command.answer),
        command.code,
        command.duration_ms
    )
}

impl From<wire::WipeCertificate> for WipeDocument {
    fn from(from: wire::WipeCertificate) -> Self {
        Self {
            asked: word(from.policy().as_str_name(), "WIPE_POLICY_"),
            method: method(from.method()),
            wiped: from.wiped,
            passed_over: (from.passed_over.iter().take(MAX_LINES))
                .map(|over| format!("{}: {}", method(over.method()), clip(&over.reason)))
                .collect(),
            started_at: at(from.started_at),
            ended_at: at(from.ended_at),
            bytes_overwritten: from.bytes_overwritten,
            bytes_zeroed: from.bytes_zeroed,
            samples: from.samples.as_ref().map(samples),
            commands: from.commands.iter().take(MAX_LINES).map(command).collect(),
            released: from.released.iter().take(MAX_LINES).map(|it| clip(it)).collect(),
            statement: clip(&from.statement),
            cause: clip(&from.cause),
            remedy: clip(&from.remedy),
            agent_version: clip(&from.agent_version),
            disk: from.disk.map(Disk::from).unwrap_or_default(),
        }
    }
}

/// Keeps what an agent proves with the outcome of a release.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    deployment: &Deployment,
    certificates: Vec<wire::WipeCertificate>,
    now: i64,
) -> Result<(), DatabaseError> {
    for certificate in certificates.into_iter().take(MAX_OF_ONE) {
        let document = WipeDocument::from(certificate);
        sqlx::query(
            "INSERT INTO wipe_certificates (id, deployment_id, node_id, node_name, project_id, disk, document, created_at) \
             SELECT ?1, ?2, ?3, COALESCE((SELECT name FROM nodes WHERE id = ?3), ''), ?4, ?5, ?6, ?7",
        )
        .bind(Ulid::generate().to_string())
        .bind(&deployment.id)
        .bind(&deployment.node_id)
        .bind(&deployment.project_id)
        .bind(imprint_hardware::disk::identity(&document.disk))
        .bind(json!(document).to_string())
        .bind(now)
        .execute(&mut *connection)
        .await
        .map_err(doing("keep the certificate of a wipe"))?;
    }
    Ok(())
}

/// Whether the certificates of a release show that all went well.
pub(super) fn all_wiped(certificates: &[wire::WipeCertificate]) -> bool {
    !certificates.is_empty() && certificates.iter().all(|one| one.wiped)
}

impl Deployments {
    /// A page of certificates that the viewer may see, newest first; those of one node or of one disk (serial number or WWN)
    /// if it is named. Nodes that are gone are named by their id or by the name that they had.
    pub async fn wipe_certificates(
        &self,
        viewer: &Viewer,
        node: Option<&str>,
        disk: Option<&str>,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<CertificatePage, DeployError> {
        let limit = match page_size {
            0 => 100,
            size => i64::from(size.min(1000)),
        };
        let given = |text: Option<&str>| {
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned)
        };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM wipe_certificates WHERE 1 = 1");
        if let Some(node) = given(node) {
            sql.push(" AND (node_id = ").push_bind(node.to_uppercase());
            sql.push(" OR node_name = ")
                .push_bind(node)
                .push(" COLLATE NOCASE)");
        }
        if let Some(disk) = given(disk) {
            sql.push(" AND instr(disk, ").push_bind(disk).push(") > 0");
        }
        if let Some(project) = viewer.project() {
            sql.push(" AND project_id = ").push_bind(project);
        }
        if let Some(token) = given(page_token) {
            let token: Ulid = token
                .parse()
                .map_err(|_| DeployError::BadPageToken(token.chars().take(40).collect()))?;
            sql.push(" AND id < ").push_bind(token.to_string());
        }
        sql.push(" ORDER BY id DESC LIMIT ").push_bind(limit + 1);
        let mut items: Vec<WipeCertificate> = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list the certificates of wipes"))?;
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = items.last().filter(|_| more).map(|last| last.id.clone());
        Ok(CertificatePage { items, next })
    }
}
