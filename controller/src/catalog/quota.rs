//! How much a project may keep: private images of each user, and bytes in the store. What running imports and copies will
//! take is reserved before a byte of it comes, in one transaction with the check: two imports never share what is left.
//!
//! Public images, and those of the community and the marketplace, count for nobody.

use serde::Serialize;
use serde_json::json;
use sqlx::{FromRow, SqliteConnection};
use utoipa::ToSchema;

use super::{Catalog, CatalogError, insert::whole};
use crate::{config::QuotaConfig, identity::Caller};

/// Users that are listed at most.
const MAX_USERS: i64 = 1000;

/// A part of a project's quota that something will take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaReservation {
    /// Id of the image that is being made, or of the transfer that it comes by.
    pub holder: String,
    /// Whose quota.
    pub project_id: String,
    /// Of which user.
    pub created_by: String,
    /// How many images.
    pub images: u32,
    /// How many bytes in the store.
    pub bytes: u64,
}

/// More than a quota allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{whose} may have {limit} {of}, and has {used}; {reserved} more are reserved by running imports and copies, and {asked} were asked for"
)]
pub struct QuotaExceeded {
    /// The user or the project, as a sentence begins.
    pub whose: String,
    /// "private images", "bytes in the store".
    pub of: &'static str,
    /// What is there.
    pub used: u64,
    /// What others will take.
    pub reserved: u64,
    /// What was asked for.
    pub asked: u64,
    /// What is allowed.
    pub limit: u64,
}

impl QuotaExceeded {
    /// What can be done about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "Delete what is not needed (`imprint image list --owner own`), wait for imports that run, or ask an administrator \
             for more: `imprint quota set PROJECT {}`. `imprint quota show` tells what counts.",
            if self.of == IMAGES {
                "--images N"
            } else {
                "--bytes SIZE"
            }
        )
    }
}

const IMAGES: &str = "private images";
const BYTES: &str = "bytes in the store";

/// What is used of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuotaUse {
    /// What is there.
    pub used: u64,
    /// What running imports and copies will take.
    pub reserved: u64,
    /// What is allowed; null: as much as there is.
    pub limit: Option<u64>,
}

/// A user's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserQuota {
    /// Name of the user, or of a token of nobody.
    pub user: String,
    /// Private images.
    pub images: QuotaUse,
}

/// What a project may keep, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quota {
    /// The project.
    pub project_id: String,
    /// Private images that each user may have.
    pub max_images_per_user: u64,
    /// Whether that is the project's own number, and not that of the configuration.
    pub images_set: bool,
    /// Bytes in the store of private images.
    pub stored_bytes: QuotaUse,
    /// Whether the limit of bytes is the project's own, and not that of the configuration.
    pub bytes_set: bool,
    /// The caller, and everybody who has private images or imports some.
    pub users: Vec<UserQuota>,
}

/// The limits of a project.
struct Limits {
    images: u64,
    images_set: bool,
    bytes: Option<u64>,
    bytes_set: bool,
}

impl Limits {
    async fn of(
        connection: &mut SqliteConnection,
        config: &QuotaConfig,
        project_id: &str,
    ) -> Result<Self, sqlx::Error> {
        let row: Option<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT max_images_per_user, max_stored_bytes FROM projects WHERE id = ?")
                .bind(project_id)
                .fetch_optional(connection)
                .await?;
        let (images, bytes) = row.unwrap_or_default();
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        Ok(Self {
            images: number(images).unwrap_or(config.images_per_user),
            images_set: images.is_some(),
            bytes: number(bytes).or(config.stored_bytes_per_project),
            bytes_set: bytes.is_some(),
        })
    }
}

/// What is there and what will come, without what one holder has reserved.
#[derive(Debug, Clone, Copy, FromRow)]
struct Taken {
    used: i64,
    reserved: i64,
}

impl Taken {
    fn used(self) -> u64 {
        u64::try_from(self.used).unwrap_or(0)
    }

    fn reserved(self) -> u64 {
        u64::try_from(self.reserved).unwrap_or(0)
    }

