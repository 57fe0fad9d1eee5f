//! `imprint.v1.Images`.

pub(super) mod message;
mod request;

use imprint_proto::v1::{
    self as wire, GetImageRequest, ListImagesRequest, ListImagesResponse,
    images_server::{Images, ImagesServer},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use crate::{
    api::rest::problem::Problem,
    app::App,
    catalog::{CatalogError, Image, ImageState},
    identity::{Caller, Permission},
};

pub(super) use request::spec;

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ImagesServer::new(ImagesService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
pub struct ImagesService(pub App);

/// The caller of a request, if it has the right.
fn allowed<T>(request: &Request<T>, permission: Permission) -> Result<Caller, Status> {
    let caller = super::caller(request)?;
    caller.require(permission)?;
    Ok(caller)
}

fn answer(image: Result<Image, CatalogError>) -> Result<Response<wire::Image>, Status> {
    let image = image.map_err(Problem::from)?;
    Ok(Response::new(message::image(image)))
}

impl ImagesService {
    async fn change_state(
        &self,
        to: ImageState,
        request: Request<wire::ChangeImageStateRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::WriteImages)?;
        let (image, wanted) = request::transition(to, request.into_inner())?;
        answer(self.0.catalog.transition(&caller, &image, &wanted).await)
    }
}

#[tonic::async_trait]
impl Images for ImagesService {
    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let caller = allowed(&request, Permission::ReadImages)?;
        let mut request = request.into_inner();
        let fits = std::mem::take(&mut request.fits);
        let query = request::query(request)?;
        let page = if fits.is_empty() {
            self.0
                .catalog
                .list(&caller.viewer(), &query)
                .await
                .map_err(Problem::from)?
        } else {
            caller.require(Permission::ReadNodes)?;
            let matching = self.0.deployments.matching();
            matching
                .fitting(&caller, &query, &fits)
                .await
                .map_err(Problem::from)?
        };
        Ok(Response::new(ListImagesResponse {
            images: page.items.into_iter().map(message::image).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_image(&self, request: Request<GetImageRequest>) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::ReadImages)?;
        let image = request.into_inner().image;
        answer(self.0.catalog.find(&caller.viewer(), &image).await)
    }

    async fn update_image(
        &self,
        request: Request<wire::UpdateImageRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::WriteImages)?;
        let request = request.into_inner();
        let image = request.image.clone();
        let change = request::change(request)?;
        answer(self.0.catalog.update(&caller, &image, &change).await)
    }

    async fn delete_image(
        &self,
        request: Request<wire::DeleteImageRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::WriteImages)?;
        answer(self.0.catalog.delete(&caller, &request.into_inner().image).await)
    }

    async fn activate_image(
        &self,
        request: Request<wire::ChangeImageStateRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        self.change_state(ImageState::Active, request).await
    }

    async fn deactivate_image(
        &self,
        request: Request<wire::ChangeImageStateRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        self.change_state(ImageState::Deactivated, request).await
    }

    async fn deprecate_image(
        &self,
        request: Request<wire::ChangeImageStateRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        self.change_state(ImageState::Deprecated, request).await
    }

    async fn obsolete_image(
        &self,
        request: Request<wire::ChangeImageStateRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        self.change_state(ImageState::Obsolete, request).await
    }

    async fn cancel_image_transitions(
        &self,
        request: Request<wire::CancelImageTransitionsRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::WriteImages)?;
        let request = request.into_inner();
        let state = request::word(&request.to_state)?;
        answer(
            self.0
                .catalog
                .cancel_transitions(&caller, &request.image, state)
                .await,
        )
    }

    async fn compose_image(
        &self,
        request: Request<wire::ComposeImageRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::WriteImages)?;
        let key = request.metadata().get("idempotency-key");
        let key = key.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let wanted = request::compose(request.into_inner())?;
        answer(self.0.catalog.compose(&caller, &wanted, key.as_deref()).await)
    }

    async fn list_families(
        &self,
        request: Request<wire::ListFamiliesRequest>,
    ) -> Result<Response<wire::ListFamiliesResponse>, Status> {
        let caller = allowed(&request, Permission::ReadImages)?;
        let request = request.into_inner();
        let page = self
            .0
            .catalog
            .families(&caller.viewer(), request.page_size, Some(&request.page_token))
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(wire::ListFamiliesResponse {
            families: page.items.into_iter().map(message::family).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_family(
        &self,
        request: Request<wire::GetFamilyRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let caller = allowed(&request, Permission::ReadImages)?;
        let family = request.into_inner().family;
        answer(self.0.catalog.newest_of(&caller.viewer(), &family).await)
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
