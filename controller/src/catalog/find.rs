//! One image, by id or name, for whoever may see it.

use std::collections::BTreeSet;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use ulid::Ulid;

use super::{Catalog, CatalogError, Image, image, names};
use crate::identity::Viewer;

/// Names before and after a wanted one that a hint is looked for in; they share its beginning if any does.
const NEIGHBOURS: i64 = 500;
/// Newest images that a hint is looked for in besides: for what is wrong at the beginning.
const NEWEST: i64 = 1_000;
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
    let known = hinted(connection, viewer, "name", wanted).await?;
    Ok(CatalogError::NotFound {
        any: !known.is_empty(),
        near: names::near(wanted, known),
        wanted: wanted.chars().take(128).collect(),
    })
}

/// What of `column`, `name` or `family`, somebody may have meant who wrote `wanted`: of a large catalogue only a part,
/// so that a question for what is not there is answered as fast as any other.
pub(super) async fn hinted(
    connection: &mut SqliteConnection,
    viewer: &Viewer,
    column: &'static str,
    wanted: &str,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let mut known = BTreeSet::new();
    for mut sql in hints(viewer, column, wanted) {
        let found: Vec<String> = sql.build_query_scalar().fetch_all(&mut *connection).await?;
        known.extend(found);
    }
    Ok(known)
}

/// The queries of [`hinted`].
pub(super) fn hints(viewer: &Viewer, column: &'static str, wanted: &str) -> Vec<QueryBuilder<Sqlite>> {
    let mut queries = Vec::new();
    let small = wanted.to_lowercase();
    let forms = std::iter::once(wanted).chain((small != wanted).then_some(small.as_str()));
    for form in forms {
        for (is, order) in [(" >= ", ""), (" < ", " DESC")] {
            let mut sql = QueryBuilder::new("SELECT DISTINCT ");
            sql.push(column).push(" FROM images WHERE");
            push_visible(&mut sql, viewer);
            sql.push(" AND ").push(column).push(is).push_bind(form.to_owned());
            sql.push(" ORDER BY ").push(column).push(order);
            sql.push(" LIMIT ").push_bind(NEIGHBOURS);
            queries.push(sql);
        }
    }
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(column).push(" FROM images WHERE");
    push_visible(&mut sql, viewer);
    sql.push(" AND ")
        .push(column)
        .push(" IS NOT NULL ORDER BY id DESC LIMIT ");
    sql.push_bind(NEWEST);
    queries.push(sql);
    queries
}
