//! What usage comes to in a span of time: the records one by one, and their sums for each image.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{Catalog, CatalogError, Price, terms::TermsError};
use crate::{clock::timestamp_from_ms, identity::Viewer, words::words};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;
/// What is looked at when no beginning is given.
const DEFAULT_SPAN_MS: i64 = 30 * 24 * 3600 * 1000;
/// Milliseconds of an hour times the bytes of a GiB.
const GIB_HOUR: u128 = 3600 * 1000 * (1 << 30);
const MICRO: u128 = 1_000_000;

words! {
    /// What a record of usage is about.
    UsageKind, "kind of usage", {
        /// An image lay in the store.
        Storage => "storage",
        /// A server was deployed.
        Server => "server",
        /// A paid image was deployed.
        Image => "image",
    }
}

/// Which records: those of `[from, to)`.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// The beginning; 30 days before the end when it is left out.
    pub from: Option<Timestamp>,
    /// The end; now when it is left out.
    pub to: Option<Timestamp>,
    /// Of this project.
    pub project_id: Option<String>,
    /// At most this many: 100 when 0, 1,000 at most.
    pub page_size: u32,
    /// The cursor of the page.
    pub page_token: Option<String>,
}

/// A record: written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageRecord {
    /// Counts up; bills that know it count nothing twice.
    pub id: i64,
    /// What it is about.
    pub kind: UsageKind,
    /// Who pays.
    pub project_id: String,
    /// The image.
    pub image_id: String,
    /// The deployment.
    pub deployment_id: Option<String>,
    /// When the span began, or when the deployment succeeded.
    #[schema(value_type = String, format = DateTime)]
    pub begins_at: Timestamp,
    /// When the span ended.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
    /// Bytes as if nothing were shared.
    pub logical_bytes: u64,
    /// Its part of what is stored once.
    pub deduplicated_bytes: u64,
    /// Of a paid image, as it was when the deployment was asked for.
    pub price: Option<Price>,
}

/// A part of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecordPage {
    /// In the order in which they were written.
    pub items: Vec<UsageRecord>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

/// How often an image was deployed for a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Charge {
    /// The price.
    pub price: Price,
    /// How many deployments.
    pub deployments: u64,
}

/// What one image comes to for one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageLine {
    /// Who pays.
    pub project_id: String,
    /// The image.
    pub image_id: String,
    /// Its name.
    pub image_name: String,
    /// Bytes times time as if nothing were shared, in GiB hours with six decimals.
    pub logical_gib_hours: String,
    /// The same of its part of what is stored once.
    pub deduplicated_gib_hours: String,
    /// Servers that were deployed with it.
    pub servers: u64,
    /// What the image itself cost.
    pub charges: Vec<Charge>,
}

/// What usage comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// The beginning.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The end, which does not belong to it.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// By project and image.
    pub items: Vec<UsageLine>,
    /// Storage of all of them as if nothing were shared, in GiB hours.
    pub logical_gib_hours: String,
    /// Storage of all of them, in GiB hours.
    pub deduplicated_gib_hours: String,
}

#[derive(Debug, Default)]
struct Sum {
    logical: u128,
    deduplicated: u128,
    servers: u64,
    /// By the price as it was written down.
    charges: BTreeMap<String, u64>,
}

struct Span {
    from: i64,
    to: i64,
}

impl Span {
    /// How long something lasted within it.
    fn within(&self, begins: i64, ends: i64) -> u128 {
        let length = ends.min(self.to).saturating_sub(begins.max(self.from));
        u128::try_from(length).unwrap_or(0)
    }
}

impl Catalog {
    fn span(&self, query: &UsageQuery) -> Result<Span, TermsError> {
        let to = query
            .to
            .map_or_else(|| self.clock.now_ms(), Timestamp::as_millisecond);
        let from = query
            .from
            .map_or_else(|| to.saturating_sub(DEFAULT_SPAN_MS), Timestamp::as_millisecond);
        if from > to {
            return Err(TermsError::Backwards);
        }
        Ok(Span { from, to })
    }

    /// Sums for each image, up to this moment: also of spans that have not ended.
    pub async fn usage(&self, viewer: &Viewer, query: &UsageQuery) -> Result<Usage, TermsError> {
        let span = self.span(query)?;
        let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
        // One picture of records and meters: between the two reads a span may end.
        let mut tx = self.db.begin().await?;
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT kind, project_id, image_id, begins_at, ends_at, logical_bytes, deduplicated_bytes, price
                 FROM usage_records WHERE",
        );
        push_span(&mut sql, &span);
        push_project(&mut sql, viewer, query);
        sql.push(" UNION ALL SELECT 'storage', project_id, image_id, since, ")
            .push_bind(self.clock.now_ms())
            .push(", logical_bytes, deduplicated_bytes, NULL FROM storage_meters WHERE since < ")
            .push_bind(span.to);
        push_project(&mut sql, viewer, query);
        let query = sql.build();
        let mut rows = query.fetch(&mut *tx);
        while let Some(row) = rows.try_next().await? {
            add(&mut sums, &span, &row)?;
        }
        drop(rows);
        tx.commit().await?;
        let ids: BTreeSet<String> = sums.keys().map(|(_, image)| image.clone()).collect();
        let names = self.image_names(&ids).await?;
        let all = sums.values().fold((0, 0), |(logical, deduplicated), sum| {
            (logical + sum.logical, deduplicated + sum.deduplicated)
        });
        let items = sums
            .into_iter()
            .map(|((project_id, image_id), sum)| {
                let name = names.get(&image_id).cloned().unwrap_or_default();
                line(project_id, image_id, name, sum)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Usage {
            from: timestamp_from_ms(span.from),
            to: timestamp_from_ms(span.to),
            items,
            logical_gib_hours: gib_hours(all.0),
            deduplicated_gib_hours: gib_hours(all.1),
        })
    }

