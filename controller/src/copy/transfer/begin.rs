//! A transfer is announced, or taken up again.

use imprint_image::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{Inner, Record, Transfers, record};
use crate::{
    catalog::{CatalogError, ImageSpec, QuotaReservation, Visibility},
    config::RegionConfig,
    copy::CopyFault,
    identity::{Caller, Viewer},
};

const MAX_DISKS: usize = 64;
const MAX_WORD_BYTES: usize = 128;

/// What another region sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginTransfer {
    /// What the image is to be.
    pub image: ImageSpec,
    /// Name of the sender's region. Its keys must be known here.
    pub source_region: String,
    /// Id of the image there.
    pub source_image: String,
    /// What was imported there: "raw", "qcow2", …
    pub source_format: String,
    /// Its disks; a system disk comes first.
    pub disks: Vec<TransferDisk>,
}

/// A disk that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferDisk {
    /// Its role in the image.
    pub role: String,
    /// BLAKE3 over its plain content, hex.
    pub image_digest: String,
}

/// A transfer that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    /// ULID.
    pub id: String,
    /// The project that the image will belong to.
    pub project_id: String,
    /// What was announced.
    pub request: BeginTransfer,
    /// Positions of the disks whose manifests have come.
    pub manifests: Vec<i64>,
}

impl Transfers {
    /// Begins a transfer. The same image under the same name is taken up where it broke off.
    pub async fn begin(&self, caller: &Caller, request: &BeginTransfer) -> Result<Transfer, CopyFault> {
        check(request)?;
        self.trusted(&request.source_region)?;
        self.sweep_old().await?;
        self.require_free_name(caller, &request.image.name).await?;
        let rows = sqlx::query("SELECT * FROM transfers WHERE project_id = ? AND source_image = ?")
            .bind(&caller.project_id)
            .bind(&request.source_image)
            .fetch_all(&self.0.db)
            .await?;
        for row in &rows {
            let known = record(row)?;
            if known.request == *request {
                self.0.touch(&known.id).await?;
                return self.told(known).await;
            }
        }
        let id = Ulid::generate().to_string();
        self.0
            .reserve(&id, &caller.project_id, &caller.name, request, 0)
            .await?;
        let inserted = self.insert(&id, caller, request).await;
        if inserted.is_err() {
            self.0.catalog.unreserve(&id).await?;
        }
        self.told(inserted?).await
    }

    async fn insert(&self, id: &str, caller: &Caller, request: &BeginTransfer) -> Result<Record, CopyFault> {
        let now = self.0.clock.now_ms();
        let row = sqlx::query(
            "INSERT INTO transfers (id, project_id, created_by, source_region, source_image, request, created_at, touched_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        )
        .bind(id)
        .bind(&caller.project_id)
        .bind(&caller.name)
        .bind(&request.source_region)
        .bind(&request.source_image)
        .bind(json!(request).to_string())
        .bind(now)
        .bind(now)
        .fetch_one(&self.0.db)
        .await?;
        Ok(record(&row)?)
    }

    /// A transfer of the viewer's.
    pub async fn get(&self, viewer: &Viewer, id: &str) -> Result<Transfer, CopyFault> {
        let record = self.0.find(viewer, id).await?;
        self.told(record).await
    }

    async fn told(&self, record: Record) -> Result<Transfer, CopyFault> {
        let manifests =
            sqlx::query_scalar("SELECT position FROM transfer_disks WHERE transfer_id = ? ORDER BY position")
                .bind(&record.id)
                .fetch_all(&self.0.db)
                .await?;
        Ok(Transfer {
            id: record.id,
            project_id: record.project_id,
            request: record.request,
            manifests,
        })
    }

    /// The region that images of this name come from, if its keys are known.
    pub(super) fn trusted(&self, region: &str) -> Result<&RegionConfig, CopyFault> {
        let known = self
            .0
            .regions
            .iter()
            .find(|known| known.name == region && !known.keys.is_empty());
        known.ok_or_else(|| CopyFault::Untrusted {
            region: region.to_owned(),
        })
    }

    /// Before anything is sent for nothing. It is looked at again in the end.
    async fn require_free_name(&self, caller: &Caller, name: &str) -> Result<(), CopyFault> {
        let taken: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM images WHERE project_id = ? AND name = ? AND state <> 'deleted')",
        )
        .bind(&caller.project_id)
        .bind(name)
        .fetch_one(&self.0.db)
        .await?;
        if taken {
            let name = name.to_owned();
            return Err(CatalogError::NameTaken { name }.into());
        }
        Ok(())
    }
}

impl Inner {
    /// Takes a part of the project's quota, or changes it. What everybody is to see counts for nobody.
    pub(super) async fn reserve(
        &self,
        id: &str,
        project_id: &str,
        created_by: &str,
        request: &BeginTransfer,
        bytes: u64,
    ) -> Result<(), CopyFault> {
        if matches!(
            request.image.visibility,
            Some(Visibility::Public | Visibility::Community)
        ) {
            return Ok(());
        }
        let reservation = QuotaReservation {
            holder: id.to_owned(),
            project_id: project_id.to_owned(),
            created_by: created_by.to_owned(),
            images: 1,
            bytes,
        };
        Ok(self.catalog.reserve(&reservation).await?)
    }
}

fn check(request: &BeginTransfer) -> Result<(), CopyFault> {
    request.image.check()?;
    let wrong = |why| Err(CopyFault::Request { why });
    if request
        .image
        .visibility
        .is_some_and(|seen| seen != Visibility::Private)
    {
        return wrong("what is copied is private; publish it then");
    }
    if request.disks.is_empty() || request.disks.len() > MAX_DISKS {
        return wrong("it has no disk, or more than 64");
    }
    let words = [
        &request.source_region,
        &request.source_image,
        &request.source_format,
    ];
    let roles = request.disks.iter().map(|disk| &disk.role);
    if words
        .into_iter()
        .chain(roles)
        .any(|word| word.is_empty() || word.len() > MAX_WORD_BYTES)
    {
        return wrong("one of its words is empty or longer than 128 bytes");
    }
    if request
        .disks
        .iter()
        .any(|disk| disk.image_digest.parse::<Digest>().is_err())
    {
        return wrong("the image_digest of a disk is no digest");
    }
    Ok(())
}
