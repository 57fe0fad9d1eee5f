//! Digests of files, kept once they are known: the same manifest gives the same file.

use std::{io, sync::Arc};

use imprint_image::export::{EXPORT_REVISION, ExportOptions, ExportPlan, Exported};
use serde::Serialize;
use sqlx::Row;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{ExportFault, Exports, Inner, OpenedDisk, StoreFrames, hold::Hold};

/// What a file is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileSum {
    /// The format.
    #[schema(example = "qcow2")]
    pub format: String,
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// The ETag of its content.
    pub etag: String,
}

impl Exports {
    /// The digest of a file, if it has been written before.
    pub async fn known_sum(&self, disk: &OpenedDisk) -> Result<Option<FileSum>, ExportFault> {
        let row = sqlx::query(
            "SELECT file_bytes, sha256 FROM export_sums WHERE manifest = ? AND format = ? AND revision = ?",
        )
        .bind(&disk.manifest_key)
        .bind(disk.format.name())
        .bind(EXPORT_REVISION)
        .fetch_optional(&self.0.db)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(FileSum {
            format: disk.format.name().to_owned(),
            file_bytes: u64::try_from(row.try_get::<i64, _>("file_bytes")?).unwrap_or(0),
            sha256: row.try_get("sha256")?,
            etag: disk.etag(),
        }))
    }

    /// The digest of a file. One that was never written is written now, to nowhere.
    pub async fn sum(&self, disk: &OpenedDisk) -> Result<FileSum, ExportFault> {
        if let Some(known) = self.known_sum(disk).await? {
            return Ok(known);
        }
        let _slot = self.slot()?;
        let hold = Hold::of(&self.0.catalog, &Ulid::generate().to_string(), disk).await?;
        let (frames, manifest, format) = (
            StoreFrames::new(self.0.store.clone()),
            disk.manifest.clone(),
            disk.format,
        );
        let done = tokio::task::spawn_blocking(move || {
            ExportPlan::new(&manifest, format)?.write(&frames, &mut io::sink(), &ExportOptions::default())
        })
        .await
        .map_err(ExportFault::Task)?
        .map_err(ExportFault::of)?;
        hold.end().await;
        self.0.keep_sum(disk, &done).await
    }

    /// A slot for a stream, or the refusal.
    pub(super) fn slot(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ExportFault> {
        Arc::clone(&self.0.slots)
            .try_acquire_owned()
            .map_err(|_| ExportFault::Busy)
    }
}

impl Inner {
    /// Keeps the digest of a file that was written from its first byte to its last.
    pub(super) async fn keep_sum(&self, disk: &OpenedDisk, done: &Exported) -> Result<FileSum, ExportFault> {
        let sum = FileSum {
            format: disk.format.name().to_owned(),
            file_bytes: done.file_bytes,
            sha256: done
                .sha256
                .expect("it was written from its first byte")
                .to_string(),
            etag: disk.etag(),
        };
        sqlx::query(
            "INSERT INTO export_sums (manifest, format, revision, file_bytes, sha256, created_at)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&disk.manifest_key)
        .bind(disk.format.name())
        .bind(EXPORT_REVISION)
        .bind(i64::try_from(sum.file_bytes).unwrap_or(i64::MAX))
        .bind(&sum.sha256)
        .bind(self.clock.now_ms())
        .execute(&self.db)
        .await?;
        Ok(sum)
    }
}
