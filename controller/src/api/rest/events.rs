//! REST: events, as a list and as a live stream.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
    routing::get,
};
use futures::{StreamExt, future};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    events::{Event, EventQuery, Live, gone},
    identity::{Permission, Viewer},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/events", get(list_events))
        .route("/v1/events/stream", get(stream_events))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(list_events, stream_events))]
    struct Part;
    Part::openapi()
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// The events, oldest first unless `order=desc`.
    items: Vec<Event>,
    /// Asks for the next page; null on the last one. It is the id of the last event on this page.
    next_page_token: Option<String>,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventListQuery {
    /// Only events with a greater id; 0: from the first one that is kept.
    after: Option<i64>,
    /// Only events of this node.
    node: Option<String>,
    /// `asc` (default): the oldest first; `desc`: the newest first.
    #[serde(default)]
    order: Order,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Which end of the log comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// The oldest first.
    #[default]
    Asc,
    /// The newest first.
    Desc,
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventStreamQuery {
    /// Begins after this id; 0: with the first event that is kept; left out: from now on. A `Last-Event-ID` header goes first.
    after: Option<i64>,
    /// Only events of this node.
    node: Option<String>,
}

fn bad_cursor(given: &str) -> Problem {
    let given: String = given.chars().take(40).collect();
    Problem::invalid(
        format!("`{given}` is not the id of an event."),
        "Pass the id of the last event that was received.",
    )
}

async fn node_id(app: &App, viewer: &Viewer, node: Option<&str>) -> Result<Option<String>, Problem> {
    match node.filter(|node| !node.is_empty()) {
        Some(node) => Ok(Some(app.nodes.find(viewer, node).await?.id)),
        None => Ok(None),
    }
}

/// What happened, oldest first, or newest first with `order=desc`.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(EventListQuery),
    responses(
        (status = 200, description = "A page of events", body = EventList),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "Events behind the cursor were deleted since they were too old", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_events(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<EventListQuery>, QueryRejection>,
) -> Result<Json<EventList>, Problem> {
    caller.require(Permission::ReadEvents)?;
    let Query(query) = query?;
    let cursor = query
        .page_token
        .as_deref()
        .filter(|token| !token.is_empty())
        .map(|token| token.parse().map_err(|_| bad_cursor(token)))
        .transpose()?;
    let after = query.after.unwrap_or(0);
    let (after, before) = match query.order {
        Order::Asc => (cursor.unwrap_or(after), None),
        Order::Desc => (after, cursor),
    };
    let viewer = caller.viewer();
    let node_id = node_id(&app, &viewer, query.node.as_deref()).await?;
    let page = app
        .events
        .list(&EventQuery {
            after,
            before,
            newest_first: query.order == Order::Desc,
            node_id,
            project_id: viewer.project().map(ToOwned::to_owned),
            page_size: query.page_size,
        })
        .await?;
    if let Some(up_to) = page.gone {
        return Err(gone(up_to));
    }
    Ok(Json(EventList {
        items: page.items,
        next_page_token: page.next.map(|id| id.to_string()),
    }))
}

/// What happens, live, without an end: server-sent events.
///
/// Events have their id and their kind. The newest figures of running deployments come as `progress`, without an id.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    tag = "events",
    params(
        EventStreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received"),
    ),
    responses(
        (status = 200, description = "A stream of events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "Events behind the cursor were deleted since they were too old", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn stream_events(
    caller: Caller,
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<EventStreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadEvents)?;
    let Query(query) = query?;
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty());
    let after = match (last, query.after) {
        (Some(text), _) => text.trim().parse().map_err(|_| bad_cursor(text))?,
        (None, Some(after)) => after,
        (None, None) => app.events.newest().await?,
    };
    app.events.require_kept(after)?;
    let viewer = caller.viewer();
    let node_id = node_id(&app, &viewer, query.node.as_deref()).await?;
    let live = app.events.follow(
        EventQuery {
            after,
            node_id,
            project_id: viewer.project().map(ToOwned::to_owned),
            ..EventQuery::default()
        },
        app.shutdown.child_token(),
    );
    // A token that is good no longer hears no more.
    let lapsed = {
        let tokens = app.api_tokens.clone();
        async move { tokens.lapse(caller).await }
    };
    let live = live.take_until(Box::pin(lapsed));
    // Whoever is too slow is told when he asks to go on.
    let live = live.take_while(|live| future::ready(!matches!(live, Ok(Live::Gone(_)))));
    let frames = live.map(|live| frame(live?).map_err(Box::<dyn std::error::Error + Send + Sync>::from));
    Ok(Sse::new(frames).keep_alive(KeepAlive::default()).into_response())
}

fn frame(live: Live) -> Result<sse::Event, axum::Error> {
    match live {
        Live::Event(event) => sse::Event::default()
            .id(event.id.to_string())
            .event(&event.kind)
            .json_data(&event),
        Live::Progress(progress) => sse::Event::default().event("progress").json_data(&progress),
        Live::Gone(up_to) => Ok(sse::Event::default().comment(format!("events up to {up_to} were deleted"))),
    }
}
