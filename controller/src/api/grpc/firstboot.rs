//! gRPC: the first-boot report of an installed system.

use imprint_proto::agent::v1::{
    FirstBootReport, FirstBootReportResponse,
    first_boot_server::{FirstBoot, FirstBootServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use crate::{api::rest::problem::chain, app::App, deploy::ReportError};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(FirstBootServer::new(FirstBootService(app.clone())));
}

/// `imprint.agent.v1.FirstBoot`.
#[derive(Debug, Clone)]
struct FirstBootService(App);

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
        match self.0.deployments.take_report(&token, request.into_inner()).await {
            Ok(()) => Ok(Response::new(FirstBootReportResponse {})),
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
