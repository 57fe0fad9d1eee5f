//! Images that have to be paid for: who may use them, and what that is checked by.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{
    Catalog, Image, Price, find,
    parties::{known, owned, party},
    terms::TermsError,
    transitions::tell_with,
    usage,
};
use crate::{
    clock::timestamp_from_ms,
    identity::{Caller, Viewer},
};

/// A project that may use a paid image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Entitlement {
    /// The image.
    pub image_id: String,
    /// The project.
    pub project_id: String,
    /// Its name.
    pub project: String,
    /// Who gave it.
    pub granted_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Price {
    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.amount.bytes().all(|byte| matches!(byte, b'0' | b'.'))
    }

    /// "0.05 EUR per hour"
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} {} per {}", self.amount, self.currency, self.per)
    }
}

/// What a deployment of the image costs a project; nothing for its owner.
#[must_use]
pub(super) fn price_for<'a>(image: &'a Image, project_id: &str) -> Option<&'a Price> {
    image
        .price
        .as_ref()
        .filter(|price| !price.is_free() && image.project_id != project_id)
}

/// Whether a project may use an image as far as money goes.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    image: &Image,
    project_id: &str,
) -> Result<(), TermsError> {
    let Some(price) = price_for(image, project_id) else {
        return Ok(());
    };
    let entitled: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM image_entitlements WHERE image_id = ? AND project_id = ?)",
    )
    .bind(&image.id)
    .bind(project_id)
    .fetch_one(&mut *connection)
    .await?;
    if entitled {
        return Ok(());
    }
    let project: Option<String> = sqlx::query_scalar("SELECT name FROM projects WHERE id = ?")
        .bind(project_id)
        .fetch_optional(connection)
        .await?;
    Err(TermsError::NeedsEntitlement {
        name: image.name.clone(),
        price: price.text(),
        project: project.unwrap_or_else(|| project_id.to_owned()),
    })
}

impl Catalog {
    /// Lets projects use a paid image.
    pub async fn entitle(&self, by: &Caller, image: &str, project: &str) -> Result<Entitlement, TermsError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, image).await?;
        let party = party(change.connection(), by, project).await?;
        let has = entitlements_of(change.connection(), &image.id).await?;
        if let Some(known) = has.into_iter().find(|known| known.project_id == party.id) {
            return Ok(known);
        }
        let now = self.clock.now_ms();
        sqlx::query("INSERT INTO image_entitlements (image_id, project_id, granted_by, created_at) VALUES (?, ?, ?, ?)")
            .bind(&image.id)
            .bind(&party.id)
            .bind(&by.name)
            .bind(now)
            .execute(change.connection())
            .await?;
        let message = format!("The project {} may use image {}.", party.name, image.name);
        let details = json!({ "entitled": party.id });
        tell_with(&mut change, "image.entitled", &by.name, &image, message, details).await?;
        change.commit().await?;
        Ok(Entitlement {
            image_id: image.id,
            project_id: party.id,
            project: party.name,
            granted_by: by.name.clone(),
            created_at: timestamp_from_ms(now),
        })
    }

    /// Takes an entitlement back. Deployments that run go on.
    pub async fn disentitle(
        &self,
        by: &Caller,
        image: &str,
        project: &str,
    ) -> Result<Entitlement, TermsError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, image).await?;
        let party = party(change.connection(), by, project).await?;
        let has = entitlements_of(change.connection(), &image.id).await?;
        let Some(known) = has.into_iter().find(|known| known.project_id == party.id) else {
            return Err(TermsError::NoEntitlement {
                name: image.name,
                project: party.name,
            });
        };
        sqlx::query("DELETE FROM image_entitlements WHERE image_id = ? AND project_id = ?")
            .bind(&image.id)
            .bind(&party.id)
            .execute(change.connection())
            .await?;
        let message = format!(
            "The project {} may no longer use image {}.",
            party.name, image.name
        );
        let details = json!({ "entitled": party.id });
        tell_with(
            &mut change,
            "image.disentitled",
            &by.name,
            &image,
            message,
            details,
        )
        .await?;
        change.commit().await?;
        Ok(known)
    }

    /// Who may use a paid image: all for its owner, and for others what concerns them.
    pub async fn entitlements(&self, by: &Caller, image: &str) -> Result<Vec<Entitlement>, TermsError> {
        let mut connection = self.db.acquire().await?;
        let image = known(&mut connection, by, image).await?;
        let mut has = entitlements_of(&mut connection, &image.id).await?;
        if !by.viewer().sees(&image.project_id) {
            has.retain(|entitlement| entitlement.project_id == by.project_id);
        }
        Ok(has)
    }

    /// Whether a project may deploy the image now, looked at once more in the transaction that begins the deployment: it
    /// is still its own, published or shared with it, and paid for. Notes what it will cost.
    pub(crate) async fn admit(
        &self,
        connection: &mut SqliteConnection,
        viewer: &Viewer,
        image: &Image,
        project_id: &str,
        deployment_id: &str,
    ) -> Result<(), TermsError> {
        let image = find::find_in(connection, viewer, &image.id).await?;
        check(connection, &image, project_id).await?;
        usage::note_price(connection, deployment_id, price_for(&image, project_id)).await?;
        Ok(())
    }
}

async fn entitlements_of(
    connection: &mut SqliteConnection,
    image_id: &str,
) -> Result<Vec<Entitlement>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT e.*, p.name AS project FROM image_entitlements AS e JOIN projects AS p ON p.id = e.project_id
             WHERE e.image_id = ? ORDER BY p.name",
    )
    .bind(image_id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(entitlement).collect()
}

fn entitlement(row: &SqliteRow) -> Result<Entitlement, sqlx::Error> {
    Ok(Entitlement {
        image_id: row.try_get("image_id")?,
        project_id: row.try_get("project_id")?,
        project: row.try_get("project")?,
        granted_by: row.try_get("granted_by")?,
        created_at: timestamp_from_ms(row.try_get("created_at")?),
    })
}
