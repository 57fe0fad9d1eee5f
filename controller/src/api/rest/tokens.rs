//! REST: API tokens, and who the caller is.

use std::fmt;

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, OpenApi, ToSchema};
use zeroize::Zeroizing;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::{Permission, Token, TokenQuery, TokenRequest, WhoAmI},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/whoami", get(who_am_i))
        .route("/v1/tokens", get(list_tokens).post(create_token))
        .route("/v1/tokens/{token}", get(get_token).delete(revoke_token))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(who_am_i, list_tokens, create_token, get_token, revoke_token))]
    struct Part;
    Part::openapi()
}

/// A page of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// The tokens, oldest first, without their secrets.
    items: Vec<Token>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    /// The token.
    #[serde(flatten)]
    token: Token,
    /// What callers send. It is not kept, so this is the only time to read it.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    secret: Zeroizing<String>,
}

impl fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeToken")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

fn as_text<S: Serializer>(secret: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret)
}

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TokenListQuery {
    /// Only those of this user: id or name.
    user: Option<String>,
    /// Only those for this project: id or name.
    project: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Who the caller is, and what it may do.
#[utoipa::path(
    get,
    path = "/v1/whoami",
    tag = "tenants",
    responses((status = 200, description = "The caller", body = WhoAmI))
)]
async fn who_am_i(caller: Caller, State(app): State<App>) -> Result<Json<WhoAmI>, Problem> {
    Ok(Json(app.tenants.who_am_i(&caller).await?))
}

/// The caller's own tokens for its project; all for admins. Never their secrets.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "tenants",
    params(TokenListQuery),
    responses((status = 200, description = "A page of tokens", body = TokenList))
)]
async fn list_tokens(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<TokenListQuery>, QueryRejection>,
) -> Result<Json<TokenList>, Problem> {
    caller.require(Permission::WriteTokens)?;
    let Query(query) = query?;
    let page = app
        .tenants
        .tokens(
            &caller,
            &TokenQuery {
                user: query.user,
                project: query.project,
                page_size: query.page_size,
                page_token: query.page_token,
            },
        )
        .await?;
    Ok(Json(TokenList {
        items: page.items,
        next_page_token: page.next,
    }))
}

/// Makes a token. The answer has its secret, and nothing else ever has.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "tenants",
    request_body = TokenRequest,
    responses(
        (status = 201, description = "Made", body = MadeToken),
        (status = 403, description = "More than the caller or the user may do", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such project or user", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The user is disabled, or has too many", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "The user has no role there, the role does not exist there, or the lifetime is not allowed",
         body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create_token(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteTokens)?;
    let Json(request) = body?;
    let (token, made) = app.tenants.create_token(&caller, &request).await?;
    let headers = [
        (header::LOCATION, format!("/v1/tokens/{}", token.id)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let made = MadeToken {
        token,
        secret: made.secret,
    };
    Ok((StatusCode::CREATED, headers, Json(made)).into_response())
}

/// One token, without its secret.
#[utoipa::path(
    get,
    path = "/v1/tokens/{token}",
    tag = "tenants",
    params(("token" = String, Path, description = "Id of the token")),
    responses(
        (status = 200, description = "The token", body = Token),
        (status = 404, description = "No such token, or not for the caller", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_token(
    caller: Caller,
    State(app): State<App>,
    Path(token): Path<String>,
) -> Result<Json<Token>, Problem> {
    caller.require(Permission::WriteTokens)?;
    Ok(Json(app.tenants.token(&caller, &token).await?))
}

/// Takes a token back: it stops working at once. A token may always revoke itself.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{token}",
    tag = "tenants",
    params(("token" = String, Path, description = "Id of the token")),
    responses(
        (status = 200, description = "The token as it is now", body = Token),
        (status = 404, description = "No such token, or not for the caller", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It is the last one of an admin", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn revoke_token(
    caller: Caller,
    State(app): State<App>,
    Path(token): Path<String>,
) -> Result<Json<Token>, Problem> {
    if !token.eq_ignore_ascii_case(&caller.token_id) {
        caller.require(Permission::WriteTokens)?;
    }
    Ok(Json(app.tenants.revoke_token(&caller, &token).await?))
}
