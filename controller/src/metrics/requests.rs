//! Requests of REST and gRPC, measured where they come in.

use std::{collections::HashSet, sync::LazyLock, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;
use prost::Message;
use tonic::Code;

use super::labels::RequestLabels;
use crate::app::App;

/// Routes that are none, and methods that are none, share one label: callers choose what they ask for.
const OTHER: &str = "other";

/// Measures a request until its answer begins; a stream goes on after that.
pub async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (route, grpc) = route_of(&request);
    let method = method_of(request.method());
    let response = next.run(request).await;
    let status = match grpc {
        true => grpc_status(&response).to_owned(),
        false => response.status().as_str().to_owned(),
    };
    let labels = RequestLabels {
        route,
        method,
        status,
    };
    app.metrics
        .families()
        .request_seconds
        .get_or_create(&labels)
        .observe(begun.elapsed().as_secs_f64());
    response
}

/// The route of a request, which has no ids in it, and whether it is gRPC.
pub(crate) fn route_of(request: &Request) -> (String, bool) {
    match request.extensions().get::<MatchedPath>() {
        Some(path) => (path.as_str().to_owned(), false),
        None if GRPC.contains(request.uri().path()) => (request.uri().path().to_owned(), true),
        None => (OTHER.to_owned(), false),
    }
}

/// The paths of all methods of this program's services.
static GRPC: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let files = prost_types::FileDescriptorSet::decode(imprint_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors of this build are well-formed");
    let mut paths = HashSet::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                paths.insert(format!(
                    "/{}.{}/{}",
                    file.package(),
                    service.name(),
                    method.name()
                ));
            }
        }
    }
    paths
});

pub(crate) fn method_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => OTHER,
    }
}

/// A refusal is in the headers. A call that was answered has its status behind its body: that it was answered is what
/// counts here.
pub(crate) fn grpc_status(response: &Response) -> &'static str {
    let status = response.headers().get("grpc-status");
    match status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes())) {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unknown => "UNKNOWN",
    }
}
