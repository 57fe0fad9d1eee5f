//! Families of images, and images composed of others.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Caller, Problem, ProblemDocument, idempotency_key};
use crate::{
    app::App,
    catalog::{ComposeRequest, Family, Image},
    identity::Permission,
};

/// A page of families.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FamilyList {
    /// The families, by name.
    items: Vec<Family>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// All families of images that the caller may see.
#[utoipa::path(
    get,
    path = "/v1/families",
    tag = "images",
    params(PageQuery),
    responses((status = 200, description = "A page of families", body = FamilyList))
)]
pub(super) async fn list_families(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<FamilyList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    let page = app
        .catalog
        .families(&caller.viewer(), query.page_size, query.page_token.as_deref())
        .await?;
    Ok(Json(FamilyList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}

/// The image that a family means: the newest one that is active and not excluded.
#[utoipa::path(
    get,
    path = "/v1/families/{family}",
    tag = "images",
    params(("family" = String, Path, description = "Name of the family")),
    responses(
        (status = 200, description = "Its newest active image", body = Image),
        (status = 404, description = "There is no such family", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "None of its images is active here, or several projects have such a family",
         body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_family(
    caller: Caller,
    State(app): State<App>,
    Path(family): Path<String>,
) -> Result<Json<Image>, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(Json(app.catalog.newest_of(&caller.viewer(), &family).await?))
}

/// Makes a full-machine image of images that are there: a system disk and data disks, each with a role.
#[utoipa::path(
    post,
    path = "/v1/images/compose",
    tag = "images",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "A second request with this key makes no second image"),
    ),
    request_body = ComposeRequest,
    responses(
        (status = 201, description = "Made", body = Image),
        (status = 400, description = "A field cannot be kept, or the roles do not make a machine", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "One of the images is not there", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "One of the images cannot be a disk", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn compose_image(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<ComposeRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(request) = body?;
    let key = idempotency_key(&headers)?;
    let image = app.catalog.compose(&caller, &request, key.as_deref()).await?;
    let location = [(header::LOCATION, format!("/v1/images/{}", image.id))];
    Ok((StatusCode::CREATED, location, Json(image)).into_response())
}
