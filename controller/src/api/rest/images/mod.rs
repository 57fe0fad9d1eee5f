//! REST: images.

mod change;
mod families;
mod import;
mod lifecycle;
mod list;
mod members;
mod publish;
#[cfg(test)]
mod tests;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use http::HeaderMap;
use utoipa::OpenApi;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, catalog::Image, identity::Permission};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/images", get(list::list_images).post(import::import_image))
        .route("/v1/images/compose", post(families::compose_image))
        .route(
            "/v1/images/{image}",
            get(get_image)
                .patch(change::update_image)
                .delete(change::delete_image),
        )
        .route("/v1/families", get(families::list_families))
        .route("/v1/families/{family}", get(families::get_family))
        .merge(lifecycle::router())
        .merge(members::router())
        .merge(publish::router())
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        paths(
            import::import_image,
            list::list_images,
            get_image,
            change::update_image,
            change::delete_image,
            lifecycle::activate_image,
            lifecycle::deactivate_image,
            lifecycle::deprecate_image,
            lifecycle::obsolete_image,
            lifecycle::list_transitions,
            lifecycle::cancel_all_transitions,
            lifecycle::cancel_transition,
            families::list_families,
            families::get_family,
            families::compose_image,
        ),
        components(schemas(Image, list::ImageList))
    )]
    struct Part;
    let mut document = Part::openapi();
    document.merge(members::openapi());
    document.merge(publish::openapi());
    document
}

/// One image.
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = 404, description = "There is none; the remedy has names like it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(Json(app.catalog.find(&caller.viewer(), &image).await?))
}

const MAX_KEY_BYTES: usize = 255;

/// The Idempotency-Key header of a request, for all requests that make something.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Problem::invalid(
            format!("The Idempotency-Key is not 1 to {MAX_KEY_BYTES} printable ASCII characters."),
            "Send a UUID.",
        )
    })
}
