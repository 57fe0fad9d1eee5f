//! REST: what a server writes on its serial console.

use std::time::{Duration, Instant};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    routing::post,
};
use futures::StreamExt as _;
use http::StatusCode;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{app::App, identity::Permission, logs::ConsoleLines};

/// How long it is taken for true which deployment runs: consoles write many lines a second.
const HOLDS: Duration = Duration::from_secs(1);

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

/// What became of the lines.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ConsoleTaken {
    /// Lines that are in the log of a deployment.
    kept_lines: u64,
    /// Lines that came while no deployment ran: they are kept nowhere.
    other_lines: u64,
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
    let mut bytes = body.into_data_stream();
    let mut console = ConsoleLines::default();
    let (mut taken, mut deployment) = (ConsoleTaken::default(), None);
    loop {
        let next = tokio::select! {
            next = bytes.next() => next,
            () = app.shutdown.cancelled() => return Err(ends()),
        };
        let (lines, broken) = match next {
            Some(Ok(bytes)) => (console.take(&bytes), None),
            Some(Err(error)) => (console.rest().into_iter().collect(), Some(Err(error))),
            None => (console.rest().into_iter().collect(), Some(Ok(()))),
        };
        if !lines.is_empty() {
            let known = deployment.take_if(|(_, at): &mut (_, Instant)| at.elapsed() < HOLDS);
            let (id, at): (Option<String>, _) = match known {
                Some(known) => known,
                None => (app.deployments.deployment_on(&node.id).await?, Instant::now()),
            };
            match &id {
                Some(id) => {
                    app.deployments.take_console(id, &lines);
                    taken.kept_lines += lines.len() as u64;
                }
                None => taken.other_lines += lines.len() as u64,
            }
            deployment = Some((id, at));
        }
        match broken {
            None => {}
            Some(Ok(())) => return Ok(Json(taken)),
            Some(Err(error)) => {
                let lines = taken.kept_lines + taken.other_lines;
                return Err(Problem::invalid(
                    format!("The console broke off after {lines} lines: {error}."),
                    "Send it again from where it is now; what came before is kept.",
                ));
            }
        }
    }
}

fn ends() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "controller-ends",
        "The controller ends",
        "The controller is being stopped, and takes no more of the console.",
        "Send it again from where it is in a moment; what came before is kept.",
    )
}
