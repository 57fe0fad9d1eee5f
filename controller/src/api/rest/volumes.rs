//! REST: network volumes, and the SDI cards that show them to servers.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post, put},
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
    identity::Permission,
    volumes::{
        Backing, Detaching, DiskKind, FromImage, Limits, NewVolume, Orphans, PciFunction, VolumeError,
        VolumeRecord, WantedSeat, WantedVolume,
    },
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route("/v1/volumes", get(list_volumes).post(create_volume))
        .route("/v1/volumes/orphans", get(list_orphans))
        .route("/v1/volumes/{volume}", get(get_volume).delete(delete_volume))
        .route("/v1/volumes/{volume}/attach", post(attach_volume))
        .route("/v1/volumes/{volume}/detach", post(detach_volume))
        .route("/v1/nodes/{node}/card", put(set_card).get(get_card))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_volumes,
        create_volume,
        list_orphans,
        get_volume,
        delete_volume,
        attach_volume,
        detach_volume,
        set_card,
        get_card
    ))]
    struct Part;
    Part::openapi()
}

/// A volume to be made known, or to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VolumeRequest {
    /// Unique without regard to case.
    name: String,
    /// Id or name of the project whose it is to be; the platform's when it is left out.
    project: Option<String>,
    /// Its size in bytes, a multiple of 512: by this the disk is known where the card sets no serial numbers. With
    /// `from_image` it may be left out: then it is that of the image's disk.
    size_bytes: Option<u64>,
    /// What holds its bytes; left out: the controller's back-end makes the volume, full of zeros or `from_image`.
    backing: Option<Backing>,
    /// Id or name of an image whose disk the volume is to begin with. It is not with `backing`.
    from_image: Option<String>,
    /// Which disk of that image, when it has several.
    role: Option<String>,
    /// What it may use.
    #[serde(default)]
    limits: Limits,
}

/// Where a volume is to appear.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttachRequest {
    /// Id, name, UUID, serial number or MAC address of the server.
    node: String,
    /// What the server is to take it for; of no meaning for disks that are presented already.
    #[serde(default = "virtio_blk")]
    kind: DiskKind,
    /// The card's function; the first one without a volume when it is left out.
    function: Option<PciFunction>,
}

/// How a volume is taken away.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DetachRequest {
    /// Though a deployment, a system or a file system works with it. Operators may.
    #[serde(default)]
    force: bool,
    /// The same, and without asking the card: the volume is available at once, and what the card still shows becomes an orphan.
    /// For cards and servers that are gone; a server that still writes harms what another one does with the volume. Operators may.
    #[serde(default)]
    abandon: bool,
}

fn virtio_blk() -> DiskKind {
    DiskKind::VirtioBlk
}

/// Where the SDI card of a node is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Card {
    /// HOST:PORT of its OPI service; null: it has none.
    address: Option<String>,
}

/// A page of volumes.
#[derive(Debug, Serialize, ToSchema)]
struct VolumeList {
    /// The volumes, the oldest first.
    items: Vec<VolumeRecord>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VolumeListQuery {
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// All volumes.
#[utoipa::path(
    get,
    path = "/v1/volumes",
    tag = "volumes",
    params(VolumeListQuery),
    responses((status = 200, description = "A page of volumes", body = VolumeList))
)]
async fn list_volumes(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<VolumeListQuery>, QueryRejection>,
) -> Result<Json<VolumeList>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let Query(query) = query?;
    let after = query.page_token.unwrap_or_default();
    let page = app
        .volumes
        .list(&caller.viewer(), &after, query.page_size)
        .await?;
    Ok(Json(VolumeList {
        items: page.items,
        next_page_token: page.next,
    }))
}

/// Makes a volume known that its storage has already, or has the controller's back-end make one. With `from_image` it is
/// `preparing` until it is `available`, or has an `error`; `progress` says how far it is.
#[utoipa::path(
    post,
    path = "/v1/volumes",
    tag = "volumes",
    request_body = VolumeRequest,
    responses(
        (status = 201, description = "The volume", body = VolumeRecord),
        (status = 404, description = "No such project or image", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken, or there is no back-end", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "It cannot be like this, or not from this image", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 507, description = "The back-end has no room", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn create_volume(
    caller: Caller,
    State(app): State<App>,
    body: Result<Json<VolumeRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(request) = body?;
    let project_id = match &request.project {
        Some(wanted) => Some(app.tenants.project(&caller.viewer(), wanted).await?.id),
        None => None,
    };
    let (size_bytes, role) = (request.size_bytes, request.role);
    let from_image = request.from_image.map(|image| FromImage { image, role });
    let volume = match request.backing {
        Some(_) if from_image.is_some() => return Err(VolumeError::TwoContents.into()),
        Some(backing) => {
            let new = NewVolume {
                name: request.name,
                project_id,
                size_bytes: size_bytes.unwrap_or_default(),
                backing,
                limits: request.limits,
            };
            app.volumes.create(&caller, &new).await?
        }
        None => {
            let wanted = WantedVolume {
                name: request.name,
                project_id,
                size_bytes,
                limits: request.limits,
                from_image,
            };
            app.volumes.make(&caller, &wanted).await?
        }
    };
    let location = [(header::LOCATION, format!("/v1/volumes/{}", volume.id))];
    Ok((StatusCode::CREATED, location, Json(volume)).into_response())
}

/// What cards show, or hold open, and what the back-end has, that no volume stands for. Asks every card.
#[utoipa::path(
    get,
    path = "/v1/volumes/orphans",
    tag = "volumes",
    responses((status = 200, description = "What was found, and which cards did not answer", body = Orphans))
)]
async fn list_orphans(caller: Caller, State(app): State<App>) -> Result<Json<Orphans>, Problem> {
    caller.require(Permission::WriteNodes)?;
    Ok(Json(app.volumes.orphans().await?))
}

