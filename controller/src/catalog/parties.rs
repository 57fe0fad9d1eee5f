//! Who deals with whom: the owner of an image, and the other project.

use sqlx::SqliteConnection;

use super::{
    CatalogError, Image, find,
    terms::TermsError,
    transitions::{own, ready},
};
use crate::identity::Caller;

/// Another project, as far as the caller may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub id: String,
    pub name: String,
}

/// The project that is meant: `own` is the caller's, an id is anybody's, and a name is one that the caller may see. So
/// nobody learns by guessing which projects there are.
pub(super) async fn party(
    connection: &mut SqliteConnection,
    by: &Caller,
    wanted: &str,
) -> Result<Party, TermsError> {
    let wanted = if wanted == "own" { &by.project_id } else { wanted };
    let id = wanted.to_uppercase();
    let found: Option<(String, String)> =
        sqlx::query_as("SELECT id, name FROM projects WHERE id = ? OR name = ?")
            .bind(&id)
            .bind(wanted)
            .fetch_optional(connection)
            .await?;
    found
        .map(|(id, name)| Party { id, name })
        .filter(|party| party.id == id || by.viewer().sees(&party.id))
        .ok_or_else(|| TermsError::NoProject {
            wanted: wanted.chars().filter(|c| !c.is_control()).take(64).collect(),
        })
}

/// An image whose content is there and that the caller may change.
pub(super) async fn owned(
    connection: &mut SqliteConnection,
    by: &Caller,
    image: &str,
) -> Result<Image, TermsError> {
    let image = own(connection, by, image).await?;
    ready(&image)?;
    Ok(image)
}

/// An image that the caller sees, or that was offered to its project.
pub(super) async fn known(
    connection: &mut SqliteConnection,
    by: &Caller,
    image: &str,
) -> Result<Image, TermsError> {
    let refusal = match find::find_in(connection, &by.viewer(), image).await {
        Ok(image) => return Ok(image),
        Err(error @ CatalogError::NotFound { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let ids = offered(connection, &by.project_id, image).await?;
    match ids.as_slice() {
        [] => Err(refusal.into()),
        [id] => Ok(find::get_in(connection, id).await?.ok_or(refusal)?),
        _ => Err(CatalogError::Ambiguous {
            name: image.to_owned(),
            ids,
        }
        .into()),
    }
}

/// Ids of images with this id or name that were offered to the project, whatever it has answered.
pub(super) async fn offered(
    connection: &mut SqliteConnection,
    project_id: &str,
    image: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT i.id FROM image_members AS m JOIN images AS i ON i.id = m.image_id
             WHERE m.project_id = ? AND i.visibility = 'shared' AND i.state <> 'deleted' AND (i.id = ? OR i.name = ?)
             ORDER BY i.id LIMIT 10",
    )
    .bind(project_id)
    .bind(image.to_uppercase())
    .bind(image)
    .fetch_all(connection)
    .await
}
