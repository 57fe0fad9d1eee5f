//! REST: projects, and who is what in them.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::{Permission, Project, ProjectChange, ProjectUser, Role},
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/projects", get(list_projects).post(create_project))
        .route(
            "/v1/projects/{project}",
            get(get_project).patch(update_project).delete(delete_project),
        )
        .route("/v1/projects/{project}/users", get(list_project_users))
        .route(
            "/v1/projects/{project}/users/{user}",
            put(grant_role).delete(withdraw_role),
        )
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_projects,
        create_project,
        get_project,
        update_project,
        delete_project,
        list_project_users,
        grant_role,
        withdraw_role
    ))]
    struct Part;
    Part::openapi()
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    pub(super) page_size: u32,
    /// `next_page_token` of the page before.
    pub(super) page_token: Option<String>,
}

/// A page of projects.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectList {
    /// The projects, oldest first.
    items: Vec<Project>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// The users of a project.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectUserList {
    /// The users, by name.
    items: Vec<ProjectUser>,
    /// Always null: the list has one page.
    next_page_token: Option<String>,
}

/// A project to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewProject {
    /// 1 to 63 lower-case letters, digits and inner hyphens.
    name: String,
    /// For people; at most 1,024 characters.
    description: Option<String>,
    /// Private images that each of its users may have; left out or 0: what the configuration says.
    max_images_per_user: Option<u64>,
    /// Bytes that its images may take in the store; left out or 0: what the configuration says.
    max_stored_bytes: Option<u64>,
}

/// What a user is to be in a project.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// The role; admin and operator in the project `platform` only.
    role: Role,
}

/// The projects that the caller may see: its own, or all for operators and admins.
#[utoipa::path(
    get,
    path = "/v1/projects",
    tag = "tenants",
    params(PageQuery),
    responses((status = 200, description = "A page of projects", body = ProjectList))
)]
async fn list_projects(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<ProjectList>, Problem> {
    let Query(query) = query?;
    let page = app
        .tenants
        .projects(&caller.viewer(), query.page_size, query.page_token.as_deref())
        .await?;
    Ok(Json(ProjectList {
        items: page.items,
        next_page_token: page.next,
    }))
}

/// Makes a project. Admins only.
#[utoipa::path(
    post,
    path = "/v1/projects",
    tag = "tenants",
    request_body = NewProject,
    responses(
        (status = 201, description = "Made", body = Project),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "That cannot be a name, a description or a limit", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_project(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<NewProject>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Json(new) = body?;
    let change = ProjectChange {
        description: new.description,
        max_images_per_user: new.max_images_per_user,
        max_stored_bytes: new.max_stored_bytes,
    };
    let project = app.tenants.create_project(&caller, &new.name, &change).await?;
    let location = [(header::LOCATION, format!("/v1/projects/{}", project.id))];
    Ok((StatusCode::CREATED, location, Json(project)).into_response())
}

/// One project.
#[utoipa::path(
    get,
    path = "/v1/projects/{project}",
    tag = "tenants",
    params(("project" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The project", body = Project),
        (status = 404, description = "No such project, or not for the caller", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_project(
    caller: Caller,
    State(app): State<App>,
    Path(project): Path<String>,
) -> Result<Json<Project>, Problem> {
    Ok(Json(app.tenants.project(&caller.viewer(), &project).await?))
}

/// Changes what is said of a project; what is left out stays. Admins only.
#[utoipa::path(
    patch,
    path = "/v1/projects/{project}",
    tag = "tenants",
    params(("project" = String, Path, description = "Id or name")),
    request_body = ProjectChange,
    responses(
        (status = 200, description = "The project as it is now", body = Project),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such project", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "That cannot be a description or a limit", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn update_project(
    caller: Caller,
    State(app): State<App>,
    Path(project): Path<String>,
    body: Result<Json<ProjectChange>, JsonRejection>,
) -> Result<Json<Project>, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Json(change) = body?;
    Ok(Json(
        app.tenants.update_project(&caller, &project, &change).await?,
    ))
}

/// Deletes a project that has no images, nodes or running jobs, with its tokens and roles. Admins only.
#[utoipa::path(
    delete,
    path = "/v1/projects/{project}",
    tag = "tenants",
    params(("project" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The project as it was", body = Project),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such project", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It still has something, which is named, or it is `platform`",
         body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete_project(
    caller: Caller,
    State(app): State<App>,
    Path(project): Path<String>,
) -> Result<Json<Project>, Problem> {
    caller.require(Permission::ManageTenants)?;
    Ok(Json(app.tenants.delete_project(&caller, &project).await?))
}

/// Who is what in a project.
#[utoipa::path(
    get,
    path = "/v1/projects/{project}/users",
    tag = "tenants",
    params(("project" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "Its users", body = ProjectUserList),
        (status = 404, description = "No such project, or not for the caller", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_project_users(
    caller: Caller,
    State(app): State<App>,
    Path(project): Path<String>,
) -> Result<Json<ProjectUserList>, Problem> {
    let items = app.tenants.project_users(&caller.viewer(), &project).await?;
    Ok(Json(ProjectUserList {
        items,
        next_page_token: None,
    }))
}

/// Gives a user a role in a project, in the place of the one it had. Admins only.
#[utoipa::path(
    put,
    path = "/v1/projects/{project}/users/{user}",
    tag = "tenants",
    params(
        ("project" = String, Path, description = "Id or name"),
        ("user" = String, Path, description = "Id or name"),
    ),
    request_body = Grant,
    responses(
        (status = 200, description = "What the user is now", body = ProjectUser),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such project or user", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "No admin could call any more", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "The role does not exist there", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn grant_role(
    caller: Caller,
    State(app): State<App>,
    Path((project, user)): Path<(String, String)>,
    body: Result<Json<Grant>, JsonRejection>,
) -> Result<Json<ProjectUser>, Problem> {
    caller.require(Permission::ManageTenants)?;
    let Json(grant) = body?;
    Ok(Json(
        app.tenants.grant(&caller, &project, &user, grant.role).await?,
    ))
}

/// Takes a user out of a project; its tokens for the project stop working at once. Admins only.
#[utoipa::path(
    delete,
    path = "/v1/projects/{project}/users/{user}",
    tag = "tenants",
    params(
        ("project" = String, Path, description = "Id or name"),
        ("user" = String, Path, description = "Id or name"),
    ),
    responses(
        (status = 200, description = "What the user was", body = ProjectUser),
        (status = 403, description = "The caller is no admin", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "No such project or user", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "No admin could call any more", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "The user has no role there", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn withdraw_role(
    caller: Caller,
    State(app): State<App>,
    Path((project, user)): Path<(String, String)>,
) -> Result<Json<ProjectUser>, Problem> {
    caller.require(Permission::ManageTenants)?;
    Ok(Json(app.tenants.withdraw(&caller, &project, &user).await?))
}