    /// Private images of a user. An image that is being made counts by its reservation, or by its row when it has none.
    async fn images(
        connection: &mut SqliteConnection,
        project_id: &str,
        created_by: &str,
        but: &str,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "SELECT (SELECT count(*) FROM images AS i WHERE i.project_id = ?1 AND i.created_by = ?2
                     AND i.visibility IN ('private', 'shared') AND i.state NOT IN ('deleted', 'failed') AND i.id <> ?3
                     AND NOT EXISTS (SELECT 1 FROM quota_reservations AS r WHERE r.holder = i.id)) AS used,
                 (SELECT coalesce(sum(r.images), 0) FROM quota_reservations AS r LEFT JOIN images AS i ON i.id = r.holder
                     WHERE r.project_id = ?1 AND r.created_by = ?2 AND r.holder <> ?3
                     AND coalesce(i.visibility, 'private') IN ('private', 'shared')) AS reserved",
        )
        .bind(project_id)
        .bind(created_by)
        .bind(but)
        .fetch_one(connection)
        .await
    }

    /// Bytes of the private images of a project; a disk that several of them have counts once.
    async fn bytes(
        connection: &mut SqliteConnection,
        project_id: &str,
        but: &str,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "SELECT (SELECT coalesce(sum(m.stored_bytes), 0) FROM manifests AS m WHERE m.manifest IN
                     (SELECT d.manifest FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                         WHERE i.project_id = ?1 AND i.visibility IN ('private', 'shared')
                         AND i.state NOT IN ('deleted', 'failed') AND i.id <> ?2
                         AND NOT EXISTS (SELECT 1 FROM quota_reservations AS r WHERE r.holder = i.id))) AS used,
                 (SELECT coalesce(sum(r.bytes), 0) FROM quota_reservations AS r LEFT JOIN images AS i ON i.id = r.holder
                     WHERE r.project_id = ?1 AND r.holder <> ?2
                     AND coalesce(i.visibility, 'private') IN ('private', 'shared')) AS reserved",
        )
        .bind(project_id)
        .bind(but)
        .fetch_one(connection)
        .await
    }
}

