//! REST: images that are shared, by those who share and by those who are invited.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::get,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Caller, Problem, ProblemDocument};
use crate::{
    app::App,
    catalog::{Invitation, Member, MemberState},
    identity::Permission,
};

/// Projects that are invited at once.
const MAX_INVITED: usize = 1000;

/// Paths of this part.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route(
            "/v1/images/{image}/members",
            get(list_members).post(invite_members),
        )
        .route(
            "/v1/images/{image}/members/{project}",
            get(get_member).put(answer_invitation).delete(remove_member),
        )
        .route("/v1/invitations", get(list_invitations))
}

/// Their description.
pub(super) fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_members,
        invite_members,
        get_member,
        answer_invitation,
        remove_member,
        list_invitations
    ))]
    struct Part;
    Part::openapi()
}

/// The projects that an image is shared with.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberList {
    /// The projects, by name.
    items: Vec<Member>,
    /// Always null: the list has one page.
    next_page_token: Option<String>,
}

/// Whom to share with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    /// Ids of projects; a project that the caller may see also by name.
    projects: Vec<String>,
}

/// The answer to an invitation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// accepted or rejected.
    state: MemberState,
}

/// Images that others share.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationList {
    /// The images.
    items: Vec<Invitation>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which invitations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InvitationQuery {
    /// Only those in this state.
    state: Option<MemberState>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// The projects that an image is shared with: all for its owner, and for others their own entry.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/members",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The projects", body = MemberList),
        (status = 404, description = "There is no such image", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn list_members(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
) -> Result<Json<MemberList>, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(list(app.catalog.members(&caller, &image).await?))
}

fn list(items: Vec<Member>) -> Json<MemberList> {
    Json(MemberList {
        items,
        next_page_token: None,
    })
}

/// Shares an image with projects: with all of them, or with none. Each has to accept it. The answer is everybody it is
/// shared with now.
#[utoipa::path(
    post,
    path = "/v1/images/{image}/members",
    tag = "sharing",
    params(("image" = String, Path, description = "Id or name")),
    request_body = Invite,
    responses(
        (status = 200, description = "Offered", body = MemberList),
        (status = 403, description = "It belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such image, or no such project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It is public, published, encrypted, a full machine of no backup, or shared with as many \
         as may be", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It belongs to another region, or to one of the projects", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn invite_members(
    caller: Caller,
    State(app): State<App>,
    Path(image): Path<String>,
    body: Result<Json<Invite>, JsonRejection>,
) -> Result<Json<MemberList>, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(Invite { projects }) = body?;
    if projects.is_empty() || projects.len() > MAX_INVITED {
        return Err(Problem::invalid(
            format!(
                "There are {} projects, and 1 to {MAX_INVITED} are taken.",
                projects.len()
            ),
            "Send {\"projects\": [\"ID\", …]}.",
        ));
    }
    Ok(list(app.catalog.invite(&caller, &image, &projects).await?))
}

/// One project that an image is shared with.
#[utoipa::path(
    get,
    path = "/v1/images/{image}/members/{project}",
    tag = "sharing",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("project" = String, Path, description = "Id of the project, or `own`"),
    ),
    responses(
        (status = 200, description = "The project and its answer", body = Member),
        (status = 404, description = "The image is not shared with it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_member(
    caller: Caller,
    State(app): State<App>,
    Path((image, project)): Path<(String, String)>,
) -> Result<Json<Member>, Problem> {
    caller.require(Permission::ReadImages)?;
    Ok(Json(app.catalog.member(&caller, &image, &project).await?))
}

/// Accepts or rejects an image that another project shares. The invited project may change its mind at any time.
#[utoipa::path(
    put,
    path = "/v1/images/{image}/members/{project}",
    tag = "sharing",
    params(
        ("image" = String, Path, description = "Id, or name as in the invitation"),
        ("project" = String, Path, description = "`own`, or the id of the caller's project"),
    ),
    request_body = Answer,
    responses(
        (status = 200, description = "Answered", body = Member),
        (status = 404, description = "There is no such invitation", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "Another project is invited", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn answer_invitation(
    caller: Caller,
    State(app): State<App>,
    Path((image, project)): Path<(String, String)>,
    body: Result<Json<Answer>, JsonRejection>,
) -> Result<Json<Member>, Problem> {
    caller.require(Permission::WriteImages)?;
    let Json(Answer { state }) = body?;
    let member = app
        .catalog
        .answer_invitation(&caller, &image, &project, state)
        .await?;
    Ok(Json(member))
}

/// Stops sharing an image with a project, at once. Its deployments that run go on; it begins no new ones.
#[utoipa::path(
    delete,
    path = "/v1/images/{image}/members/{project}",
    tag = "sharing",
    params(
        ("image" = String, Path, description = "Id or name"),
        ("project" = String, Path, description = "Id of the project"),
    ),
    responses(
        (status = 200, description = "What it was", body = Member),
        (status = 403, description = "The image belongs to another project", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 404, description = "The image is not shared with it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn remove_member(
    caller: Caller,
    State(app): State<App>,
    Path((image, project)): Path<(String, String)>,
) -> Result<Json<Member>, Problem> {
    caller.require(Permission::WriteImages)?;
    Ok(Json(app.catalog.remove_member(&caller, &image, &project).await?))
}

/// The images that others share with the caller's project. Until it accepts, it sees them here only.
#[utoipa::path(
    get,
    path = "/v1/invitations",
    tag = "sharing",
    params(InvitationQuery),
    responses((status = 200, description = "A page of invitations", body = InvitationList))
)]
async fn list_invitations(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<InvitationQuery>, QueryRejection>,
) -> Result<Json<InvitationList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(query) = query?;
    let page = app
        .catalog
        .invitations(&caller, query.state, query.page_size, query.page_token.as_deref())
        .await?;
    Ok(Json(InvitationList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}
