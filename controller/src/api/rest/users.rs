//! REST: users.

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
    identity::{Permission, User},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/users", get(list_users).post(create_user))
        .route("/v1/users/{user}", get(get_user))
        .route("/v1/users/{user}/disable", post(disable_user))
        .route("/v1/users/{user}/enable", post(enable_user))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(list_users, create_user, get_user, disable_user, enable_user))]
    struct Part;
    Part::openapi()
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserList {
    /// The users, oldest first.
    items: Vec<User>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// A user to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// 1 to 64 letters, digits and `. _ - @`.
    name: String,
}

/// All users. Admins only.
#[utoipa::path(
    get,
    path = "/v1/users",
    tag = "tenants",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of users", body = UserList),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_users(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<UserList>, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Query(query) = query?;
    let page = app
        .tenants
        .users(query.page_size, query.page_token.as_deref())
        .await?;
    Ok(Json(UserList {
        items: page.items,
        next_page_token: page.next,
    }))
}

/// Makes a user, who has no role anywhere yet. Admins only.
#[utoipa::path(
    post,
    path = "/v1/users",
    tag = "tenants",
    request_body = NewUser,
    responses(
        (status = 201, description = "Made", body = User),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "That cannot be a name", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_user(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Json(new) = body?;
    let user = app.tenants.create_user(&caller, &new.name).await?;
    let location = [(header::LOCATION, format!("/v1/users/{}", user.id))];
    Ok((StatusCode::CREATED, location, Json(user)).into_response())
}

/// One user. Admins only; `GET /v1/whoami` says who the caller is.
#[utoipa::path(
    get,
    path = "/v1/users/{user}",
    tag = "tenants",
    params(("user" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such user", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_user(
    caller: Caller,
    State(app): State<App>,
    Path(user): Path<String>,
) -> Result<Json<User>, Problem> {
    caller.require(Permission::ManageTenants)?;
    Ok(Json(app.tenants.user(&user).await?))
}

/// From now on no token of the user works. Admins only.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/disable",
    tag = "tenants",
    params(("user" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The user as it is now", body = User),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such user", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No admin could call any more", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn disable_user(
    caller: Caller,
    State(app): State<App>,
    Path(user): Path<String>,
) -> Result<Json<User>, Problem> {
    caller.require(Permission::ManageTenants)?;
    Ok(Json(app.tenants.disable_user(&caller, &user).await?))
}

/// The user's tokens work again. Admins only.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/enable",
    tag = "tenants",
    params(("user" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The user as it is now", body = User),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such user", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn enable_user(
    caller: Caller,
    State(app): State<App>,
    Path(user): Path<String>,
) -> Result<Json<User>, Problem> {
    caller.require(Permission::ManageTenants)?;
    Ok(Json(app.tenants.enable_user(&caller, &user).await?))
}