impl Catalog {
    /// Reserves a part of a quota, or changes what the same holder has reserved. Refused when less is left.
    pub async fn reserve(&self, reservation: &QuotaReservation) -> Result<(), CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        self.reserve_in(&mut tx, reservation).await?;
        tx.commit().await?;
        Ok(())
    }

    /// As [`Catalog::reserve`], in a transaction that does more.
    pub async fn reserve_in(
        &self,
        connection: &mut SqliteConnection,
        reservation: &QuotaReservation,
    ) -> Result<(), CatalogError> {
        let (images, bytes) = (u64::from(reservation.images), reservation.bytes);
        self.check_quota(
            connection,
            &reservation.project_id,
            &reservation.created_by,
            &reservation.holder,
            images,
            bytes,
        )
        .await?;
        sqlx::query(
            "INSERT INTO quota_reservations (holder, project_id, created_by, images, bytes, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (holder) DO UPDATE SET images = ?4, bytes = ?5",
        )
        .bind(&reservation.holder)
        .bind(&reservation.project_id)
        .bind(&reservation.created_by)
        .bind(reservation.images)
        .bind(whole(bytes))
        .bind(self.clock.now_ms())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Refuses what would be more than allowed, beside what others have and reserve. `holder` is the image that it is
    /// for: it does not count twice, and not at all when it is made for everybody.
    pub(super) async fn check_quota(
        &self,
        connection: &mut SqliteConnection,
        project_id: &str,
        created_by: &str,
        holder: &str,
        images: u64,
        bytes: u64,
    ) -> Result<(), CatalogError> {
        let visibility: Option<String> = sqlx::query_scalar("SELECT visibility FROM images WHERE id = ?")
            .bind(holder)
            .fetch_optional(&mut *connection)
            .await?;
        if !matches!(visibility.as_deref(), None | Some("private" | "shared")) {
            return Ok(());
        }
        let limits = Limits::of(connection, &self.quota, project_id).await?;
        if images > 0 {
            let taken = Taken::images(connection, project_id, created_by, holder).await?;
            let whose = format!("the user {created_by}");
            within(whose, IMAGES, taken, images, limits.images)?;
        }
        if let Some(limit) = limits.bytes
            && bytes > 0
        {
            let taken = Taken::bytes(connection, project_id, holder).await?;
            within("the project".to_owned(), BYTES, taken, bytes, limit)?;
        }
        Ok(())
    }

    /// What images over these manifests will count in a project, beside what it has already.
    pub(crate) async fn bytes_new_to(
        &self,
        project_id: &str,
        manifests: &[&str],
    ) -> Result<u64, CatalogError> {
        let mut connection = self.db.acquire().await?;
        bytes_new_to(&mut connection, project_id, "", manifests).await
    }

    /// Gives back what a holder has reserved.
    pub async fn unreserve(&self, holder: &str) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM quota_reservations WHERE holder = ?")
            .bind(holder)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Gives back what ended with the controller. Called before anything is served. Transfers from other regions go on,
    /// and so does what they have reserved.
    pub async fn unreserve_all(&self) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM quota_reservations WHERE holder NOT IN (SELECT id FROM transfers)")
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// What a project may keep, and what it does. The caller is always among the users when it is its project.
    pub async fn quota(&self, by: &Caller, project_id: &str) -> Result<Quota, CatalogError> {
        let mut tx = self.db.begin().await?;
        let limits = Limits::of(&mut tx, &self.quota, project_id).await?;
        let mut names: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT created_by FROM images WHERE project_id = ?1 AND visibility IN ('private', 'shared')
                 AND state NOT IN ('deleted', 'failed')
             UNION SELECT created_by FROM quota_reservations WHERE project_id = ?1 ORDER BY 1 LIMIT ?2",
        )
        .bind(project_id)
        .bind(MAX_USERS)
        .fetch_all(&mut *tx)
        .await?;
        if by.project_id == project_id && !names.contains(&by.name) {
            names.push(by.name.clone());
            names.sort();
        }
        let mut users = Vec::with_capacity(names.len());
        for user in names {
            let taken = Taken::images(&mut tx, project_id, &user, "").await?;
            users.push(UserQuota {
                user,
                images: QuotaUse {
                    used: taken.used(),
                    reserved: taken.reserved(),
                    limit: Some(limits.images),
                },
            });
        }
        let taken = Taken::bytes(&mut tx, project_id, "").await?;
        tx.commit().await?;
        Ok(Quota {
            project_id: project_id.to_owned(),
            max_images_per_user: limits.images,
            images_set: limits.images_set,
            stored_bytes: QuotaUse {
                used: taken.used(),
                reserved: taken.reserved(),
                limit: limits.bytes,
            },
            bytes_set: limits.bytes_set,
            users,
        })
    }
}

/// Bytes of the disks among `manifests` that no image of the project counts already, the image `but` left out.
pub(super) async fn bytes_new_to(
    connection: &mut SqliteConnection,
    project_id: &str,
    but: &str,
    manifests: &[&str],
) -> Result<u64, CatalogError> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(m.stored_bytes), 0) FROM manifests AS m
             WHERE m.manifest IN (SELECT j.value FROM json_each(?1) AS j)
             AND NOT EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
                 WHERE d.manifest = m.manifest AND i.project_id = ?2 AND i.id <> ?3
                 AND i.visibility IN ('private', 'shared') AND i.state NOT IN ('deleted', 'failed'))",
    )
    .bind(json!(manifests).to_string())
    .bind(project_id)
    .bind(but)
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

fn within(
    whose: String,
    of: &'static str,
    taken: Taken,
    asked: u64,
    limit: u64,
) -> Result<(), QuotaExceeded> {
    let (used, reserved) = (taken.used(), taken.reserved());
    if used.saturating_add(reserved).saturating_add(asked) <= limit {
        return Ok(());
    }
    Err(QuotaExceeded {
        whose,
        of,
        used,
        reserved,
        asked,
        limit,
    })
}
