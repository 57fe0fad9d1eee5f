//! Spans of requests, REST and gRPC.

use std::time::SystemTime;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    KeyValue,
    trace::{SpanId, SpanKind, Status},
};

use super::{context, send::span};
use crate::{app::App, metrics::requests as measured};

/// Makes a span of a request, until its answer begins; a stream goes on after that. Does nothing when nobody wants spans,
/// or the caller does not want this one.
pub async fn trace(State(app): State<App>, request: Request, next: Next) -> Response {
    if !app.telemetry.is_on() {
        return next.run(request).await;
    }
    let header = request.headers().get("traceparent");
    let parent = header.and_then(|value| context::parent(value.to_str().ok()?));
    if parent.as_ref().is_some_and(|parent| !parent.is_sampled()) {
        return next.run(request).await;
    }
    let (trace, id) = match &parent {
        Some(parent) => (parent.trace_id(), context::fresh_span()),
        None => context::fresh(),
    };
    let (route, grpc) = measured::route_of(&request);
    let method = measured::method_of(request.method());
    let begun = SystemTime::now();
    let response = next.run(request).await;
    let http_status = response.status();
    // Neither the path nor the query: what was asked for may be in them.
    let mut attributes = vec![KeyValue::new(
        "http.response.status_code",
        i64::from(http_status.as_u16()),
    )];
    let (name, failed) = if grpc {
        let status = measured::grpc_status(&response);
        let (service, called) = route.trim_start_matches('/').split_once('/').unwrap_or_default();
        attributes.extend([
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", service.to_owned()),
            KeyValue::new("rpc.method", called.to_owned()),
            KeyValue::new("rpc.grpc.status", status),
        ]);
        let failed = matches!(
            status,
            "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "UNAVAILABLE" | "UNIMPLEMENTED"
        );
        (route.trim_start_matches('/').to_owned(), failed)
    } else {
        attributes.extend([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.clone()),
        ]);
        (format!("{method} {route}"), http_status.is_server_error())
    };
    let mut made = span(context::span(trace, id), name, begun, SystemTime::now());
    made.span_kind = SpanKind::Server;
    made.attributes = attributes;
    made.parent_span_id = parent.as_ref().map_or(SpanId::INVALID, |parent| parent.span_id());
    made.parent_span_is_remote = parent.is_some();
    if failed {
        made.status = Status::error("the controller could not do it");
    }
    app.telemetry.tell(made);
    response
}
