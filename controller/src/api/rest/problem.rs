//! Errors as callers see them: RFC 9457 problem documents, each with a remedy.

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use imprint_hardware::disk::Verdict;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request that could not be served, and what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is, for programs ("image-not-found"); never changes its meaning.
    pub kind: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// What kind of problem it is, for people; the same for every problem of the kind.
    pub title: &'static str,
    /// What happened this time.
    pub detail: String,
    /// What can be done about it.
    pub remedy: String,
    /// When it is about the choice of a disk: every disk of the machine, and why it was or was not taken.
    pub disks: Vec<Verdict>,
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:imprint:problem:` and the kind, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:imprint:problem:image-not-found")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What can be done about it.
    pub remedy: String,
    /// When it is about the choice of a disk: every disk of the machine, and why it was or was not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Verdict>, required = false)]
    pub disks: Vec<serde_json::Value>,
}

impl Problem {
    /// A problem of any kind.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            title,
            detail: detail.into(),
            remedy: remedy.into(),
            disks: Vec::new(),
        }
    }

    /// The same, with every disk that was looked at.
    #[must_use]
    pub fn with_disks(mut self, disks: impl Into<Vec<Verdict>>) -> Self {
        self.disks = disks.into();
        self
    }

    /// A request that does not say what it should.
    pub fn invalid(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-request",
            "The request is not valid",
            detail,
            remedy,
        )
    }

    /// A fault of the controller. The causes go to the log, not to the caller.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        crate::metrics::met(error);
        tracing::error!(error = %chain(error), "a request failed by a fault of the controller");
        if is_disk_full(error) {
            return Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "controller-disk-full",
                "The controller's disk is full",
                format!("{error}, since the disk is full; nothing of it was done"),
                "Make room on the file system of the controller's data folder, then ask again. What is under way goes on by itself.",
            );
        }
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The controller could not do it",
            error.to_string(),
            "Read the controller's log (journalctl -u imprint-controller) and try again.",
        )
    }

    /// The same for gRPC callers. The remedy is the second sentence of the message.
    pub fn to_status(&self) -> tonic::Status {
        use tonic::Code;
        let code = match self.status.as_u16() {
            _ if self.kind == "quota-exceeded" => Code::ResourceExhausted,
            400 | 413 | 416 | 422 => Code::InvalidArgument,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::NotFound,
            409 | 412 => Code::FailedPrecondition,
            410 => Code::OutOfRange,
            429 | 507 => Code::ResourceExhausted,
            503 => Code::Unavailable,
            504 => Code::DeadlineExceeded,
            _ => Code::Internal,
        };
        tonic::Status::new(
            code,
            format!("{}. {}", self.detail.trim_end_matches('.'), self.remedy),
        )
    }
}

impl From<Problem> for ProblemDocument {
    fn from(problem: Problem) -> Self {
        Self {
            kind: format!("urn:imprint:problem:{}", problem.kind),
            title: problem.title.to_owned(),
            status: problem.status.as_u16(),
            detail: problem.detail,
            remedy: problem.remedy,
            disks: problem.disks.iter().map(|disk| serde_json::json!(disk)).collect(),
        }
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        problem.to_status()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(ProblemDocument::from(self))).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A database that does not answer as it should is a fault of the controller.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::invalid(
            rejection.body_text(),
            "`imprint version` says whether command and controller belong together (API: send a JSON object as /openapi.json describes it).",
        )
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(
            rejection.body_text(),
            "`imprint version` says whether command and controller belong together (API: /openapi.json has the parameters of this request).",
        )
    }
}

/// An error with all its causes, "a: b: c", for the log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A message as a sentence: "it broke" becomes "It broke.".
pub fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(char::to_uppercase).into_iter().flatten();
    let mut text: String = first.chain(chars).collect();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}
/// Whether the database has no room on its disk (`SQLITE_FULL`).
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    const FULL: &str = "13";
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<sqlx::Error>())
        .filter_map(|error| error.as_database_error()?.code())
        .any(|code| code == FULL)
}
