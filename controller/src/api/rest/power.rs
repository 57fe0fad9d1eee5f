//! REST: power of servers, and the management controllers that switch them.

use std::fmt;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use zeroize::Zeroizing;

use super::{
    auth::Caller,
    problem::{Problem, ProblemDocument},
};
use crate::{
    app::App,
    identity::Permission,
    power::{
        self, BmcKind, BmcQuirks, BmcRecord, BootTarget, Hardware, Media, NewBmc, NodePower, PowerAction,
        PowerWish, WantedPower,
    },
};

/// Paths of this part.
pub fn router() -> Router<App> {
    Router::new()
        .route(
            "/v1/nodes/{node}/bmc",
            get(get_bmc).put(set_bmc).delete(delete_bmc),
        )
        .route("/v1/nodes/{node}/bmc/hardware", get(get_bmc_hardware))
        .route("/v1/nodes/{node}/bmc/media", put(set_media))
        .route("/v1/nodes/{node}/power", get(get_power).post(change_power))
}

/// Their description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        get_bmc,
        set_bmc,
        delete_bmc,
        get_bmc_hardware,
        set_media,
        get_power,
        change_power
    ))]
    struct Part;
    Part::openapi()
}

/// Where the BMC of a server is, and who the controller is there.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BmcRequest {
    /// How the server is powered.
    kind: BmcKind,
    /// Redfish: https://HOST[:PORT]; IPMI: HOST[:PORT]; manual: left out.
    #[serde(default)]
    address: String,
    /// Who the controller is there.
    #[serde(default)]
    user: String,
    /// Left out: the one that is kept, if kind, address and user stay as they are.
    #[schema(format = Password)]
    password: Option<String>,
    /// Id or path of the system, when the BMC has several; left out: the only one, or the one with the node's UUID or serial
    /// number.
    system: Option<String>,
    /// SHA-256 over the certificate of the BMC, hex: it is trusted, and no other.
    fingerprint: Option<String>,
    /// Certificates of the CAs that are trusted for this BMC, PEM. Without both, those of the controller's host are.
    ca_pem: Option<String>,
    /// The address is http://: whoever is in the management network can read the password.
    #[serde(default)]
    plain_http: bool,
    /// How it boots the ramdisk: from the network by `pxe` or `uefi-http`, or from a virtual `cd` that the controller makes for
    /// it; `pxe` when it is left out.
    boot: Option<BootTarget>,
    /// The server's serial console is read by IPMI (Serial over LAN) at the same host while deployments run, for their logs.
    #[serde(default)]
    serial_over_lan: bool,
    /// What people have to know who power it by hand.
    #[serde(default)]
    instructions: String,
    /// Where it differs from others.
    #[serde(default)]
    quirks: BmcQuirks,
}

impl fmt::Debug for BmcRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BmcRequest({} at {})", self.kind, self.address)
    }
}

/// What is to be done with the power of a server.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PowerRequest {
    /// What is wanted.
    action: PowerWish,
    /// With `off`: without asking the system to shut down.
    #[serde(default)]
    force: bool,
    /// With `on` and `cycle`: what it boots this once. With `cycle` a server that is on is switched off before, with `on` it is left alone.
    boot: Option<BootTarget>,
}

/// What is in the virtual CD of a server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BmcMedia {
    /// http(s)://… of an image of a CD, as the BMC reaches it; null: nothing.
    url: Option<String>,
    /// The ramdisk instead, made for this server, which has to start from it before long: what proves the server on it expires.
    #[serde(default)]
    ramdisk: bool,
}

/// What is known of the BMC of a server; `manual` when nothing is. The password is told by nothing.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/bmc",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "The BMC", body = BmcRecord),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_bmc(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<BmcRecord>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.power.bmc(&caller.viewer(), &node).await?))
}

/// Says where the BMC of a server is, or that it is powered by hand. Nothing is asked of the BMC: GET …/power does that.
#[utoipa::path(
    put,
    path = "/v1/nodes/{node}/bmc",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = BmcRequest,
    responses(
        (status = 200, description = "As it is now", body = BmcRecord),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be like this, or the password is missing", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn set_bmc(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<BmcRequest>, JsonRejection>,
) -> Result<Json<BmcRecord>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(request) = body?;
    let new = NewBmc {
        kind: request.kind,
        address: request.address,
        user: request.user,
        password: request.password.map(Zeroizing::new),
        system: request.system,
        fingerprint: request.fingerprint,
        ca_pem: request.ca_pem,
        plain_http: request.plain_http,
        boot: request.boot,
        serial_over_lan: request.serial_over_lan,
        instructions: request.instructions,
        quirks: request.quirks,
    };
    Ok(Json(app.power.set_bmc(&caller, &node, new).await?))
}

/// Forgets the BMC of a server, with its password: it is powered by hand.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{node}/bmc",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "As it was", body = BmcRecord),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete_bmc(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<BmcRecord>, Problem> {
    caller.require(Permission::WriteNodes)?;
    Ok(Json(app.power.forget_bmc(&caller, &node).await?))
}

/// Asks the BMC what the server consists of and how it is: inventory, temperatures, fans, power.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/bmc/hardware",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "What it says", body = Hardware),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has no BMC", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "What is kept of the BMC is not enough", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 503, description = "The BMC does not do it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn get_bmc_hardware(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<Hardware>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.power.hardware_of(&caller.viewer(), &node).await?))
}

/// Puts an image into the virtual CD of a server, or takes it out. With `boot` set to `cd` the server boots it.
#[utoipa::path(
    put,
    path = "/v1/nodes/{node}/bmc/media",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = BmcMedia,
    responses(
        (status = 200, description = "As it is now", body = BmcMedia),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has no BMC", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "That is no address of an image, or the server has no CD of the ramdisk", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 503, description = "The BMC does not do it", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn set_media(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<BmcMedia>, JsonRejection>,
) -> Result<Json<BmcMedia>, Problem> {
    caller.require(Permission::WriteNodes)?;
    let Json(media) = body?;
    let wanted = Media::of(media.url.as_deref(), media.ramdisk)?;
    power::set_media(&app, &caller, &node, wanted).await?;
    Ok(Json(media))
}

/// Asks the BMC whether the server is on, and tells what is under way. That the BMC does not answer is part of the answer.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/power",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    responses(
        (status = 200, description = "How the power is", body = NodePower),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get_power(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
) -> Result<Json<NodePower>, Problem> {
    caller.require(Permission::ReadNodes)?;
    Ok(Json(app.power.power_of(&caller.viewer(), &node).await?))
}

/// Has the BMC switch the server. Answers at once; the change is `running` until it is `done`, or has `failed`, as GET tells.
/// Asking again for what is under way is no error.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/power",
    tag = "power",
    params(("node" = String, Path, description = "Id, name, UUID, serial number or MAC address")),
    request_body = PowerRequest,
    responses(
        (status = 202, description = "What is under way", body = PowerAction),
        (status = 404, description = "No such node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has no BMC, or something else is under way", body = ProblemDocument,
         content_type = "application/problem+json"),
        (status = 422, description = "That makes no sense", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
async fn change_power(
    caller: Caller,
    State(app): State<App>,
    Path(node): Path<String>,
    body: Result<Json<PowerRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    caller.require(Permission::WriteDeployments)?;
    // What the caller may not see does not exist for him, whatever he sends.
    let node = app.nodes.find(&caller.viewer(), &node).await?.id;
    let Json(request) = body?;
    let wanted = WantedPower {
        action: request.action,
        force: request.force,
        boot: request.boot,
    };
    let begun = app.power.change(&caller, &node, wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}
