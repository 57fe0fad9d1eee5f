//! What is to be paid for: storage over time, servers that were deployed, images that have a price.
//!
//! Each image has a meter: what it takes in the store, and since when. Whenever that changes, because the image comes or
//! goes or another one comes or goes that shares packs with it, the span that ends there is written down and a new one
//! begins. A day ends a span too. So the records and the meters together leave no gap and count nothing twice.
//!
//! *Logical* bytes are those of an image as if nothing were shared. *Deduplicated* bytes are its part of what is stored
//! once: a pack's bytes are shared equally by the images that use it, the odd bytes by the first of them, so that the parts
//! of all images are exactly what lies in the store.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{FromRow, SqliteConnection};

use super::{Catalog, CatalogError, Price};

/// A day of UTC in milliseconds.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What an image takes in the store.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
struct Share {
    image_id: String,
    project_id: String,
    logical_bytes: i64,
    deduplicated_bytes: i64,
}

/// The span that has not ended.
#[derive(Debug, Clone, FromRow)]
struct Meter {
    since: i64,
    #[sqlx(flatten)]
    share: Share,
}

/// The parts of all images, or of those in `?1`. The packs of an image count whole, whoever else uses them.
const SHARES: &str = "
    WITH live AS (SELECT id, project_id, stored_bytes FROM images
            WHERE state NOT IN ('queued', 'importing', 'failed', 'deleted')),
        wanted AS (SELECT id FROM live WHERE ?1 IS NULL OR id IN (SELECT value FROM json_each(?1))),
        packs AS (SELECT DISTINCT p.pack FROM wanted JOIN image_disks AS d ON d.image_id = wanted.id
            JOIN manifest_packs AS p ON p.manifest = d.manifest),
        used AS (SELECT p.pack, d.image_id, max(p.bytes) AS bytes FROM packs
            JOIN manifest_packs AS p ON p.pack = packs.pack JOIN image_disks AS d ON d.manifest = p.manifest
            JOIN live ON live.id = d.image_id GROUP BY p.pack, d.image_id),
        parts AS (SELECT image_id, bytes / count(*) OVER (PARTITION BY pack)
                + (row_number() OVER (PARTITION BY pack ORDER BY image_id) <= bytes % count(*) OVER (PARTITION BY pack)) AS part
            FROM used)
    SELECT live.id AS image_id, live.project_id, live.stored_bytes AS logical_bytes,
        coalesce((SELECT sum(part) FROM parts WHERE parts.image_id = live.id), 0) AS deduplicated_bytes
    FROM wanted JOIN live ON live.id = wanted.id";

/// Writes down what ends because an image has come or gone, in the transaction in which that happens.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    now: i64,
    image_id: &str,
) -> Result<(), sqlx::Error> {
    let mut touched: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT other.image_id FROM image_disks AS d JOIN manifest_packs AS p ON p.manifest = d.manifest
             JOIN manifest_packs AS q ON q.pack = p.pack JOIN image_disks AS other ON other.manifest = q.manifest
             WHERE d.image_id = ?",
    )
    .bind(image_id)
    .fetch_all(&mut *connection)
    .await?;
    if !touched.iter().any(|id| id == image_id) {
        touched.push(image_id.to_owned());
    }
    settle_among(connection, now, Some(&serde_json::json!(touched).to_string())).await
}

