//! `imprint.v1.Store`.

use imprint_proto::v1::{
    CollectGarbageRequest, DamagedImage, DamagedObject, GetStoreRequest, Job, StoreFigures as WireFigures,
    VerifyStoreRequest,
    store_server::{Store, StoreServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{caller, jobs::wire as wire_job};
use crate::{
    api::rest::{
        problem::Problem,
        upkeep::{self, CollectRequest, VerifyRequest},
    },
    app::App,
    identity::Permission,
    upkeep::StoreFigures,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(StoreServer::new(StoreService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
struct StoreService(App);

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn wire(figures: StoreFigures) -> WireFigures {
    let damaged = figures.damaged.into_iter().map(|damaged| DamagedObject {
        object: damaged.object,
        cause: damaged.cause,
    });
    let images = figures.damaged_images.into_iter().map(|image| DamagedImage {
        id: image.id,
        name: image.name,
        project_id: image.project_id,
        damaged_objects: u64::try_from(image.damaged_objects).unwrap_or(0),
    });
    WireFigures {
        place: figures.place,
        objects: figures.objects,
        bytes: figures.bytes,
        packs: figures.packs,
        pack_bytes: figures.pack_bytes,
        images: figures.images,
        data_bytes: figures.data_bytes,
        image_bytes: figures.image_bytes,
        dedup_ratio: figures.dedup_ratio,
        unused_objects: figures.unused_objects,
        unused_bytes: figures.unused_bytes,
        free_bytes: figures.free_bytes,
        damaged: damaged.collect(),
        damaged_images: images.collect(),
    }
}

#[tonic::async_trait]
impl Store for StoreService {
    async fn get_store(&self, request: Request<GetStoreRequest>) -> Result<Response<WireFigures>, Status> {
        caller(&request)?.require(Permission::ManageStore)?;
        let figures = self.0.upkeep.figures().await.map_err(Problem::from)?;
        Ok(Response::new(wire(figures)))
    }

    async fn verify_store(&self, request: Request<VerifyStoreRequest>) -> Result<Response<Job>, Status> {
        let caller = caller(&request)?;
        let VerifyStoreRequest {
            image,
            idempotency_key,
        } = request.into_inner();
        let request = VerifyRequest { image: some(image) };
        let job = upkeep::verify(&self.0, &caller, request, some(idempotency_key)).await?;
        Ok(Response::new(wire_job(job)))
    }

    async fn collect_garbage(
        &self,
        request: Request<CollectGarbageRequest>,
    ) -> Result<Response<Job>, Status> {
        let caller = caller(&request)?;
        let CollectGarbageRequest {
            dry_run,
            idempotency_key,
        } = request.into_inner();
        let job = upkeep::collect(
            &self.0,
            &caller,
            &CollectRequest { dry_run },
            some(idempotency_key),
        )
        .await?;
        Ok(Response::new(wire_job(job)))
    }
}