/// One volume.
#[utoipa::path(
    get,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    params(("volume" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The volume", body = VolumeRecord),
        (status = 404, description = "No such volume", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_volume(
    caller: Caller,
    State(app): State<App>,
    Path(volume): Path<String>,
) -> Result<Json<VolumeRecord>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.volumes.find(&caller.viewer(), &volume).await?))
}

/// Forgets a volume that no server has. What the controller's back-end has made is deleted with its bytes; other bytes stay
/// where they are.
#[utoipa::path(
    delete,
    path = "/v1/volumes/{volume}",
    tag = "volumes",
    params(("volume" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The volume as it was", body = VolumeRecord),
        (status = 404, description = "No such volume", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "A server has it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete_volume(
    caller: Caller,
    State(app): State<App>,
    Path(volume): Path<String>,
) -> Result<Json<VolumeRecord>, Problem> {
    caller.require(Permission::WriteNodes)?;
    Ok(Json(app.volumes.delete(&caller, &volume).await?))
}

/// Has a volume shown to a server by its card. Answers at once; the volume is `attaching` until it is `attached`, or has an
/// `error`. Asking again for the same is no error, and tries again after one.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/attach",
    tag = "volumes",
    params(("volume" = String, Path, description = "Id or name")),
    request_body = AttachRequest,
    responses(
        (status = 200, description = "The volume as it is now", body = VolumeRecord),
        (status = 404, description = "No such volume or node", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 409, description = "It is elsewhere, the function is taken, or the node has no card",
         body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It cannot have a function", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn attach_volume(
    caller: Caller,
    State(app): State<App>,
    Path(volume): Path<String>,
    body: Result<Json<AttachRequest>, JsonRejection>,
) -> Result<Json<VolumeRecord>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    // What the caller may not see does not exist for him, whatever he sends.
    let volume = app.volumes.find(&caller.viewer(), &volume).await?.id;
    let Json(request) = body?;
    let seat = WantedSeat {
        kind: request.kind,
        function: request.function,
    };
    let attached = app.volumes.attach(&caller, &volume, &request.node, seat).await?;
    Ok(Json(attached))
}

/// Has a volume taken away from its server, which must not use it any more. Answers at once; the volume is `detaching` until
/// it is `available`, or has an `error`. Disks that are presented already are available at once.
#[utoipa::path(
    post,
    path = "/v1/volumes/{volume}/detach",
    tag = "volumes",
    params(("volume" = String, Path, description = "Id or name")),
    request_body(content = Option<DetachRequest>, description = "Whether by force"),
    responses(
        (status = 200, description = "The volume as it is now", body = VolumeRecord),
        (status = 404, description = "No such volume", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Somebody works with it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn detach_volume(
    caller: Caller,
    State(app): State<App>,
    Path(volume): Path<String>,
    body: Result<Option<Json<DetachRequest>>, JsonRejection>,
) -> Result<Json<VolumeRecord>, Problem> {
    caller.require(Permission::WriteDeployments)?;
    // What the caller may not see does not exist for him, whatever he sends.
    let volume = app.volumes.find(&caller.viewer(), &volume).await?.id;
    let DetachRequest { force, abandon } = body?.map(|Json(request)| request).unwrap_or_default();
    let how = Detaching::of(force, abandon);
    if how.may_harm() {
        caller.require(Permission::WriteNodes)?;
    }
    let detached = app.volumes.detach(&app.guests, &caller, &volume, how).await?;
    Ok(Json(detached))
}

/// Where the SDI card of a machine is.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/card",
    tag = "volumes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "Its address", body = Card),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_card(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<Card>, Problem> {
    caller.require(Permission::ReadNodes)?;
    let node = app.nodes.find(&caller.viewer(), &node).await?;
    let address = app.volumes.card_of(&node.id).await?;
    Ok(Json(Card { address }))
}

/// Says where the SDI card of a machine is, or that it has none.
#[utoipa::path(
    put,
    path = "/v1/nodes/{node}/card",
    tag = "volumes",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = Card,
    responses(
        (status = 200, description = "As it is now", body = Card),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is another node's card, or has volumes", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That is no address", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn set_card(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<Card>, JsonRejection>,
) -> Result<Json<Card>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(card) = body?;
    app.volumes
        .set_card(&caller, &node, card.address.as_deref())
        .await?;
    Ok(Json(card))
}
