//! Changes of what is said of an image, and its end.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use http::StatusCode;
use serde_json::{Map, Value};

use super::{Caller, Problem, ProblemDocument};
use crate::{
    app::App,
    catalog::{Image, ImageChange},
    identity::Permission,
};

/// What an image is made of; a caller who sends one of these has not forgotten a letter.
const CONTENT: &[&str] = &[
    "id",
    "project_id",
    "kind",
    "region",
    "source",
    "source_format",
    "source_model",
    "parent_id",
    "image_digest",
    "manifest_digest",
    "disks",
    "disk_size_bytes",
    "data_bytes",
    "stored_bytes",
    "logical_sector_bytes",
    "encrypted",
    "created_at",
    "created_by",
];

/// Changes what is said of an image. What is left out stays; null takes away. The content never changes.
#[utoipa::path(
    patch,
    path = "/v1/images/{image}",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    request_body = ImageChange,
    responses(
        (status = 200, description = "The image as it is now", body = Image),
        (status = 400, description = "A field cannot be kept", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 403, description = "It belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its content is asked to change, or the name is taken", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 412, description = "It was changed since it was read", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "Its content says otherwise", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn update_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Result<Json<Map<String, Value>>, JsonRejection>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(body) = body?;
    if let Some(field) = CONTENT.iter().find(|field| body.contains_key(**field)) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "image-immutable",
            "The content of an image does not change",
            format!("`{field}` belongs to what the image is made of."),
            "Import a new version: `imprint image import FILE --name NAME --family FAMILY`.",
        ));
    }
    let change: ImageChange = serde_json::from_value(Value::Object(body)).map_err(|error| {
        Problem::invalid(
            format!("The change cannot be read: {error}."),
            "Send what /openapi.json describes as ImageChange.",
        )
    })?;
    Ok(Json(app.catalog.update(&caller, &image, &change).await?))
}

/// Deletes an image. Deployments that run go on; what the store holds is collected when nobody needs it any more.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}",
    tag = "images",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The image as it was", body = Image),
        (status = 403, description = "It belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is protected, published, or still imported", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.delete(&caller, &image).await?))
}
