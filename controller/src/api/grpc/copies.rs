//! `imprint.v1.Copies`.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use imprint_image::export::ExportFormat;
use imprint_proto::v1::{
    ContentSum, CopyImageRequest, ExportImageRequest, GetContentSumRequest, Job as WireJob,
    ReadContentRequest, ReadContentResponse,
    copies_server::{Copies, CopiesServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, jobs::wire};
use crate::{
    api::rest::problem::Problem,
    app::App,
    copy::{CopyRequest, Encrypt},
    export::{ExportFault, ExportRequest, OpenedDisk},
    identity::{Caller, Permission},
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(CopiesServer::new(CopiesService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct CopiesService(App);

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl CopiesService {
    async fn open(
        &self,
        caller: &Caller,
        image: &str,
        format: &str,
        disk: &str,
    ) -> Result<OpenedDisk, Problem> {
        caller.require(Permission::ReadImages)?;
        let viewer = caller.viewer();
        let image = self.0.catalog.find(&viewer, image).await?;
        let format = match format {
            "" => ExportFormat::Raw,
            format => format.parse().map_err(ExportFault::from)?,
        };
        Ok(self.0.exports.open(&image, &viewer, Some(disk), format).await?)
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<ReadContentResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Copies for CopiesService {
    type ReadContentStream = Pieces;

    async fn read_content(&self, request: Request<ReadContentRequest>) -> Result<Response<Pieces>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let disk = self
            .open(&caller, &request.image, &request.format, &request.disk)
            .await?;
        let range = match (request.from, disk.file_bytes) {
            (0, _) => None,
            (from, Some(bytes)) if from < bytes => Some(from..bytes),
            (from, _) => {
                return Err(Problem::invalid(
                    format!("The file cannot be read from byte {from} on."),
                    "Read it from 0 on.",
                )
                .to_status());
            }
        };
        let first = ReadContentResponse {
            data: Vec::new(),
            etag: disk.etag(),
            file_bytes: disk.file_bytes.unwrap_or(0),
        };
        let content = self
            .0
            .exports
            .stream(disk, range, &caller)
            .await
            .map_err(Problem::from)?;
        let pieces = content.map(|piece| match piece {
            Ok(data) => Ok(ReadContentResponse {
                data: data.into(),
                ..ReadContentResponse::default()
            }),
            Err(error) => Err(Status::data_loss(error.to_string())),
        });
        Ok(Response::new(stream::iter([Ok(first)]).chain(pieces).boxed()))
    }

    async fn get_content_sum(
        &self,
        request: Request<GetContentSumRequest>,
    ) -> Result<Response<ContentSum>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let disk = self
            .open(&caller, &request.image, &request.format, &request.disk)
            .await?;
        let sum = self.0.exports.sum(&disk).await.map_err(Problem::from)?;
        Ok(Response::new(ContentSum {
            format: sum.format,
            file_bytes: sum.file_bytes,
            sha256: sum.sha256,
            etag: sum.etag,
        }))
    }

    async fn export_image(&self, request: Request<ExportImageRequest>) -> Result<Response<WireJob>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadImages)?;
        caller.require(Permission::WriteJobs)?;
        let request = request.into_inner();
        let image = self
            .0
            .catalog
            .find(&caller.viewer(), &request.image)
            .await
            .map_err(Problem::from)?;
        let export = ExportRequest {
            format: request.format,
            disk: some(request.disk),
            destination: request.destination,
            key: some(request.key),
            overwrite: request.overwrite,
        };
        let key = some(request.idempotency_key);
        let job = self
            .0
            .exports
            .start(&self.0.jobs, &caller, &image, &export, key)
            .await;
        Ok(Response::new(wire(job.map_err(Problem::from)?)))
    }

    async fn copy_image(&self, request: Request<CopyImageRequest>) -> Result<Response<WireJob>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteImages)?;
        let request = request.into_inner();
        let image = self
            .0
            .catalog
            .find(&caller.viewer(), &request.image)
            .await
            .map_err(Problem::from)?;
        let copy = CopyRequest {
            name: some(request.name),
            description: request.description,
            project: some(request.project),
            region: some(request.region),
            encrypt: match request.encrypt.as_str() {
                "" | "keep" => Encrypt::Keep,
                "yes" => Encrypt::Yes,
                "no" => Encrypt::No,
                other => {
                    return Err(Problem::invalid(
                        format!(
                            "`{}` does not say whether to encrypt.",
                            other.chars().take(40).collect::<String>()
                        ),
                        "Say keep, yes or no.",
                    )
                    .to_status());
                }
            },
        };
        let key = some(request.idempotency_key);
        let job = self
            .0
            .copies
            .start(&self.0.jobs, &caller, &image, &copy, key)
            .await;
        Ok(Response::new(wire(job.map_err(Problem::from)?)))
    }
}
