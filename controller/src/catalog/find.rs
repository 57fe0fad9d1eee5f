//! One image, by id or name, for whoever may see it.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use ulid::Ulid;

use super::{Catalog, CatalogError, Image, image, names};
use crate::identity::Viewer;

/// Of how many images a hint is looked for.
const MAX_HINTED: i64 = 10_000;
/// How many ids an answer names when a name means several images.
const MAX_NAMED: i64 = 10;

/// Narrows a query over `images` to those that exist and that `viewer` may see.
pub(super) fn push_visible(sql: &mut QueryBuilder<Sqlite>, viewer: &Viewer) {
    sql.push(" images.state <> 'deleted'");
    let Viewer::Project(project) = viewer else { return };
    sql.push(" AND (images.project_id = ")
        .push_bind(project.clone())
        .push(
            " OR (images.state NOT IN ('queued', 'importing', 'failed')
                 AND (images.visibility IN ('public', 'community', 'marketplace')
                     OR (images.visibility = 'shared' AND EXISTS (SELECT 1 FROM image_members AS m
                         WHERE m.image_id = images.id AND m.state = 'accepted' AND m.project_id = ",
        )
        .push_bind(project.clone())
        .push(")))))");
}

impl Catalog {
    /// One image, by id or name. A name means the own project's image first, then the only one of others.
    pub async fn find(&self, viewer: &Viewer, id_or_name: &str) -> Result<Image, CatalogError> {
        let mut connection = self.db.acquire().await?;
        find_in(&mut connection, viewer, id_or_name).await
    }

    /// One image by its id, whoever may see it; `None` when it does not exist or is deleted.
    pub async fn get(&self, id: &str) -> Result<Option<Image>, CatalogError> {
        let mut connection = self.db.acquire().await?;
        Ok(get_in(&mut connection, id).await?)
    }
}

/// As [`Catalog::get`].
pub(super) async fn get_in(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Image>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM images WHERE id = ? AND state <> 'deleted'")
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
    Ok(image::load(connection, &rows).await?.pop())
}

/// As [`Catalog::find`].
pub(super) async fn find_in(
    connection: &mut SqliteConnection,
    viewer: &Viewer,
    id_or_name: &str,
) -> Result<Image, CatalogError> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM images WHERE");
    push_visible(&mut sql, viewer);
    match id_or_name.parse::<Ulid>() {
        Ok(id) => sql.push(" AND id = ").push_bind(id.to_string()),
        Err(_) => sql.push(" AND name = ").push_bind(id_or_name.to_owned()),
    };
    sql.push(" ORDER BY project_id <> ")
        .push_bind(viewer.home().to_owned())
        .push(", id LIMIT ")
        .push_bind(MAX_NAMED);
    let rows = sql.build().fetch_all(&mut *connection).await?;
    let mut found = image::load(connection, &rows).await?;
    match found.as_slice() {
        [] => Err(not_found(connection, viewer, id_or_name).await?),
        [first, rest @ ..] if rest.is_empty() || first.project_id == viewer.home() => {
            Ok(found.swap_remove(0))
        }
        several => Err(CatalogError::Ambiguous {
            name: id_or_name.to_owned(),
            ids: several.iter().map(|image| image.id.clone()).collect(),
        }),
    }
}

async fn not_found(
    connection: &mut SqliteConnection,
    viewer: &Viewer,
    wanted: &str,
) -> Result<CatalogError, sqlx::Error> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT name FROM images WHERE");
    push_visible(&mut sql, viewer);
    sql.push(" LIMIT ").push_bind(MAX_HINTED);
    let known: Vec<String> = sql.build_query_scalar().fetch_all(connection).await?;
    Ok(CatalogError::NotFound {
        any: !known.is_empty(),
        near: names::near(wanted, known),
        wanted: wanted.chars().take(128).collect(),
    })
}
