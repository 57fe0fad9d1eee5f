//! REST: hardware models, and which images fit which nodes.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::get,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::Permission,
    matching::{Applied, FleetQuery, ImageMatch, MatchQuery, ModelPage, ModelView, NodeMatch},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/models", get(list_models).post(apply_model))
        .route("/v1/models/{model}", get(get_model).delete(delete_model))
        .route("/v1/nodes/{node}/model-suggestion", get(suggest_model))
        .route("/v1/nodes/{node}/match", get(match_node))
        .route("/v1/images/{image}/match", get(match_image))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_models,
        get_model,
        apply_model,
        delete_model,
        suggest_model,
        match_node,
        match_image
    ))]
    struct Part;
    Part::openapi()
}

/// A model to be applied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModelDocument {
    /// TOML; docs/matching.md has the keys.
    document: String,
}

/// A first version of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelSuggestion {
    /// TOML, to be looked through and applied.
    document: String,
}

/// Which images of a node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NodeMatchQuery {
    /// Only images of this family.
    family: Option<String>,
    /// Id or name of the image that is wanted: it comes first among those that are as good.
    image: Option<String>,
    /// What is wanted: clean, replicate, shared or marketplace.
    intent: Option<String>,
    /// Also images that nobody would take: withdrawn, unfinished, not shared.
    #[serde(default)]
    all: bool,
    /// At most this many: 50 when 0 or not given, 1,000 at most.
    #[serde(default)]
    limit: u32,
}

/// Which nodes of an image.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ImageMatchQuery {
    /// Only nodes with this verdict: fits, unverified or refused.
    verdict: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// All hardware models.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses((status = 200, description = "All models, by name", body = ModelPage))
)]
async fn list_models(caller: Caller, State(app): State<App>) -> Result<Json<ModelPage>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.deployments.matching().models().await?))
}

/// One hardware model with its document and its history.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The model", body = ModelView),
        (status = 404, description = "No such model", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_model(
    caller: Caller,
    State(app): State<App>,
    Path(model): Path<String>,
) -> Result<Json<ModelView>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.deployments.matching().model(&model).await?))
}

/// Takes a hardware model. The same document again changes nothing; another one needs a higher version.
#[utoipa::path(
    post,
    path = "/v1/models",
    tag = "models",
    request_body = ModelDocument,
    responses(
        (status = 200, description = "The model, and what it changes for which nodes", body = Applied),
        (status = 409, description = "The version is not newer", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "It is no model; every mistake is named with its place", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn apply_model(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<ModelDocument>, JsonRejection>,
) -> Result<Json<Applied>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(body) = body?;
    let applied = app.deployments.matching().apply(&caller, &body.document).await?;
    Ok(Json(applied))
}

/// Deletes what was applied under a name; a model that comes with the controller is in its place again.
#[utoipa::path(
    delete,
    path = "/v1/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The model as it was", body = ModelView),
        (status = 404, description = "No such model", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It comes with the controller", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn delete_model(
    caller: Caller,
    State(app): State<App>,
    Path(model): Path<String>,
) -> Result<Json<ModelView>, Problem> {
    caller.require(Permission::WriteNodes)?;
    Ok(Json(
        app.deployments.matching().delete_model(&caller, &model).await?,
    ))
}

/// A first version of a hardware model for servers like this one.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/model-suggestion",
    tag = "models",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "A document", body = ModelSuggestion),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Its hardware is not known", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn suggest_model(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<ModelSuggestion>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let document = app.deployments.matching().suggestion(&caller, &node).await?;
    Ok(Json(ModelSuggestion { document }))
}

/// The images that fit a machine, the best first, and every reason why others do not.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/match",
    tag = "matching",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address"), NodeMatchQuery),
    responses(
        (status = 200, description = "The images", body = NodeMatch),
        (status = 404, description = "No such node or image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn match_node(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    query: Result<Query<NodeMatchQuery>, QueryRejection>,
) -> Result<Json<NodeMatch>, Problem> {
    caller.require(Permission::ReadNodes)?;
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    let query = MatchQuery {
        family: query.family,
        image: query.image,
        intent: query.intent,
        all: query.all,
        limit: query.limit,
    };
    Ok(Json(
        app.deployments.matching().of_node(&caller, &node, &query).await?,
    ))
}

/// On which machines an image can be deployed, over all that the caller sees.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/match",
    tag = "matching",
    params(("image" = String, Path, description = "Id or name"), ImageMatchQuery),
    responses(
        (status = 200, description = "Counts, and a page of machines", body = ImageMatch),
        (status = 404, description = "No such image", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn match_image(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    query: Result<Query<ImageMatchQuery>, QueryRejection>,
) -> Result<Json<ImageMatch>, Problem> {
    caller.require(Permission::ReadNodes)?;
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    let query = FleetQuery {
        verdict: query.verdict,
        page_size: query.page_size,
        page_token: query.page_token,
    };
    Ok(Json(
        app.deployments
            .matching()
            .of_image(&caller, &image, &query)
            .await?,
    ))
}
