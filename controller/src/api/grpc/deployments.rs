//! gRPC: deployments.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imprint_hardware::{
    Reason,
    disk::{DiskPlan, Outcome, Verdict},
};
use imprint_proto::v1::{
    AcceptDeploymentRequest, CancelDeploymentRequest, CreateDeploymentRequest, Deployment as WireDeployment,
    DeploymentPlan as WirePlan, DiskPlan as WireDiskPlan, DiskVerdict, FirstBoot as WireFirstBoot,
    FirstBootPhase, GetDeploymentRequest, ListDeploymentsRequest, ListDeploymentsResponse, ReadLogRequest,
    ReadLogResponse, Reason as WireReason,
    deployments_server::{Deployments, DeploymentsServer},
    read_log_request::Part as WirePart,
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    nodes::{fit, problem, status, timestamp},
};
use crate::{
    app::App,
    deploy::{DeployError, DeployRequest, Deployment, FirstBoot, Terms},
    identity::Permission,
    logs::Part,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(DeploymentsServer::new(DeploymentsService(app.clone())));
}

/// `imprint.v1.Deployments`.
#[derive(Debug, Clone)]
struct DeploymentsService(App);

pub(super) fn wire(deployment: Deployment) -> WireDeployment {
    WireDeployment {
        id: deployment.id,
        node_id: deployment.node_id,
        project_id: deployment.project_id,
        requested_by: deployment.requested_by,
        image_id: deployment.image_id,
        state: deployment.state.to_string(),
        step: deployment.step.to_string(),
        problem: deployment.problem.map(problem),
        created_at: Some(timestamp(deployment.created_at)),
        finished_at: deployment.finished_at.map(timestamp),
        warnings: deployment.warnings,
        fit: deployment.fit.map(fit),
        first_boot: deployment.first_boot.map(first_boot),
        purpose: deployment.purpose.to_string(),
        batch_id: deployment.batch_id.unwrap_or_default(),
        rescue_until: match deployment.terms {
            Some(Terms::Rescue(terms)) => Some(timestamp(terms.until)),
            _ => None,
        },
    }
}

fn first_boot(report: FirstBoot) -> WireFirstBoot {
    let phases = report.boot_phases.into_iter();
    WireFirstBoot {
        hostname: report.hostname,
        os_name: report.os_name,
        kernel_release: report.kernel_release,
        boot_mode: report.boot_mode,
        boot_entry: report.boot_entry,
        addresses: report.addresses,
        root_device: report.root_device,
        cloud_init_status: report.cloud_init_status,
        cloud_init_errors: report.cloud_init_errors,
        warnings: report.warnings,
        boot_phases: phases
            .map(|phase| FirstBootPhase {
                name: phase.name,
                start_ms: phase.start_ms,
                duration_ms: phase.duration_ms,
            })
            .collect(),
        waiting_for: report.waiting_for,
        received_at: Some(timestamp(report.received_at)),
    }
}

pub(super) fn asked(request: CreateDeploymentRequest) -> DeployRequest {
    DeployRequest {
        node: request.node,
        image: request.image,
        family: Some(request.family),
        role: Some(request.role),
        disk: Some(request.disk),
        user_data: Some(request.user_data),
        user_data_base64: (!request.user_data_bytes.is_empty())
            .then(|| STANDARD.encode(&request.user_data_bytes)),
        network_config: Some(request.network_config),
        hostname: Some(request.hostname),
        boot_order: Some(request.boot_order),
        image_users: Some(request.image_users).filter(|word| !word.is_empty()),
        data_source: Some(request.data_source).filter(|source| !source.is_empty()),
        fresh_uuids: request.fresh_uuids.then_some(true),
        kernel_arguments: request.kernel_arguments,
        seed_partition: request.seed_partition,
        console: Some(request.console).filter(|console| !console.is_empty()),
        grow_root: request.grow_root,
        finish: request.finish,
        reinstall: Some(request.reinstall),
        allow_unverified: Some(request.allow_unverified),
        volume: Some(request.volume).filter(|volume| !volume.is_empty()),
        volume_kind: Some(request.volume_kind).filter(|kind| !kind.is_empty()),
        keep_content: request.keep_content.then_some(true),
        wipe: request.wipe,
        dry_run: false,
    }
}

