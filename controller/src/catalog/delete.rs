//! The end of an image. Its row stays for the records; what the store holds of it is collected when nobody needs it any
//! more, and a deployment that runs needs it.

use super::{
    Catalog, CatalogError, Image,
    transitions::{own, ready, tell},
    usage,
    words::{ImageKind, Visibility},
};
use crate::{events::Change, identity::Caller};

impl Catalog {
    /// Deletes an image; the answer is what it was. Deployments that run go on.
    pub async fn delete(&self, by: &Caller, image: &str) -> Result<Image, CatalogError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = own(change.connection(), by, image).await?;
        ready(&image)?;
        may_go(&image)?;
        delete_in(&mut change, self.clock.now_ms(), &by.name, &image).await?;
        change.commit().await?;
        Ok(image)
    }
}

/// Refuses an image that is protected or for sale.
pub(super) fn may_go(image: &Image) -> Result<(), CatalogError> {
    if image.protected {
        return Err(CatalogError::Protected {
            name: image.name.clone(),
        });
    }
    if image.visibility == Visibility::Marketplace {
        return Err(CatalogError::Published {
            name: image.name.clone(),
        });
    }
    Ok(())
}

/// Refuses an image that is kept for a time only.
pub(super) fn may_outlive(image: &Image) -> Result<(), CatalogError> {
    if image.kind == ImageKind::Iso {
        return Err(CatalogError::BadField {
            field: "expires_at",
            reason: "an ISO image serves a transition and always has an end; choose a later one".to_owned(),
        });
    }
    Ok(())
}

pub(super) async fn delete_in(
    change: &mut Change,
    now: i64,
    by: &str,
    image: &Image,
) -> Result<(), CatalogError> {
    sqlx::query(
        "UPDATE images SET state = 'deleted', deleted_at = ?, updated_at = ?, idempotency_key = NULL,
             row_version = row_version + 1 WHERE id = ?",
    )
    .bind(now)
    .bind(now)
    .bind(&image.id)
    .execute(change.connection())
    .await?;
    for table in [
        "DELETE FROM image_transitions WHERE image_id = ?",
        "DELETE FROM image_members WHERE image_id = ?",
    ] {
        sqlx::query(table)
            .bind(&image.id)
            .execute(change.connection())
            .await?;
    }
    usage::settle(change.connection(), now, &image.id).await?;
    let message = format!("Image {} was deleted.", image.name);
    tell(change, "image.deleted", by, image, message).await
}
