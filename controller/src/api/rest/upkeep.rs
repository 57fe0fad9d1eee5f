//! The artifact store for operators: figures, verification, garbage collection.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    images::idempotency_key,
    problem::{Problem, ProblemDocument, chain, sentence},
};
use crate::{
    app::App,
    identity::Permission,
    jobs::{Job, JobContext, JobKind, NewJob},
    upkeep::{GcReport, GcRequest, StoreFigures, UpkeepError, VerifyReport},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/store", get(get_store))
        .route("/v1/store/verify", post(verify_store))
        .route("/v1/store/gc", post(collect_garbage))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        paths(get_store, verify_store, collect_garbage),
        components(schemas(VerifyReport, GcReport))
    )]
    struct Part;
    Part::openapi()
}

/// What is to be verified.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Id or name of an image; without it all that images and running deployments need.
    #[serde(default)]
    pub image: Option<String>,
}

/// What is to be removed.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectRequest {
    /// Only tells what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// How full the store is, what sharing saves, and what was found damaged. Lists the whole store.
#[utoipa::path(
    get,
    path = "/v1/store",
    tag = "store",
    responses(
        (status = 200, description = "The figures", body = StoreFigures),
        (status = 403, description = "Not for this role", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The bucket cannot be used", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_store(caller: Caller, State(app): State<App>) -> Result<Json<StoreFigures>, Problem> {
    caller.require(Permission::ManageStore)?;
    Ok(Json(app.upkeep.figures().await?))
}

/// Reads all that is needed, or what one image needs, and compares signatures and digests. The job's result is a
/// `VerifyReport`; that something is damaged is no failure of the job.
#[utoipa::path(
    post,
    path = "/v1/store/verify",
    tag = "store",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same job")),
    request_body = VerifyRequest,
    responses(
        (status = 202, description = "The job", body = Job),
        (status = 403, description = "Not for this role", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such image", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn verify_store(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<VerifyRequest>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    // First of all: whoever may not do it is not told how to ask for it.
    caller.require(Permission::ManageStore)?;
    let Json(request) = body?;
    Ok(accepted(
        verify(&app, &caller, request, idempotency_key(&headers)?).await?,
    ))
}

/// Removes what nobody needs and what is old enough. The job's result is a `GcReport`.
#[utoipa::path(
    post,
    path = "/v1/store/gc",
    tag = "store",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same job")),
    request_body = CollectRequest,
    responses(
        (status = 202, description = "The job", body = Job),
        (status = 403, description = "Not for this role", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn collect_garbage(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<CollectRequest>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    // First of all: whoever may not do it is not told how to ask for it.
    caller.require(Permission::ManageStore)?;
    let Json(request) = body?;
    Ok(accepted(
        collect(&app, &caller, &request, idempotency_key(&headers)?).await?,
    ))
}

fn accepted(job: Job) -> Response {
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.id))];
    (StatusCode::ACCEPTED, location, Json(job)).into_response()
}

/// Starts the job that verifies; for REST and gRPC.
pub async fn verify(
    app: &App,
    caller: &Caller,
    request: VerifyRequest,
    key: Option<String>,
) -> Result<Job, Problem> {
    caller.require(Permission::ManageStore)?;
    let image = match request.image.as_deref().filter(|image| !image.is_empty()) {
        Some(image) => Some(app.catalog.find(&caller.viewer(), image).await?.id),
        None => None,
    };
    let new = new_job(
        caller,
        JobKind::Verify,
        serde_json::json!({ "image_id": image }),
        image.clone(),
        key,
    );
    let upkeep = app.upkeep.clone();
    let work = move |context: JobContext| async move {
        let progress = |step: &'static str, done, total| context.progress(step, done, total);
        let report = upkeep
            .verify(image.as_deref(), &progress, &context.cancel)
            .await?;
        Ok(serde_json::json!(report))
    };
    Ok(app.jobs.start(new, work).await?)
}

/// Starts the job that collects; for REST and gRPC.
pub async fn collect(
    app: &App,
    caller: &Caller,
    request: &CollectRequest,
    key: Option<String>,
) -> Result<Job, Problem> {
    caller.require(Permission::ManageStore)?;
    let dry_run = request.dry_run;
    let new = new_job(
        caller,
        JobKind::Gc,
        serde_json::json!({ "dry_run": dry_run }),
        None,
        key,
    );
    let upkeep = app.upkeep.clone();
    let work = move |context: JobContext| async move {
        let progress = |step: &'static str, done, total| context.progress(step, done, total);
        let request = GcRequest { dry_run, grace: None };
        let report = upkeep.collect(request, &progress, &context.cancel).await?;
        Ok(serde_json::json!(report))
    };
    Ok(app.jobs.start(new, work).await?)
}

fn new_job(
    caller: &Caller,
    kind: JobKind,
    request: serde_json::Value,
    image_id: Option<String>,
    key: Option<String>,
) -> NewJob {
    NewJob {
        kind,
        project_id: caller.project_id.clone(),
        image_id,
        request,
        by: caller.name.clone(),
        key,
    }
}

impl From<UpkeepError> for Problem {
    fn from(error: UpkeepError) -> Self {
        match error {
            UpkeepError::Store(error) => error.into(),
            UpkeepError::Catalog(error) => error.into(),
            UpkeepError::Key(error) => error.into(),
            UpkeepError::Cancelled => Self::new(
                StatusCode::CONFLICT,
                "cancelled",
                "The job was cancelled",
                sentence(&chain(&error)),
                "Start it again when it is wanted after all.",
            ),
            UpkeepError::Keep(_) | UpkeepError::Task(_) => Self::internal(&error),
        }
    }
}