/// Ends the spans of meters that are not right any more, and begins new ones. Among the images of a JSON array, or all.
async fn settle_among(
    connection: &mut SqliteConnection,
    now: i64,
    among: Option<&str>,
) -> Result<(), sqlx::Error> {
    let shares: Vec<Share> = sqlx::query_as(SHARES)
        .bind(among)
        .fetch_all(&mut *connection)
        .await?;
    let meters: Vec<Meter> = sqlx::query_as(
        "SELECT * FROM storage_meters WHERE ?1 IS NULL OR image_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(among)
    .fetch_all(&mut *connection)
    .await?;
    let mut shares: BTreeMap<String, Share> = shares
        .into_iter()
        .map(|share| (share.image_id.clone(), share))
        .collect();
    for meter in meters {
        let share = shares.remove(&meter.share.image_id);
        if share.as_ref() == Some(&meter.share) {
            continue;
        }
        // A clock that was put back ends nothing before it began.
        let at = now.max(meter.since);
        end_span(connection, &meter, at).await?;
        match share {
            Some(share) => begin_span(connection, &share, at).await?,
            None => {
                sqlx::query("DELETE FROM storage_meters WHERE image_id = ?")
                    .bind(&meter.share.image_id)
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    for share in shares.values() {
        begin_span(connection, share, now).await?;
    }
    Ok(())
}

async fn begin_span(connection: &mut SqliteConnection, share: &Share, at: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO storage_meters (image_id, project_id, since, logical_bytes, deduplicated_bytes)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&share.image_id)
    .bind(&share.project_id)
    .bind(at)
    .bind(share.logical_bytes)
    .bind(share.deduplicated_bytes)
    .execute(connection)
    .await
    .map(drop)
}

async fn end_span(connection: &mut SqliteConnection, meter: &Meter, at: i64) -> Result<(), sqlx::Error> {
    if at == meter.since {
        return Ok(());
    }
    let share = &meter.share;
    sqlx::query(
        "INSERT INTO usage_records (kind, project_id, image_id, begins_at, ends_at, logical_bytes, deduplicated_bytes)
         VALUES ('storage', ?, ?, ?, ?, ?, ?)",
    )
    .bind(&share.project_id)
    .bind(&share.image_id)
    .bind(meter.since)
    .bind(at)
    .bind(share.logical_bytes)
    .bind(share.deduplicated_bytes)
    .execute(connection)
    .await
    .map(drop)
}

/// Notes what a deployment will cost when it succeeds. The price is that of now, whatever the owner says later.
pub(crate) async fn note_price(
    connection: &mut SqliteConnection,
    deployment_id: &str,
    price: Option<&Price>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE deployments SET price = ? WHERE id = ?")
        .bind(price.map(|price| serde_json::json!(price).to_string()))
        .bind(deployment_id)
        .execute(connection)
        .await
        .map(drop)
}

/// Writes the records of a deployment that has succeeded: the server, and the image when it has a price. Once.
pub(crate) async fn charge(
    connection: &mut SqliteConnection,
    deployment_id: &str,
    now: i64,
) -> Result<(), sqlx::Error> {
    for (kind, price, only) in [("server", "NULL", "1"), ("image", "price", "price IS NOT NULL")] {
        let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
            "INSERT INTO usage_records (kind, project_id, image_id, deployment_id, begins_at, ends_at, price) SELECT ",
        );
        sql.push_bind(kind)
            .push(", project_id, image_id, id, ")
            .push_bind(now)
            .push(", ")
            .push_bind(now)
            .push(", ")
            .push(price)
            .push(" FROM deployments WHERE ")
            .push(only)
            .push(" AND id = ")
            .push_bind(deployment_id.to_owned())
            .push(" ON CONFLICT DO NOTHING");
        sql.build().execute(&mut *connection).await?;
    }
    Ok(())
}

impl Catalog {
    /// Looks at all images: what was missed is measured from now on. Called before anything is served, and once a day.
    pub async fn settle_usage(&self) -> Result<(), CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        settle_among(&mut tx, self.clock.now_ms(), None).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends all spans at the last midnight (UTC), so that a day's records are complete when it is over; how many.
    pub async fn close_day(&self) -> Result<u64, CatalogError> {
        let midnight = self.clock.now_ms().div_euclid(DAY_MS) * DAY_MS;
        let due: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM storage_meters WHERE since < ?)")
            .bind(midnight)
            .fetch_one(&self.db)
            .await?;
        if !due {
            return Ok(0);
        }
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let closed = sqlx::query(
            "INSERT INTO usage_records (kind, project_id, image_id, begins_at, ends_at, logical_bytes, deduplicated_bytes)
             SELECT 'storage', project_id, image_id, since, ?1, logical_bytes, deduplicated_bytes FROM storage_meters
                 WHERE since < ?1",
        )
        .bind(midnight)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if closed > 0 {
            sqlx::query("UPDATE storage_meters SET since = ?1 WHERE since < ?1")
                .bind(midnight)
                .execute(&mut *tx)
                .await?;
            settle_among(&mut tx, self.clock.now_ms(), None).await?;
        }
        tx.commit().await?;
        Ok(closed)
    }

    /// The names of these images, also of deleted ones.
    pub(super) async fn image_names(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, sqlx::Error> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, name FROM images WHERE id IN (SELECT value FROM json_each(?))")
                .bind(serde_json::json!(ids).to_string())
                .fetch_all(&self.db)
                .await?;
        Ok(rows.into_iter().collect())
    }
}
