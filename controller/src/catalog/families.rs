//! Families: images that are versions of one thing. Whoever names a family means its newest active image.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{Catalog, CatalogError, Image, find, image, names};
use crate::{
    clock::timestamp_from_ms,
    identity::{PLATFORM, Viewer},
};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// A family as its viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Family {
    /// Its name.
    pub family: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// How many images it has.
    pub images: u64,
    /// Id of its newest active image.
    pub newest_id: Option<String>,
    /// Name of that image.
    pub newest_name: Option<String>,
    /// Version of that image.
    pub newest_version: Option<String>,
    /// When that image came into the catalogue.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub newest_created_at: Option<Timestamp>,
    /// Its property `build_date`: when its makers built it.
    pub newest_build_date: Option<String>,
    /// Its property `update_policy`: when to expect the next one.
    pub update_policy: Option<String>,
}

/// A part of the list of families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyPage {
    /// By name.
    pub items: Vec<Family>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

impl Catalog {
    /// The newest active image of a family in this region: the own project's family, else the platform's, else the only
    /// one of others. What a stranger has put up for everybody is not taken for a family by its name alone.
    pub async fn newest_of(&self, viewer: &Viewer, family: &str) -> Result<Image, CatalogError> {
        let mut connection = self.db.acquire().await?;
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM images WHERE");
        find::push_visible(&mut sql, viewer);
        sql.push(" AND state = 'active' AND exclude_from_latest = 0 AND family = ")
            .push_bind(family.to_owned())
            .push(" AND region = ")
            .push_bind(self.region.clone())
            .push(" AND (visibility <> 'community' OR project_id = ")
            .push_bind(viewer.home().to_owned())
            .push(") ORDER BY project_id <> ")
            .push_bind(viewer.home().to_owned())
            .push(", project_id <> ")
            .push_bind(PLATFORM)
            .push(", id DESC");
        let rows = sql.build().fetch_all(&mut *connection).await?;
        let owner = |row: &SqliteRow| row.try_get::<String, _>("project_id");
        let Some(first) = rows.first() else {
            return Err(no_active(&mut connection, viewer, family, &self.region).await?);
        };
        let theirs = owner(first)?;
        if theirs != viewer.home() && theirs != PLATFORM {
            let others = rows.iter().map(owner).collect::<Result<Vec<_>, _>>()?;
            if others.iter().any(|other| *other != theirs) {
                let mut projects = others;
                projects.dedup();
                return Err(CatalogError::FamilyAmbiguous {
                    family: family.to_owned(),
                    projects,
                });
            }
        }
        let mut newest = image::load(&mut connection, &rows[..1]).await?;
        Ok(newest.swap_remove(0))
    }

    /// A page of the families of images that `viewer` may see, by name.
    pub async fn families(
        &self,
        viewer: &Viewer,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<FamilyPage, CatalogError> {
        let size = match page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let after = match page_token.filter(|token| !token.is_empty()) {
            Some(token) => Some(token.split_once('/').ok_or(CatalogError::BadPageToken)?),
            None => None,
        };
        let mut sql = page(viewer, after, size + 1);
        let mut rows = sql.build().fetch_all(&self.db).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let items = rows.iter().map(family_of).collect::<Result<Vec<_>, _>>()?;
        let last = items.last().filter(|_| more);
        Ok(FamilyPage {
            next_page_token: last.map(|family| format!("{}/{}", family.family, family.project_id)),
            items,
        })
    }
}

/// The query of a page: what comes after a family of a project.
pub(super) fn page(viewer: &Viewer, after: Option<(&str, &str)>, rows: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(
        "SELECT f.*, n.name AS newest_name, n.version AS newest_version, n.created_at AS newest_created_at,
             n.properties ->> '$.build_date' AS newest_build_date,
             n.properties ->> '$.update_policy' AS update_policy FROM (SELECT family, project_id,
             count(*) AS images, max(CASE WHEN state = 'active' AND exclude_from_latest = 0 THEN id END) AS newest_id
             FROM images WHERE family IS NOT NULL AND",
    );
    find::push_visible(&mut sql, viewer);
    if let Some((family, project)) = after {
        sql.push(" AND (family, project_id) > (")
            .push_bind(family.to_owned())
            .push(", ")
            .push_bind(project.to_owned())
            .push(")");
    }
    sql.push(" GROUP BY family, project_id ORDER BY family, project_id LIMIT ")
        .push_bind(rows)
        .push(") AS f LEFT JOIN images AS n ON n.id = f.newest_id ORDER BY f.family, f.project_id");
    sql
}

fn family_of(row: &SqliteRow) -> Result<Family, sqlx::Error> {
    Ok(Family {
        family: row.try_get("family")?,
        project_id: row.try_get("project_id")?,
        images: u64::try_from(row.try_get::<i64, _>("images")?).unwrap_or(0),
        newest_id: row.try_get("newest_id")?,
        newest_name: row.try_get("newest_name")?,
        newest_version: row.try_get("newest_version")?,
        newest_created_at: row
            .try_get::<Option<i64>, _>("newest_created_at")?
            .map(timestamp_from_ms),
        newest_build_date: row.try_get("newest_build_date")?,
        update_policy: row.try_get("update_policy")?,
    })
}

/// Why a family has no image to use.
async fn no_active(
    connection: &mut SqliteConnection,
    viewer: &Viewer,
    family: &str,
    region: &str,
) -> Result<CatalogError, sqlx::Error> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM images WHERE");
    find::push_visible(&mut sql, viewer);
    sql.push(" AND family = ")
        .push_bind(family.to_owned())
        .push(" ORDER BY state = 'active' DESC, id DESC LIMIT 1");
    let rows = sql.build().fetch_all(&mut *connection).await?;
    if let Some(newest) = image::load(connection, &rows).await?.pop() {
        return Ok(CatalogError::FamilyWithoutActive {
            family: family.to_owned(),
            elsewhere: (newest.region != region).then(|| newest.region.clone()),
            newest: newest.name,
            state: newest.state,
            region: region.to_owned(),
        });
    }
    let known = find::hinted(connection, viewer, "family", family).await?;
    Ok(CatalogError::FamilyNotFound {
        near: names::near(family, known),
        family: family.chars().take(128).collect(),
    })
}
