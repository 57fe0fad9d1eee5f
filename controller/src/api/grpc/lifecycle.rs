//! gRPC: the life of nodes besides deployments, for the service `imprint.v1.Nodes`.

use imprint_proto::v1::{
    AnnounceNodeRequest, BeginMaintenanceRequest, Deployment as WireDeployment, EndMaintenanceRequest,
    ListWipeCertificatesRequest, ListWipeCertificatesResponse, Maintenance as WireMaintenance,
    Node as WireNode, ReleaseNodeRequest, RetireNodeRequest, WipeCertificate as WireCertificate,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{
    caller, deployments,
    nodes::{status, timestamp, wire},
};
use crate::{
    app::App,
    deploy::{DeployError, ReleaseRequest, WipeCertificate},
    identity::Permission,
    inventory::{InventoryError, Maintenance, NewNode},
};

pub(super) fn maintenance(maintenance: Maintenance) -> WireMaintenance {
    WireMaintenance {
        reason: maintenance.reason,
        by: maintenance.by,
        since: Some(timestamp(maintenance.since)),
    }
}

pub(super) async fn announce(
    app: &App,
    request: Request<AnnounceNodeRequest>,
) -> Result<Response<WireNode>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::WriteNodes)?;
    let request = request.into_inner();
    let wanted = NewNode {
        name: request.name,
        macs: request.macs,
        smbios_uuid: Some(request.smbios_uuid),
        serial: Some(request.serial),
    };
    let node = app.nodes.announce(&caller, &wanted).await;
    Ok(Response::new(wire(app, node.map_err(status::<InventoryError>)?)))
}

pub(super) async fn begin_maintenance(
    app: &App,
    request: Request<BeginMaintenanceRequest>,
) -> Result<Response<WireNode>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::WriteNodes)?;
    let request = request.into_inner();
    let node = app
        .nodes
        .set_maintenance(&caller, &request.node, Some(&request.reason))
        .await;
    Ok(Response::new(wire(app, node.map_err(status::<InventoryError>)?)))
}

pub(super) async fn end_maintenance(
    app: &App,
    request: Request<EndMaintenanceRequest>,
) -> Result<Response<WireNode>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::WriteNodes)?;
    let node = app
        .nodes
        .set_maintenance(&caller, &request.into_inner().node, None)
        .await;
    Ok(Response::new(wire(app, node.map_err(status::<InventoryError>)?)))
}

pub(super) async fn retire(
    app: &App,
    request: Request<RetireNodeRequest>,
) -> Result<Response<WireNode>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::WriteNodes)?;
    let node = app.nodes.retire(&caller, &request.into_inner().node).await;
    Ok(Response::new(wire(app, node.map_err(status::<InventoryError>)?)))
}

pub(super) async fn release(
    app: &App,
    request: Request<ReleaseNodeRequest>,
) -> Result<Response<WireDeployment>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::WriteDeployments)?;
    let request = request.into_inner();
    let wipe = Some(request.wipe.as_str()).filter(|word| !word.is_empty());
    let wipe = wipe
        .map(str::parse)
        .transpose()
        .map_err(|error: crate::words::UnknownWord| Status::invalid_argument(error.to_string()))?;
    let asked = ReleaseRequest {
        wipe,
        leave: request.leave,
    };
    let release = app.deployments.release(&caller, &request.node, &asked).await;
    Ok(Response::new(deployments::wire(
        release.map_err(status::<DeployError>)?,
    )))
}

fn certificate(certificate: WipeCertificate) -> WireCertificate {
    let document = certificate.document;
    WireCertificate {
        document_json: json!(document).to_string(),
        id: certificate.id,
        deployment_id: certificate.deployment_id,
        node_id: certificate.node_id,
        node_name: certificate.node_name,
        project_id: certificate.project_id,
        received_at: Some(timestamp(certificate.received_at)),
        disk_serial: document.disk.serial,
        disk_wwn: document.disk.wwn,
        disk_model: document.disk.model,
        disk_size_bytes: document.disk.size_bytes,
        asked: document.asked,
        method: document.method,
        wiped: document.wiped,
        statement: document.statement,
        cause: document.cause,
        remedy: document.remedy,
    }
}

pub(super) async fn list_wipe_certificates(
    app: &App,
    request: Request<ListWipeCertificatesRequest>,
) -> Result<Response<ListWipeCertificatesResponse>, Status> {
    let caller = caller(&request)?;
    caller.require(Permission::ReadNodes)?;
    let request = request.into_inner();
    let page = app
        .deployments
        .wipe_certificates(
            &caller.viewer(),
            Some(&request.node),
            Some(&request.disk),
            request.page_size,
            Some(&request.page_token),
        )
        .await
        .map_err(status::<DeployError>)?;
    Ok(Response::new(ListWipeCertificatesResponse {
        certificates: page.items.into_iter().map(certificate).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }))
}
