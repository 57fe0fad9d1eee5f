//! `imprint.v1.Jobs`.

use imprint_proto::v1::{
    CancelJobRequest, GetJobRequest, Job as WireJob, JobProblem, JobProgress as WireProgress,
    ListJobsRequest, ListJobsResponse,
    jobs_server::{Jobs, JobsServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, images::timestamp, nodes::status};
use crate::{
    api::rest::problem::{Problem, sentence},
    app::App,
    identity::{Permission, Viewer},
    jobs::{Job, JobError, JobQuery},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(JobsServer::new(JobsService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct JobsService(App);

/// A job as the wire has it.
pub(super) fn wire(job: Job) -> WireJob {
    WireJob {
        id: job.id,
        kind: job.kind.to_string(),
        project_id: job.project_id,
        image_id: job.image_id.unwrap_or_default(),
        state: job.state.to_string(),
        request_json: job.request.to_string(),
        progress: Some(WireProgress {
            step: job.progress.step,
            bytes_done: job.progress.bytes_done,
            bytes_total: job.progress.bytes_total,
        }),
        result_json: job.result.map(|value| value.to_string()).unwrap_or_default(),
        problem: job.problem.map(|problem| JobProblem {
            r#type: problem.kind,
            title: problem.title,
            status: problem.status.into(),
            detail: problem.detail,
            remedy: problem.remedy,
        }),
        requested_by: job.requested_by,
        cancel_requested_at: job.cancel_requested_at.map(timestamp),
        created_at: Some(timestamp(job.created_at)),
        started_at: job.started_at.map(timestamp),
        ended_at: job.ended_at.map(timestamp),
    }
}

/// What the caller may see, if it may do this at all.
fn viewer<T>(request: &Request<T>, permission: Permission) -> Result<Viewer, Status> {
    let caller = caller(request)?;
    caller.require(permission)?;
    Ok(caller.viewer())
}

/// A word of a request; nothing when it is empty.
fn word<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| {
        Problem::invalid(
            sentence(&error.to_string()),
            "The kinds are import, copy, export, verify and gc; the states queued, running, succeeded, failed and cancelled.",
        )
        .to_status()
    })
}

#[tonic::async_trait]
impl Jobs for JobsService {
    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let viewer = viewer(&request, Permission::ReadJobs)?;
        let request = request.into_inner();
        let query = JobQuery {
            kind: word(&request.kind)?,
            state: word(&request.state)?,
            page_size: request.page_size,
            page_token: Some(request.page_token),
        };
        let page = self
            .0
            .jobs
            .list(&viewer, &query)
            .await
            .map_err(status::<JobError>)?;
        Ok(Response::new(ListJobsResponse {
            jobs: page.items.into_iter().map(wire).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<WireJob>, Status> {
        let viewer = viewer(&request, Permission::ReadJobs)?;
        let id = request.into_inner().id;
        let job = self.0.jobs.get(&viewer, &id).await.map_err(status::<JobError>)?;
        Ok(Response::new(wire(job)))
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<WireJob>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteJobs)?;
        let id = request.into_inner().id;
        let job = self
            .0
            .jobs
            .cancel(&caller, &id)
            .await
            .map_err(status::<JobError>)?;
        Ok(Response::new(wire(job)))
    }
}
