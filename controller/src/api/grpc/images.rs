//! `imprint.v1.Images`.

use imprint_proto::v1::{
    GetImageRequest, Image as ImageMessage, ListImagesRequest, ListImagesResponse,
    images_server::{Images, ImagesServer},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use crate::{api::rest::problem::Problem, app::App, catalog::Image};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ImagesServer::new(ImagesService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
pub struct ImagesService(pub App);

#[tonic::async_trait]
impl Images for ImagesService {
    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        super::caller(&request)?;
        let ListImagesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let page = self
            .0
            .catalog
            .list(page_size, Some(&page_token))
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(ListImagesResponse {
            images: page.items.into_iter().map(message).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_image(&self, request: Request<GetImageRequest>) -> Result<Response<ImageMessage>, Status> {
        super::caller(&request)?;
        let image = self
            .0
            .catalog
            .find(&request.into_inner().image)
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(message(image)))
    }
}

fn message(image: Image) -> ImageMessage {
    ImageMessage {
        id: image.id,
        name: image.name,
        image_digest: image.image_digest,
        disk_size_bytes: image.disk_size_bytes,
        data_bytes: image.data_bytes,
        stored_bytes: image.stored_bytes,
        logical_sector_bytes: image.logical_sector_bytes,
        source_format: image.source_format,
        created_at: Some(timestamp(image.created_at)),
    }
}

/// A time as protobuf writes it.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Whole seconds below, nanoseconds above: protobuf counts the fraction upwards also before 1970.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}
