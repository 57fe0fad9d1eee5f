//! `imprint.v1.Imports`.

use imprint_proto::v1::{
    Job as WireJob, StartImportRequest,
    imports_server::{Imports, ImportsServer},
    start_import_request::Source,
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, images::spec, jobs::wire as job, nodes::status};
use crate::{
    api::rest::problem::Problem,
    app::App,
    identity::Permission,
    ingest::{FileSpec, ImportError, ImportRequest, ImportSource},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ImportsServer::new(ImportsService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct ImportsService(App);

/// What is not empty.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn source(said: Option<Source>) -> Result<ImportSource, Problem> {
    let invalid = |detail: String| Problem::invalid(detail, "Say where the file is: url, oci or upload.");
    match said {
        None => Err(invalid("The request names no source.".to_owned())),
        Some(Source::Url(said)) => Ok(ImportSource::Url {
            url: said
                .url
                .parse()
                .map_err(|error| invalid(format!("The URL is none: {error}.")))?,
            credential: given(said.credential),
        }),
        Some(Source::Oci(said)) => Ok(ImportSource::Oci {
            reference: said.reference,
            layer: given(said.layer),
            credential: given(said.credential),
        }),
        Some(Source::Upload(upload)) => Ok(ImportSource::Upload { upload }),
    }
}

#[tonic::async_trait]
impl Imports for ImportsService {
    async fn start_import(&self, request: Request<StartImportRequest>) -> Result<Response<WireJob>, Status> {
        let by = caller(&request)?;
        by.require(Permission::WriteImages)?;
        let said = request.into_inner();
        let request = ImportRequest {
            spec: spec(said.spec.unwrap_or_default())?,
            file: FileSpec {
                format: given(said.format),
                sha256: given(said.sha256),
                logical_sector_bytes: Some(said.logical_sector_bytes).filter(|bytes| *bytes > 0),
            },
            idempotency_key: given(said.idempotency_key),
            by,
        };
        let started = self.0.ingest.start(request, source(said.source)?).await;
        Ok(Response::new(job(started.map_err(status::<ImportError>)?)))
    }
}
