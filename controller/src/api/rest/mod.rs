//! REST under `/v1/`: JSON, problem documents, cursor paging.

use axum::{Json, Router, extract::Request, middleware, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use tower::ServiceExt;

use crate::{app::App, metrics::requests::measure, telemetry::requests::trace};

pub mod auth;
pub mod batches;
pub mod console;
pub mod contents;
pub mod copies;
pub mod deployments;
pub mod events;
pub mod exports;
pub mod guests;
pub mod images;
pub mod imports;
pub mod jobs;
pub mod lifecycle;
pub mod logs;
pub mod matching;
pub mod metrics;
pub mod nodes;
pub mod openapi;
pub mod power;
pub mod problem;
pub mod projects;
pub mod quota;
pub mod rescue;
pub mod store;
pub mod tokens;
pub mod upkeep;
pub mod uploads;
pub mod usage;
pub mod users;
pub mod volumes;
pub mod webhooks;

use problem::Problem;

/// All of REST, with gRPC behind it. Each handler asks for its [`auth::Caller`] or [`crate::server::Peer`] itself;
/// tokens are checked once, for both.
pub fn router(app: App, grpc: Router) -> Router {
    Router::new()
        .merge(images::router())
        .merge(exports::router())
        .merge(copies::router())
        .merge(store::router())
        .merge(nodes::router())
        .merge(lifecycle::router())
        .merge(guests::router())
        .merge(deployments::router())
        .merge(logs::router())
        .merge(console::router())
        .merge(batches::router())
        .merge(events::router())
        .merge(jobs::router())
        .merge(upkeep::router())
        .merge(projects::router())
        .merge(quota::router())
        .merge(usage::router())
        .merge(users::router())
        .merge(tokens::router())
        .merge(imports::router())
        .merge(uploads::router())
        .merge(contents::router())
        .merge(matching::router())
        .merge(volumes::router())
        .merge(metrics::router())
        .merge(webhooks::router())
        .merge(power::router())
        .merge(rescue::router())
        .route("/openapi.json", get(async || Json(openapi::document())))
        .route("/healthz", get(async || "ok\n"))
        .fallback(async move |request: Request| {
            if is_grpc(&request) {
                grpc.oneshot(request).await.into_response()
            } else {
                no_route(request.uri()).into_response()
            }
        })
        .method_not_allowed_fallback(async |method: http::Method| wrong_method(&method).into_response())
        .layer(middleware::from_fn_with_state(app.clone(), auth::authenticate))
        .layer(middleware::from_fn_with_state(app.clone(), measure))
        .layer(middleware::from_fn_with_state(app.clone(), trace))
        .with_state(app)
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn no_route(uri: &http::Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-path",
        "There is no such path",
        format!("`{}` is not a path of this API.", uri.path()),
        "`imprint version` says whether command and controller belong together (API: /openapi.json has all paths).",
    )
}

fn wrong_method(method: &http::Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-such-method",
        "The path does not take this method",
        format!("The path does not take {method}."),
        "`imprint version` says whether command and controller belong together (API: /openapi.json has the methods of each path).",
    )
}