fn reasons(reasons: Vec<Reason>) -> Vec<WireReason> {
    let wire = |reason: Reason| WireReason {
        code: reason.code.to_owned(),
        text: reason.text,
        remedy: reason.remedy,
    };
    reasons.into_iter().map(wire).collect()
}

fn verdict(verdict: Verdict) -> DiskVerdict {
    DiskVerdict {
        disk: verdict.disk,
        serial: verdict.serial,
        wwn: verdict.wwn,
        by_path: verdict.by_path,
        size_bytes: verdict.size_bytes,
        on_it: verdict.on_it,
        outcome: match verdict.outcome {
            Outcome::Chosen => "chosen",
            Outcome::Matches => "matches",
            Outcome::Refused => "refused",
        }
        .to_owned(),
        reasons: reasons(verdict.reasons),
        warnings: reasons(verdict.warnings),
    }
}

fn disk_plan(plan: DiskPlan) -> WireDiskPlan {
    WireDiskPlan {
        rule: plan.rule,
        disk: Some(verdict(plan.disk)),
        wiped: plan.wiped,
        stays: plan.stays,
        others: plan.others.into_iter().map(verdict).collect(),
        warnings: reasons(plan.warnings),
    }
}

/// The idempotency key of a request that makes deployments.
pub(super) fn key_of<T>(request: &Request<T>) -> Option<String> {
    let key = request.metadata().get("idempotency-key");
    key.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}

#[tonic::async_trait]
impl Deployments for DeploymentsService {
    async fn create_deployment(
        &self,
        request: Request<CreateDeploymentRequest>,
    ) -> Result<Response<WireDeployment>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let key = key_of(&request);
        let request = asked(request.into_inner());
        let deployment = self
            .0
            .deployments
            .create(&caller, &request, key.as_deref())
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(wire(deployment)))
    }

    async fn plan_deployment(
        &self,
        request: Request<CreateDeploymentRequest>,
    ) -> Result<Response<WirePlan>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let plan = self
            .0
            .deployments
            .plan(&caller, &asked(request.into_inner()))
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(WirePlan {
            node_id: plan.node_id,
            image_id: plan.image_id,
            image_name: plan.image_name,
            warnings: plan.warnings,
            disk_rule_model: plan.disk_rule_model,
            disk: plan.disk.map(disk_plan),
        }))
    }

    async fn get_deployment(
        &self,
        request: Request<GetDeploymentRequest>,
    ) -> Result<Response<WireDeployment>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadDeployments)?;
        let deployment = self
            .0
            .deployments
            .get(&caller.viewer(), &request.into_inner().id)
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(wire(deployment)))
    }

    async fn list_deployments(
        &self,
        request: Request<ListDeploymentsRequest>,
    ) -> Result<Response<ListDeploymentsResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadDeployments)?;
        let request = request.into_inner();
        let page = self
            .0
            .deployments
            .list(
                &caller.viewer(),
                Some(&request.node),
                request.page_size,
                Some(&request.page_token),
            )
            .await
            .map_err(status::<DeployError>)?;
        let deployments = page.items.into_iter().map(wire).collect();
        Ok(Response::new(ListDeploymentsResponse {
            deployments,
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn cancel_deployment(
        &self,
        request: Request<CancelDeploymentRequest>,
    ) -> Result<Response<WireDeployment>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let deployment = self
            .0
            .deployments
            .cancel(&caller, &request.into_inner().id)
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(wire(deployment)))
    }

    async fn accept_deployment(
        &self,
        request: Request<AcceptDeploymentRequest>,
    ) -> Result<Response<WireDeployment>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let deployment = self
            .0
            .deployments
            .accept(&caller, &request.into_inner().id)
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(wire(deployment)))
    }

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Result<Response<ReadLogResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadDeployments)?;
        let request = request.into_inner();
        let part = match request.part {
            None => Part::All,
            Some(WirePart::TailLines(lines)) => Part::Tail(usize::try_from(lines).unwrap_or(usize::MAX)),
            Some(WirePart::From(place)) => Part::From(place),
        };
        let log = self
            .0
            .deployments
            .read_log(&caller.viewer(), &request.id, part)
            .await
            .map_err(status::<DeployError>)?;
        Ok(Response::new(ReadLogResponse {
            text: log.text,
            next: log.next,
        }))
    }
}
