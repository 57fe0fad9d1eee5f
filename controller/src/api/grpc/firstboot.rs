//! gRPC: the first-boot report of an installed system.

use imprint_proto::agent::v1::{
    FirstBootReport, FirstBootReportResponse,
    first_boot_server::{FirstBoot, FirstBootServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::enrollment::check_csr;
use crate::{api::rest::problem::chain, app::App, deploy::ReportError, guests::GuestError};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(FirstBootServer::new(FirstBootService(app.clone())));
}

/// `imprint.agent.v1.FirstBoot`.
#[derive(Debug, Clone)]
struct FirstBootService(App);

impl FirstBootService {
    /// The report was taken, now or earlier: its sender may keep sessions.
    async fn adopt(
        &self,
        deployment_id: &str,
        csr_der: &[u8],
    ) -> Result<Response<FirstBootReportResponse>, Status> {
        match self.0.guests.adopt(deployment_id, csr_der).await {
            Ok(adopted) => Ok(Response::new(FirstBootReportResponse {
                certificate_chain_der: adopted.chain_der,
                node_id: adopted.node_id,
            })),
            Err(GuestError::Identity(error)) => Err(Status::invalid_argument(chain(&error))),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a guest plugin was given no certificate");
                Err(Status::unavailable(
                    "The controller cannot give a certificate just now.",
                ))
            }
        }
    }
}

#[tonic::async_trait]
impl FirstBoot for FirstBootService {
    async fn report(
        &self,
        request: Request<FirstBootReport>,
    ) -> Result<Response<FirstBootReportResponse>, Status> {
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(Status::unauthenticated(
                "The report carries no `authorization: Bearer <report token>`.",
            ));
        };
        let token = zeroize::Zeroizing::new(token.trim().to_owned());
        let mut report = request.into_inner();
        let csr_der = std::mem::take(&mut report.csr_der);
        if !csr_der.is_empty() {
            check_csr(&csr_der)?;
        }
        let deployment_id = report.deployment_id.clone();
        match self.0.deployments.take_report(&token, report).await {
            Ok(()) if csr_der.is_empty() => Ok(Response::new(FirstBootReportResponse::default())),
            Ok(()) => self.adopt(&deployment_id, &csr_der).await,
            Err(error @ ReportError::Unauthenticated) => Err(Status::unauthenticated(format!("{error}."))),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a first-boot report could not be kept");
                Err(Status::unavailable(
                    "The controller cannot keep the report just now.",
                ))
            }
        }
    }
}
