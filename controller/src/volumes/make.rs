//! Volumes that the back-end makes and deletes. What is to be done is written down before it is begun, so that a controller
//! that dies in between goes on with it.

use ulid::Ulid;

use super::{
    Backing, FromImage, Limits, VolumeError, VolumeRecord, VolumeState, Volumes,
    attach::{busy, tell},
    backend::{BackendError, VolumeBackend},
    check::check,
    claim::Claim,
    decide::Reason,
    provider::card_id,
    record::SELECT,
    source::Source,
    table::{NewRow, NewVolume, insert, load},
};
use crate::{
    api::rest::problem::chain,
    events::{Author, doing},
    identity::{Caller, PLATFORM, Viewer},
};

/// A volume to be made by the back-end.
#[derive(Debug, Clone)]
pub struct WantedVolume {
    /// Its name.
    pub name: String,
    /// Whose it is to be; `None`: the platform's.
    pub project_id: Option<String>,
    /// Its size in bytes; `None`: that of the image's disk.
    pub size_bytes: Option<u64>,
    /// What it may use.
    pub limits: Limits,
    /// What it is to begin with; `None`: it is full of zeros.
    pub from_image: Option<FromImage>,
}

/// The size that is asked for, if it holds the image, or that of the image.
fn size_of(asked_bytes: Option<u64>, source: Option<&Source>) -> Result<u64, VolumeError> {
    let invalid = |why: String| Err(VolumeError::Invalid(why));
    match (asked_bytes, source) {
        (Some(bytes), Some(source)) if bytes < source.disk.disk_size_bytes => invalid(format!(
            "image {} does not fit: its disk has {} bytes",
            source.image.name, source.disk.disk_size_bytes
        )),
        (Some(bytes), _) => Ok(bytes),
        (None, Some(source)) => Ok(source.disk.disk_size_bytes.next_multiple_of(512)),
        (None, None) => invalid("it has no size".to_owned()),
    }
}

impl From<&BackendError> for Reason {
    fn from(error: &BackendError) -> Self {
        Self {
            why: chain(error),
            remedy: error.remedy().to_owned(),
        }
    }
}

impl Volumes {
    pub(super) fn backend(&self) -> Result<&dyn VolumeBackend, VolumeError> {
        self.backend.as_deref().ok_or(VolumeError::NoBackend)
    }

    /// Has the back-end make a volume. One of zeros is available when this answers, and what fails leaves nothing. One with
    /// an image is `preparing` until it is `available`, or has an `error`.
    pub async fn make(&self, by: &Caller, wanted: &WantedVolume) -> Result<VolumeRecord, VolumeError> {
        let backend = self.backend()?;
        let project = wanted.project_id.as_deref().unwrap_or(PLATFORM);
        let source = match &wanted.from_image {
            Some(image) => Some(self.source(by, project, image).await?),
            None => None,
        };
        let id = Ulid::generate().to_string();
        let new = NewVolume {
            name: wanted.name.clone(),
            project_id: wanted.project_id.clone(),
            size_bytes: size_of(wanted.size_bytes, source.as_ref())?,
            backing: Backing::Named { name: card_id(&id) },
            limits: wanted.limits,
        };
        check(&new).map_err(VolumeError::Invalid)?;
        let claim = source.is_none().then(|| Claim::of(&self.busy, &id));
        let mut change = self.events.begin_by(by.author().in_project(project)).await?;
        let row = NewRow {
            id: &id,
            new: &new,
            state: VolumeState::Preparing,
            backend: Some(backend.kind()),
            source: source.as_ref(),
        };
        let record = insert(&mut change, by, self.clock.now_ms(), &row).await?;
        let what = match &source {
            Some(source) => format!("is being prepared from image {}", source.image.name),
            None => "is being made".to_owned(),
        };
        tell(&mut change, "volume.created", &record, &what, None).await?;
        change.commit().await?;
        if source.is_some() {
            self.bell.notify_one();
            return Ok(record);
        }
        let made = match backend.create(&card_id(&id), new.size_bytes).await {
            Ok(()) => self.made(&record).await,
            Err(error) => {
                let what = format!("was not made: {}", chain(&error));
                self.forget(&record, by.author(), &what).await?;
                Err(error.into())
            }
        };
        drop(claim);
        made
    }

