//! `FrontendVirtioBlkService`.

use imprint_proto::opi::frontend_virtio_blk_service_server::FrontendVirtioBlkService;
use imprint_proto::opi::{
    CreateVirtioBlkRequest, DeleteVirtioBlkRequest, GetVirtioBlkRequest, ListVirtioBlksRequest,
    ListVirtioBlksResponse, StatsVirtioBlkRequest, StatsVirtioBlkResponse, VirtioBlk,
};
use tonic::{Request, Response, Result};

use super::Desk;

#[tonic::async_trait]
impl FrontendVirtioBlkService for Desk {
    async fn create_virtio_blk(
        &self,
        request: Request<CreateVirtioBlkRequest>,
    ) -> Result<Response<VirtioBlk>> {
        let request = request.into_inner();
        self.create(None, request.virtio_blk_id, request.virtio_blk).await
    }

    async fn delete_virtio_blk(&self, request: Request<DeleteVirtioBlkRequest>) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<VirtioBlk>(&request.name, request.allow_missing)
            .await
    }

    async fn list_virtio_blks(
        &self,
        request: Request<ListVirtioBlksRequest>,
    ) -> Result<Response<ListVirtioBlksResponse>> {
        let ListVirtioBlksRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let (virtio_blks, next_page_token) = self.list(None, page_size, &page_token).await?;
        Ok(Response::new(ListVirtioBlksResponse {
            virtio_blks,
            next_page_token,
        }))
    }

    async fn get_virtio_blk(&self, request: Request<GetVirtioBlkRequest>) -> Result<Response<VirtioBlk>> {
        self.get(&request.get_ref().name).await.map(Response::new)
    }

    async fn stats_virtio_blk(
        &self,
        request: Request<StatsVirtioBlkRequest>,
    ) -> Result<Response<StatsVirtioBlkResponse>> {
        let stats = self.stats::<VirtioBlk>(&request.get_ref().name).await?;
        Ok(Response::new(StatsVirtioBlkResponse { stats }))
    }
}
