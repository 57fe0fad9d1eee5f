//! What the catalogue knows of an image that somebody is about to use: by what right, whether it was offered to him and
//! not accepted, whether it is paid for.

use sqlx::Row;

use super::{Catalog, Image, Source, Visibility, entitlements, parties::offered, terms::TermsError};

/// By what right a project uses an image that it sees.
#[must_use]
pub(crate) fn right(image: &Image, project_id: &str) -> &'static str {
    if image.project_id == project_id {
        return match image.source {
            Source::Copy => "it is the project's own, a copy of another image",
            Source::Capture => "it is the project's own, made of a server",
            Source::BackupVault => "it is the project's own, made of a backup",
            Source::Compose => "it is the project's own, made of several images",
            Source::Upload | Source::Url | Source::S3 | Source::Oci => "it is the project's own, imported",
        };
    }
    match image.visibility {
        Visibility::Private => "the caller sees all images",
        Visibility::Shared => "it is shared with the project, which has accepted it",
        Visibility::Public => "it is public",
        Visibility::Community => "it is published for the community",
        Visibility::Marketplace => "it is published in the marketplace",
    }
}

impl Catalog {
    /// Why a project may not use an image as far as money goes, if it may not.
    pub(crate) async fn unpaid(
        &self,
        image: &Image,
        project_id: &str,
    ) -> Result<Option<TermsError>, TermsError> {
        let mut connection = self.db.acquire().await?;
        match entitlements::check(&mut connection, image, project_id).await {
            Ok(()) => Ok(None),
            Err(error @ TermsError::NeedsEntitlement { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Of an image that a project does not see: that it was offered to it and not accepted, if that is so.
    pub(crate) async fn not_accepted(
        &self,
        project_id: &str,
        wanted: &str,
    ) -> Result<Option<TermsError>, TermsError> {
        let mut connection = self.db.acquire().await?;
        let ids = offered(&mut connection, project_id, wanted).await?;
        let [id] = ids.as_slice() else { return Ok(None) };
        let row = sqlx::query(
            "SELECT i.name, m.state, p.name AS project FROM image_members AS m JOIN images AS i ON i.id = m.image_id
                 JOIN projects AS p ON p.id = m.project_id WHERE m.image_id = ? AND m.project_id = ?",
        )
        .bind(id)
        .bind(project_id)
        .fetch_one(&mut *connection)
        .await?;
        let state: String = row.try_get("state")?;
        if state == "accepted" {
            return Ok(None);
        }
        Ok(Some(TermsError::NotAccepted {
            id: id.clone(),
            name: row.try_get("name")?,
            project: row.try_get("project")?,
            rejected: state == "rejected",
        }))
    }
}
