//! Who calls: the API token of a request, checked once for REST and gRPC alike.

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, StatusCode, header, request::Parts};

use super::problem::{Problem, sentence};
pub use crate::identity::Caller;
use crate::{app::App, identity::TokenError};

/// Why a request has no [`Caller`].
#[derive(Debug, Clone)]
struct Refused(Problem);

/// Checks the token of every request, if it carries one, and leaves the outcome in its extensions. What needs a
/// caller asks for [`Caller`]; what does not, goes on without.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if let Some(value) = request.headers_mut().get_mut(header::AUTHORIZATION) {
        // Whatever prints headers from here on leaves this one out.
        value.set_sensitive(true);
    }
    match bearer(request.headers()) {
        Ok(None) => {}
        Ok(Some(token)) => match app.api_tokens.check(token).await {
            Ok(caller) => drop(request.extensions_mut().insert(caller)),
            Err(error) => drop(request.extensions_mut().insert(Refused(refusal(&error)))),
        },
        Err(problem) => drop(request.extensions_mut().insert(Refused(problem))),
    }
    next.run(request).await
}

/// The caller that [`authenticate`] found.
pub fn caller_of(extensions: &http::Extensions) -> Result<Caller, Problem> {
    if let Some(caller) = extensions.get::<Caller>() {
        return Ok(caller.clone());
    }
    Err(extensions.get::<Refused>().map_or_else(missing, |r| r.0.clone()))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        caller_of(&parts.extensions)
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().ok().and_then(|v| {
        let (scheme, token) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    text.map(Some)
        .ok_or_else(|| unauthorized("The Authorization header is not `Bearer <API token>`."))
}

fn missing() -> Problem {
    unauthorized("The request carries no API token.")
}

fn refusal(error: &TokenError) -> Problem {
    match error {
        TokenError::Database(_) => Problem::internal(error),
        refused => unauthorized(sentence(&refused.to_string())),
    }
}

fn unauthorized(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "A valid API token is needed",
        detail,
        "Set IMPRINT_TOKEN or --token-file to a valid token; an admin makes one with `imprint token create`, and the first one is in admin.token in the controller's data folder (API: `Authorization: Bearer <token>`).",
    )
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn whatever_prints_the_headers_of_a_request_leaves_the_token_out() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::for_test(dir.path()).await;
        let router = Router::new()
            .route("/", get(async |headers: HeaderMap| format!("{headers:?}")))
            .layer(middleware::from_fn_with_state(app, authenticate));
        let request = Request::get("/").header("authorization", "Bearer imp_secret");
        let answer = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains("Sensitive") && !text.contains("imp_secret"),
            "{text}"
        );
    }
}