    /// A page of the records themselves, whole, also where they reach beyond the span.
    pub async fn usage_records(
        &self,
        viewer: &Viewer,
        query: &UsageQuery,
    ) -> Result<UsageRecordPage, TermsError> {
        let span = self.span(query)?;
        let size = match query.page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM usage_records WHERE");
        push_span(&mut sql, &span);
        push_project(&mut sql, viewer, query);
        if let Some(token) = query.page_token.as_deref().filter(|token| !token.is_empty()) {
            let after: i64 = token.parse().map_err(|_| CatalogError::BadPageToken)?;
            sql.push(" AND id > ").push_bind(after);
        }
        sql.push(" ORDER BY id LIMIT ").push_bind(i64::from(size) + 1);
        let mut rows = sql.build().fetch_all(&self.db).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let items = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let last = items.last().filter(|_| more);
        Ok(UsageRecordPage {
            next_page_token: last.map(|last| last.id.to_string()),
            items,
        })
    }
}

/// Spans that reach into it, and moments in it.
fn push_span(sql: &mut QueryBuilder<Sqlite>, span: &Span) {
    sql.push(" begins_at < ")
        .push_bind(span.to)
        .push(" AND (ends_at > ")
        .push_bind(span.from)
        .push(" OR begins_at >= ")
        .push_bind(span.from)
        .push(")");
}

fn push_project(sql: &mut QueryBuilder<Sqlite>, viewer: &Viewer, query: &UsageQuery) {
    for project in [viewer.project(), query.project_id.as_deref()]
        .into_iter()
        .flatten()
    {
        sql.push(" AND project_id = ").push_bind(project.to_owned());
    }
}

fn add(sums: &mut BTreeMap<(String, String), Sum>, span: &Span, row: &SqliteRow) -> Result<(), sqlx::Error> {
    let key = (row.try_get("project_id")?, row.try_get("image_id")?);
    let sum = sums.entry(key).or_default();
    match kind(row)? {
        UsageKind::Storage => {
            let lasted = span.within(row.try_get("begins_at")?, row.try_get("ends_at")?);
            let bytes = |column: &str| -> Result<u128, sqlx::Error> {
                Ok(u128::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
            };
            sum.logical += bytes("logical_bytes")? * lasted;
            sum.deduplicated += bytes("deduplicated_bytes")? * lasted;
        }
        UsageKind::Server => sum.servers += 1,
        UsageKind::Image => {
            let price: Option<String> = row.try_get("price")?;
            *sum.charges.entry(price.unwrap_or_default()).or_default() += 1;
        }
    }
    Ok(())
}

fn line(
    project_id: String,
    image_id: String,
    image_name: String,
    sum: Sum,
) -> Result<UsageLine, sqlx::Error> {
    let charges = sum.charges.into_iter().map(|(price, deployments)| {
        let price = serde_json::from_str(&price).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Charge { price, deployments })
    });
    Ok(UsageLine {
        project_id,
        image_id,
        image_name,
        logical_gib_hours: gib_hours(sum.logical),
        deduplicated_gib_hours: gib_hours(sum.deduplicated),
        servers: sum.servers,
        charges: charges.collect::<Result<_, sqlx::Error>>()?,
    })
}

fn kind(row: &SqliteRow) -> Result<UsageKind, sqlx::Error> {
    let word: String = row.try_get("kind")?;
    word.parse()
        .map_err(|error: crate::words::UnknownWord| sqlx::Error::Decode(Box::new(error)))
}

fn record(row: &SqliteRow) -> Result<UsageRecord, sqlx::Error> {
    let bytes = |column: &str| -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    };
    let price: Option<String> = row.try_get("price")?;
    let price = price.map(|text| serde_json::from_str(&text)).transpose();
    Ok(UsageRecord {
        id: row.try_get("id")?,
        kind: kind(row)?,
        project_id: row.try_get("project_id")?,
        image_id: row.try_get("image_id")?,
        deployment_id: row.try_get("deployment_id")?,
        begins_at: timestamp_from_ms(row.try_get("begins_at")?),
        ends_at: timestamp_from_ms(row.try_get("ends_at")?),
        logical_bytes: bytes("logical_bytes")?,
        deduplicated_bytes: bytes("deduplicated_bytes")?,
        price: price.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    })
}

/// Bytes times milliseconds as GiB hours. Rounded down; the records have it exactly.
fn gib_hours(byte_ms: u128) -> String {
    let whole = byte_ms / GIB_HOUR;
    let part = byte_ms % GIB_HOUR * MICRO / GIB_HOUR;
    format!("{whole}.{part:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gib_hours_are_decimal_numbers() {
        for (byte_ms, text) in [
            (0, "0.000000"),
            (GIB_HOUR, "1.000000"),
            (GIB_HOUR / 2, "0.500000"),
            (GIB_HOUR * 24 * 31 * 1024 + 1, "761856.000000"),
            (GIB_HOUR - 1, "0.999999"),
        ] {
            assert_eq!(gib_hours(byte_ms), text);
        }
    }

    #[test]
    fn what_lies_outside_does_not_count() {
        let span = Span { from: 10, to: 20 };
        for (begins, ends, lasted) in [
            (0, 30, 10),
            (0, 15, 5),
            (12, 14, 2),
            (15, 30, 5),
            (0, 10, 0),
            (20, 30, 0),
        ] {
            assert_eq!(span.within(begins, ends), lasted, "{begins} {ends}");
        }
    }
}
