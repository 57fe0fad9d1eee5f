//! Lists of images: filters, search, pages.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use ulid::Ulid;

use super::{
    Catalog, CatalogError, Image, find, image,
    words::{BootMode, ImageKind, ImageState, Visibility},
};
use crate::identity::Viewer;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;
/// Packages of one name that are looked up one by one.
const FEW: i64 = 1000;

/// Which images, all conditions together; what is `None` or empty says nothing.
#[derive(Debug, Clone, Default)]
pub struct ImageQuery {
    /// Of this family.
    pub family: Option<String>,
    /// Of this kind.
    pub kind: Option<ImageKind>,
    /// With this visibility.
    pub visibility: Option<Visibility>,
    /// In this state.
    pub state: Option<ImageState>,
    /// For this region.
    pub region: Option<String>,
    /// With this distribution.
    pub os: Option<String>,
    /// With this version of it.
    pub os_version: Option<String>,
    /// For this architecture.
    pub architecture: Option<String>,
    /// That start in this way.
    pub boot: Option<BootMode>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// That hold this software: `NAME` or `NAME=VERSION`.
    pub software: Option<String>,
    /// With this text in name, family, description, distribution or a tag.
    pub text: Option<String>,
    /// Certified for this model of servers.
    pub certified_for: Option<String>,
    /// Of the viewer's own project (`own`), or of the project with this id or name.
    pub owner: Option<String>,
    /// At most this many: 100 when 0, 1,000 at most.
    pub page_size: u32,
    /// The cursor of the page.
    pub page_token: Option<String>,
}

/// A part of the list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePage {
    /// In the order of their making.
    pub items: Vec<Image>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

impl Catalog {
    /// A page of the images that `viewer` may see, in the order in which they were made. What is made meanwhile comes
    /// at the end: no page repeats or leaves out an image for it.
    pub async fn list(&self, viewer: &Viewer, query: &ImageQuery) -> Result<ImagePage, CatalogError> {
        let size = match query.page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut connection = self.db.acquire().await?;
        let is_rare = match given(&query.software) {
            Some(software) => is_rare(&mut connection, name_and_version(software).0).await?,
            None => false,
        };
        let after: Option<Ulid> = match given(&query.page_token) {
            Some(token) => Some(token.parse().map_err(|_| CatalogError::BadPageToken)?),
            None => None,
        };
        let mut sql = page(viewer, query, is_rare, after, size + 1);
        let mut rows = sql.build().fetch_all(&mut *connection).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let items = image::load(&mut connection, &rows).await?;
        let next_page_token = items.last().filter(|_| more).map(|image| image.id.clone());
        Ok(ImagePage {
            items,
            next_page_token,
        })
    }
}

/// The query of a page. The images are gone through in the order of their ids until the page is full; a search goes
/// through their texts instead, which are much shorter, in the same order.
pub(super) fn page(
    viewer: &Viewer,
    query: &ImageQuery,
    is_rare: bool,
    after: Option<Ulid>,
    rows: u32,
) -> QueryBuilder<Sqlite> {
    let (mut sql, id) = match given(&query.text) {
        None => (QueryBuilder::new("SELECT * FROM images WHERE"), "images.id"),
        Some(text) => {
            // CROSS JOIN: from the texts to the images.
            let mut sql = QueryBuilder::new(
                "SELECT images.* FROM image_texts AS w CROSS JOIN images ON images.id = w.image_id WHERE instr(w.words, ",
            );
            sql.push_bind(text.to_ascii_lowercase()).push(") > 0 AND");
            (sql, "w.image_id")
        }
    };
    find::push_visible(&mut sql, viewer);
    push_filters(&mut sql, viewer, query, is_rare);
    if let Some(after) = after {
        sql.push(" AND ")
            .push(id)
            .push(" > ")
            .push_bind(after.to_string());
    }
    sql.push(" ORDER BY ").push(id).push(" LIMIT ").push_bind(rows);
    sql
}

/// Whether few disks hold a package of this name.
async fn is_rare(connection: &mut SqliteConnection, name: &str) -> Result<bool, sqlx::Error> {
    let found: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT 1 FROM manifest_packages WHERE name = ? LIMIT ?)")
            .bind(name)
            .bind(FEW + 1)
            .fetch_one(connection)
            .await?;
    Ok(found <= FEW)
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn push_filters(sql: &mut QueryBuilder<Sqlite>, viewer: &Viewer, query: &ImageQuery, is_rare: bool) {
    let words = [
        ("kind", query.kind.map(ImageKind::as_str)),
        ("visibility", query.visibility.map(Visibility::as_str)),
        ("state", query.state.map(ImageState::as_str)),
        ("family", given(&query.family)),
        ("region", given(&query.region)),
    ];
    for (column, word) in words {
        if let Some(word) = word {
            sql.push(" AND images.")
                .push(column)
                .push(" = ")
                .push_bind(word.to_owned());
        }
    }
    let loose = [
        ("os_distribution", given(&query.os)),
        ("os_version", given(&query.os_version)),
        ("architecture", given(&query.architecture)),
    ];
    for (column, word) in loose {
        if let Some(word) = word {
            sql.push(" AND images.")
                .push(column)
                .push(" = ")
                .push_bind(word.to_owned())
                .push(" COLLATE NOCASE");
        }
    }
    if let Some(boot) = query.boot {
        sql.push(" AND EXISTS (SELECT 1 FROM json_each(images.boot_modes) AS j WHERE j.value = ")
            .push_bind(boot.as_str())
            .push(")");
    }
    if let Some(model) = given(&query.certified_for) {
        sql.push(" AND EXISTS (SELECT 1 FROM json_each(images.certified_for) AS j WHERE j.value = ")
            .push_bind(model.to_owned())
            .push(" COLLATE NOCASE)");
    }
    for tag in query.tags.iter().filter(|tag| !tag.is_empty()) {
        sql.push(" AND images.id IN (SELECT image_id FROM image_tags WHERE tag = ")
            .push_bind(tag.clone())
            .push(")");
    }
    if let Some(software) = given(&query.software) {
        push_software(sql, software, is_rare);
    }
    match given(&query.owner) {
        None => {}
        Some("own") => {
            sql.push(" AND images.project_id = ")
                .push_bind(viewer.home().to_owned());
        }
        Some(project) => {
            sql.push(" AND images.project_id IN (SELECT id FROM projects WHERE id = ")
                .push_bind(project.to_owned())
                .push(" OR name = ")
                .push_bind(project.to_owned())
                .push(")");
        }
    }
}

/// Software that few disks hold is found from the index of packages; for what most have, the images are gone through in
/// order, since a page is full soon.
fn push_software(sql: &mut QueryBuilder<Sqlite>, software: &str, is_rare: bool) {
    let (name, version) = name_and_version(software);
    if is_rare {
        sql.push(
            " AND images.id IN (SELECT d.image_id FROM manifest_packages AS p JOIN image_disks AS d
                 ON d.manifest = p.manifest WHERE p.name = ",
        );
    } else {
        // CROSS JOIN: from the image to its disks to their packages, in this order.
        sql.push(
            " AND EXISTS (SELECT 1 FROM image_disks AS d CROSS JOIN manifest_packages AS p ON p.manifest = d.manifest
                 WHERE d.image_id = images.id AND p.name = ",
        );
    }
    sql.push_bind(name.to_owned());
    if let Some(version) = version {
        sql.push(" AND p.version = ").push_bind(version.to_owned());
    }
    sql.push(")");
}

fn name_and_version(software: &str) -> (&str, Option<&str>) {
    match software.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (software, None),
    }
}
