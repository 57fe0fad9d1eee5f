//! The rows of uploads, and what becomes of their files.

use std::{fs, io};

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use ulid::Ulid;

use super::{Inner, Upload, UploadError, UploadRequest, Uploads};
use crate::{
    catalog::ImageSpec,
    clock::timestamp_from_ms,
    identity::{Caller, Viewer},
};

/// Uploads of one project that are not complete.
const MAX_UPLOADS: i64 = 32;

/// An upload that is to begin.
#[derive(Debug)]
pub struct NewUpload<'a> {
    /// What the image is to be.
    pub request: UploadRequest,
    /// Length of the file, if it is known.
    pub length: Option<u64>,
    /// Who uploads.
    pub by: &'a Caller,
}

impl Uploads {
    /// Begins an upload.
    pub async fn create(&self, new: NewUpload<'_>) -> Result<Upload, UploadError> {
        let inner = &self.0;
        let NewUpload { request, length, by } = new;
        ImageSpec::check(&request.spec)?;
        request.file.check(request.spec.kind).map_err(Box::new)?;
        let limit = inner.limits.max_file_bytes;
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(UploadError::TooLarge { length, limit });
        }
        inner.store.require_space(length.unwrap_or(0))?;
        let id = Ulid::generate().to_string();
        // The file first: a row without a file would say that bytes are there which are not.
        let path = inner.path(&id);
        tokio::task::spawn_blocking(move || fs::File::create_new(path))
            .await
            .map_err(|error| UploadError::Spool(io::Error::other(error)))?
            .map_err(UploadError::Spool)?;
        let mut tx = inner.db.begin_with("BEGIN IMMEDIATE").await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM uploads WHERE project_id = ?")
            .bind(&by.project_id)
            .fetch_one(&mut *tx)
            .await?;
        if count >= MAX_UPLOADS {
            inner.remove_file(&id);
            return Err(UploadError::TooMany { count });
        }
        let row = sqlx::query(
            "INSERT INTO uploads (id, project_id, length_bytes, request, requested_by, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
        )
        .bind(&id)
        .bind(&by.project_id)
        .bind(length.map(|length| i64::try_from(length).unwrap_or(i64::MAX)))
        .bind(json!(request).to_string())
        .bind(&by.name)
        .bind(inner.clock.now_ms())
        .bind(inner.expiry())
        .fetch_one(&mut *tx)
        .await?;
        let upload = inner.upload(&row)?;
        tx.commit().await?;
        Ok(upload)
    }

    /// One upload. What the viewer may not see is not there.
    pub async fn get(&self, viewer: &Viewer, id: &str) -> Result<Upload, UploadError> {
        let project = match viewer {
            Viewer::All => None,
            Viewer::Project(project) => Some(project.as_str()),
        };
        let row = sqlx::query("SELECT * FROM uploads WHERE id = ?1 AND (?2 IS NULL OR project_id = ?2)")
            .bind(id)
            .bind(project)
            .fetch_optional(&self.0.db)
            .await?;
        match row {
            Some(row) => self.0.upload(&row),
            None => Err(UploadError::NotFound { id: id.to_owned() }),
        }
    }

    /// All uploads that the viewer may see; there are never many.
    pub async fn list(&self, viewer: &Viewer) -> Result<Vec<Upload>, UploadError> {
        let project = match viewer {
            Viewer::All => None,
            Viewer::Project(project) => Some(project.as_str()),
        };
        let rows =
            sqlx::query("SELECT * FROM uploads WHERE ?1 IS NULL OR project_id = ?1 ORDER BY id LIMIT 1000")
                .bind(project)
                .fetch_all(&self.0.db)
                .await?;
        rows.iter().map(|row| self.0.upload(row)).collect()
    }

    /// Removes an upload, whoever writes to it.
    pub async fn delete(&self, viewer: &Viewer, id: &str) -> Result<(), UploadError> {
        let upload = self.get(viewer, id).await?;
        let _turn = self.take_over(&upload.id).await;
        self.remove(&upload.id).await
    }

    /// Removes the row, then the file.
    pub(in crate::ingest) async fn remove(&self, id: &str) -> Result<(), UploadError> {
        sqlx::query("DELETE FROM uploads WHERE id = ?")
            .bind(id)
            .execute(&self.0.db)
            .await?;
        self.0.remove_file(id);
        self.forget_writer(id);
        Ok(())
    }

    /// Removes what has expired, and files that belong to no upload. Those that are imported are left alone: a job that
    /// has taken one has pushed its end away.
    pub async fn sweep(&self) -> Result<(), UploadError> {
        let inner = &self.0;
        let expired: Vec<String> = sqlx::query_scalar("SELECT id FROM uploads WHERE expires_at < ?")
            .bind(inner.clock.now_ms())
            .fetch_all(&inner.db)
            .await?;
        for id in &expired {
            tracing::info!(upload.id = id, "an upload that nobody went on with is removed");
            let _turn = self.take_over(id).await;
            self.remove(id).await?;
        }
        Ok(())
    }

    /// Removes files that belong to no upload. Called before anything is served.
    pub(in crate::ingest) async fn recover(&self) -> Result<(), UploadError> {
        let inner = &self.0;
        let entries = fs::read_dir(&inner.folder).map_err(UploadError::Spool)?;
        for entry in entries {
            let name = entry.map_err(UploadError::Spool)?.file_name();
            let name = name.to_string_lossy();
            let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?)")
                .bind(&*name)
                .fetch_one(&inner.db)
                .await?;
            if !known {
                inner.remove_file(&name);
            }
        }
        self.sweep().await
    }

    /// Pushes the end away.
    pub(super) async fn touch(&self, id: &str) -> Result<(), UploadError> {
        sqlx::query("UPDATE uploads SET expires_at = ? WHERE id = ?")
            .bind(self.0.expiry())
            .bind(id)
            .execute(&self.0.db)
            .await?;
        Ok(())
    }
}

impl Inner {
    fn upload(&self, row: &SqliteRow) -> Result<Upload, UploadError> {
        let id: String = row.try_get("id")?;
        let length: Option<i64> = row.try_get("length_bytes")?;
        let request: String = row.try_get("request")?;
        let request = serde_json::from_str(&request).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let file = fs::metadata(self.path(&id)).map_err(UploadError::Spool)?;
        Ok(Upload {
            offset: file.len(),
            project_id: row.try_get("project_id")?,
            length: length.and_then(|length| u64::try_from(length).ok()),
            request,
            requested_by: row.try_get("requested_by")?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
            expires_at: timestamp_from_ms(row.try_get("expires_at")?),
            id,
        })
    }

    fn remove_file(&self, id: &str) {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(upload.id = id, %error, "the file of an upload stays until the next start");
            }
            _ => {}
        }
    }
}
