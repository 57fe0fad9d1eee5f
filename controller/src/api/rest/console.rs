//! REST: what a server writes on its serial console.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    routing::post,
};
use futures::StreamExt as _;
use http::StatusCode;
use utoipa::OpenApi;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, deploy::ConsoleTaken, identity::Permission};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new().route("/v1/nodes/{node}/console", post(take_console))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(take_console))]
    struct Part;
    Part::openapi()
}

/// Takes what a server writes on its serial console, as it comes, for the log of the deployment that runs on it
/// (`GET /v1/deployments/{id}/log`). The request may last for as long as its connection does: whoever reads consoles (a console
/// server, `ipmitool sol`) leaves it open. Lines get the controller's time; colours and movements of the cursor are left out.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/console",
    tag = "nodes",
    params(("node" = String, Path, description = "Id, name, UUID, serial or MAC")),
    request_body(content = String, content_type = "application/octet-stream", description = "The bytes of the console"),
    responses(
        (status = 200, description = "The console has ended", body = ConsoleTaken),
        (status = 400, description = "The connection broke", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The controller ends", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn take_console(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<ConsoleTaken>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let (mut bytes, mut console) = (body.into_data_stream(), app.deployments.console_of(&node.id));
    loop {
        let next = tokio::select! {
            next = bytes.next() => next,
            () = app.shutdown.cancelled() => return Err(controller_ends()),
        };
        match next {
            Some(Ok(bytes)) => console.take(&bytes).await?,
            None => return Ok(Json(console.end().await?)),
            Some(Err(error)) => {
                let taken = console.end().await?;
                let lines = taken.kept_lines + taken.other_lines;
                return Err(Problem::invalid(
                    format!("The console broke off after {lines} lines: {error}."),
                    "Send it again from where it is now; what came before is kept.",
                ));
            }
        }
    }
}

/// Whoever passes a console on has to call again.
pub(in crate::api) fn controller_ends() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "controller-ends",
        "The controller ends",
        "The controller is being stopped, and takes no more of the console.",
        "Send it again from where it is in a moment; what came before is kept.",
    )
}
