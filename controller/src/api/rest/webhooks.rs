//! REST: webhooks.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
    projects::PageQuery,
};
use crate::{
    app::App,
    identity::Permission,
    webhooks::{TestResult, WantedWebhook, Webhook},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/webhooks", get(list_webhooks).post(create_webhook))
        .route("/v1/webhooks/{webhook}", get(get_webhook).delete(delete_webhook))
        .route("/v1/webhooks/{webhook}/enable", post(enable_webhook))
        .route("/v1/webhooks/{webhook}/disable", post(disable_webhook))
        .route("/v1/webhooks/{webhook}/test", post(test_webhook))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_webhooks,
        create_webhook,
        get_webhook,
        delete_webhook,
        enable_webhook,
        disable_webhook,
        test_webhook
    ))]
    struct Part;
    Part::openapi()
}

/// A page of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// The webhooks, oldest first.
    items: Vec<Webhook>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// A webhook to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWebhook {
    /// 1 to 64 letters, digits and `. _ -`.
    name: String,
    /// Where events are sent to: `https://…`.
    url: String,
    /// Kinds of events, and beginnings of kinds (`alarm.*`), 50 at most; none: all.
    #[serde(default)]
    kinds: Vec<String>,
    /// Only events of this project, by id or name.
    project: Option<String>,
    /// Begins after the event with this id; 0: with the first event of all; left out: from now on.
    after: Option<i64>,
}

/// A webhook that was made, with its secret.
#[derive(Serialize, ToSchema)]
struct CreatedWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// What its messages are signed with: `whsec_` and base64. Told here and nowhere else.
    #[schema(format = Password)]
    secret: String,
}

/// How to go on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EnableWebhook {
    /// Leaves out what happened while it was disabled.
    #[serde(default)]
    skip_missed: bool,
}

/// All webhooks. Admins and operators only.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "webhooks",
    params(PageQuery),
    responses((status = 200, description = "A page of webhooks", body = WebhookList))
)]
async fn list_webhooks(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<WebhookList>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    let Query(query) = query?;
    let page = app
        .webhooks
        .list(query.page_size, query.page_token.as_deref())
        .await?;
    Ok(Json(WebhookList {
        items: page.items,
        next_page_token: page.next,
    }))
}

/// Makes a webhook: from now on events are sent to its URL as CloudEvents, signed, in order and at least once. Admins and
/// operators only.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    tag = "webhooks",
    request_body = NewWebhook,
    responses(
        (status = 201, description = "Made", body = CreatedWebhook),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Nothing is sent to such an address", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_webhook(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<NewWebhook>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    let Json(new) = body?;
    let project_id = match &new.project {
        Some(project) => Some(app.tenants.project(&caller.viewer(), project).await?.id),
        None => None,
    };
    let wanted = WantedWebhook {
        name: new.name,
        url: new.url,
        kinds: new.kinds,
        project_id,
        after: new.after,
    };
    let created = app.webhooks.create(&caller, &wanted).await?;
    let location = [(header::LOCATION, format!("/v1/webhooks/{}", created.webhook.id))];
    let answer = CreatedWebhook {
        webhook: created.webhook,
        secret: created.secret.to_string(),
    };
    Ok((StatusCode::CREATED, location, Json(answer)).into_response())
}

/// One webhook: how far it is, and what it refuses. Admins and operators only.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The webhook", body = Webhook),
        (status = 404, description = "No such webhook", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_webhook(
    caller: Caller,
    State(app): State<App>,
    Path(webhook): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    Ok(Json(app.webhooks.get(&webhook).await?))
}

/// Deletes a webhook and its secret; what was not delivered is not sent any more. Admins and operators only.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "As it was", body = Webhook),
        (status = 404, description = "No such webhook", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete_webhook(
    caller: Caller,
    State(app): State<App>,
    Path(webhook): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    Ok(Json(app.webhooks.delete(&caller, &webhook).await?))
}

/// Sends again, beginning behind the last event that was taken. Admins and operators only.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook}/enable",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id or name")),
    request_body = EnableWebhook,
    responses(
        (status = 200, description = "Enabled", body = Webhook),
        (status = 404, description = "No such webhook", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn enable_webhook(
    caller: Caller,
    State(app): State<App>,
    Path(webhook): Path<String>,
    body: Result<Json<EnableWebhook>, JsonRejection>,
) -> Result<Json<Webhook>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    let Json(request) = body?;
    let enabled = app.webhooks.enable(&caller, &webhook, request.skip_missed);
    Ok(Json(enabled.await?))
}

/// Sends nothing until it is enabled again. Admins and operators only.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook}/disable",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "Disabled", body = Webhook),
        (status = 404, description = "No such webhook", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn disable_webhook(
    caller: Caller,
    State(app): State<App>,
    Path(webhook): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    Ok(Json(app.webhooks.disable(&caller, &webhook).await?))
}

/// Sends one message of the type `imprint.webhook.test`, now, and says what came of it. Admins and operators only.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook}/test",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "What came of it; also when it was not taken", body = TestResult),
        (status = 404, description = "No such webhook", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn test_webhook(
    caller: Caller,
    State(app): State<App>,
    Path(webhook): Path<String>,
) -> Result<Json<TestResult>, Problem> {
    caller.require(Permission::ManageWebhooks)?;
    Ok(Json(app.webhooks.test(&webhook).await?))
}
