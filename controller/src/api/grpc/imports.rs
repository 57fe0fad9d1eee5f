//! `imprint.v1.Imports`.

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use imprint_proto::v1::{
    Image as WireImage, ImportFileBegin, ImportFileRequest, Job as WireJob, StartImportRequest,
    import_file_request::Part,
    imports_server::{Imports, ImportsServer},
    start_import_request::Source,
};
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder};

use super::{
    caller,
    images::{message::image, spec},
    jobs::wire as job,
    nodes::status,
};
use crate::{
    api::rest::problem::Problem,
    app::App,
    identity::{Caller, Permission},
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

fn file(format: String, sha256: String, logical_sector_bytes: u32) -> FileSpec {
    FileSpec {
        format: given(format),
        sha256: given(sha256),
        logical_sector_bytes: Some(logical_sector_bytes).filter(|bytes| *bytes > 0),
    }
}

fn source(said: Option<Source>) -> Result<ImportSource, Problem> {
    let invalid = |detail: String| Problem::invalid(detail, "Say where the file is: url, oci, s3 or upload.");
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
        Some(Source::S3(said)) => Ok(ImportSource::S3 {
            destination: said.destination,
            key: said.key,
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
            file: file(said.format, said.sha256, said.logical_sector_bytes),
            idempotency_key: given(said.idempotency_key),
            by,
        };
        let started = self.0.ingest.start(request, source(said.source)?).await;
        Ok(Response::new(job(started.map_err(status::<ImportError>)?)))
    }

    async fn import_file(
        &self,
        request: Request<Streaming<ImportFileRequest>>,
    ) -> Result<Response<WireImage>, Status> {
        let by = caller(&request)?;
        by.require(Permission::WriteImages)?;
        let mut parts = request.into_inner();
        let Some(Part::Begin(said)) = parts.message().await?.and_then(|first| first.part) else {
            return Err(Problem::invalid(
                "The first message does not say what is imported.",
                "Send `begin` first, then the file in pieces.",
            )
            .into());
        };
        let length = Some(said.length).filter(|length| *length > 0);
        let body = Body::from_stream(pieces(parts));
        let imported = self.0.ingest.import(begun(said, by)?, length, body).await?;
        Ok(Response::new(image(imported.image)))
    }
}

fn begun(said: ImportFileBegin, by: Caller) -> Result<ImportRequest, Problem> {
    Ok(ImportRequest {
        spec: spec(said.spec.unwrap_or_default())?,
        file: file(said.format, said.sha256, said.logical_sector_bytes),
        idempotency_key: given(said.idempotency_key),
        by,
    })
}

/// The file. A second beginning is no piece of it.
fn pieces(parts: Streaming<ImportFileRequest>) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    parts.map(|part| match part?.part {
        Some(Part::Piece(piece)) => Ok(Bytes::from(piece)),
        Some(Part::Begin(_)) | None => Err(Status::invalid_argument("a piece of the file was expected")),
    })
}