    /// Deletes a volume of the back-end and its bytes.
    pub(super) async fn delete_made(
        &self,
        by: &Caller,
        record: VolumeRecord,
    ) -> Result<VolumeRecord, VolumeError> {
        self.backend()?;
        let claim = Claim::of(&self.busy, &record.id);
        let mut change = self
            .events
            .begin_by(by.author().in_project(&record.project_id))
            .await?;
        let record = load(change.connection(), &record.id).await?;
        let free = matches!(
            record.state,
            VolumeState::Available | VolumeState::Error | VolumeState::Deleting
        );
        let Some(claim) = claim.filter(|_| free && record.attachment.is_none()) else {
            return Err(busy(change.connection(), record).await?);
        };
        let state = VolumeState::Deleting;
        let marked = self
            .go(&mut change, &record, state, &Reason::at_first(state), None)
            .await?;
        change.commit().await?;
        self.remove(&marked, by.author()).await?;
        drop(claim);
        Ok(record)
    }

    /// Those that the back-end has to do something for.
    pub(super) async fn unfinished(&self) -> Result<Vec<VolumeRecord>, VolumeError> {
        let sql =
            format!("{SELECT} WHERE backend IS NOT NULL AND state IN ('preparing', 'deleting') ORDER BY id");
        let found = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.db).await;
        Ok(found.map_err(doing("look for volumes that are being made or deleted"))?)
    }

    /// Does what is left to do of a volume, for who has the claim to it.
    pub(super) async fn finish(&self, id: &str) {
        let done = match self.find(&Viewer::All, id).await {
            Ok(record) if record.state == VolumeState::Preparing => self.prepare(&record).await,
            Ok(record) if record.state == VolumeState::Deleting => {
                self.remove(&record, Author::default()).await
            }
            Ok(_) | Err(VolumeError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(volume.id = id, error = %chain(&error), "a volume is not made or deleted");
        }
    }

    /// It is there, with its image if it has one.
    pub(super) async fn made(&self, record: &VolumeRecord) -> Result<VolumeRecord, VolumeError> {
        let mut change = self.events.begin().await?;
        change.about_project(&record.project_id);
        sqlx::query(
            "UPDATE volumes SET prepared_at = ? WHERE id = ? AND version = ? AND image_id IS NOT NULL",
        )
        .bind(self.clock.now_ms())
        .bind(&record.id)
        .bind(record.version)
        .execute(change.connection())
        .await
        .map_err(doing("note since when the volume holds its image"))?;
        let reason = Reason::default();
        let next = self
            .go(&mut change, record, VolumeState::Available, &reason, None)
            .await?;
        change.commit().await?;
        Ok(next)
    }

    pub(super) async fn change_to(
        &self,
        record: &VolumeRecord,
        state: VolumeState,
        reason: &Reason,
    ) -> Result<VolumeRecord, VolumeError> {
        let mut change = self.events.begin().await?;
        change.about_project(&record.project_id);
        let next = self.go(&mut change, record, state, reason, None).await?;
        change.commit().await?;
        Ok(next)
    }

    /// Deletes what the back-end has of it, and then forgets it.
    async fn remove(&self, record: &VolumeRecord, author: Author) -> Result<(), VolumeError> {
        if let Err(error) = self.backend()?.delete(&card_id(&record.id)).await {
            self.change_to(record, VolumeState::Error, &(&error).into())
                .await?;
            return Err(error.into());
        }
        self.forget(record, author, "was deleted").await
    }

    async fn forget(&self, record: &VolumeRecord, author: Author, what: &str) -> Result<(), VolumeError> {
        let mut change = self
            .events
            .begin_by(author.in_project(&record.project_id))
            .await?;
        tell(&mut change, "volume.deleted", record, what, None).await?;
        sqlx::query("DELETE FROM volumes WHERE id = ?")
            .bind(&record.id)
            .execute(change.connection())
            .await
            .map_err(doing("delete the volume"))?;
        change.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
