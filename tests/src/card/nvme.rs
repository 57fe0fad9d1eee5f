//! `FrontendNvmeService`.

use imprint_proto::opi::frontend_nvme_service_server::FrontendNvmeService;
use imprint_proto::opi::nvme_namespace_status::OperState;
use imprint_proto::opi::{
    CreateNvmeControllerRequest, CreateNvmeNamespaceRequest, CreateNvmeSubsystemRequest,
    DeleteNvmeControllerRequest, DeleteNvmeNamespaceRequest, DeleteNvmeSubsystemRequest,
    GetNvmeControllerRequest, GetNvmeNamespaceRequest, GetNvmeSubsystemRequest, ListNvmeControllersRequest,
    ListNvmeControllersResponse, ListNvmeNamespacesRequest, ListNvmeNamespacesResponse,
    ListNvmeSubsystemsRequest, ListNvmeSubsystemsResponse, NvmeController, NvmeNamespace, NvmeSubsystem,
    StatsNvmeControllerRequest, StatsNvmeControllerResponse, StatsNvmeNamespaceRequest,
    StatsNvmeNamespaceResponse, StatsNvmeSubsystemRequest, StatsNvmeSubsystemResponse,
};
use tonic::{Request, Response, Result};

use super::Desk;

#[tonic::async_trait]
impl FrontendNvmeService for Desk {
    async fn create_nvme_subsystem(
        &self,
        request: Request<CreateNvmeSubsystemRequest>,
    ) -> Result<Response<NvmeSubsystem>> {
        let request = request.into_inner();
        self.create(None, request.nvme_subsystem_id, request.nvme_subsystem)
            .await
    }

    async fn delete_nvme_subsystem(
        &self,
        request: Request<DeleteNvmeSubsystemRequest>,
    ) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<NvmeSubsystem>(&request.name, request.allow_missing)
            .await
    }

    async fn list_nvme_subsystems(
        &self,
        request: Request<ListNvmeSubsystemsRequest>,
    ) -> Result<Response<ListNvmeSubsystemsResponse>> {
        let request = request.into_inner();
        let (nvme_subsystems, next_page_token) =
            self.list(None, request.page_size, &request.page_token).await?;
        Ok(Response::new(ListNvmeSubsystemsResponse {
            nvme_subsystems,
            next_page_token,
        }))
    }

    async fn get_nvme_subsystem(
        &self,
        request: Request<GetNvmeSubsystemRequest>,
    ) -> Result<Response<NvmeSubsystem>> {
        self.get(&request.get_ref().name).await.map(Response::new)
    }

    async fn stats_nvme_subsystem(
        &self,
        request: Request<StatsNvmeSubsystemRequest>,
    ) -> Result<Response<StatsNvmeSubsystemResponse>> {
        let stats = self.stats::<NvmeSubsystem>(&request.get_ref().name).await?;
        Ok(Response::new(StatsNvmeSubsystemResponse { stats }))
    }

    async fn create_nvme_controller(
        &self,
        request: Request<CreateNvmeControllerRequest>,
    ) -> Result<Response<NvmeController>> {
        let request = request.into_inner();
        self.create(
            Some(&request.parent),
            request.nvme_controller_id,
            request.nvme_controller,
        )
        .await
    }

    async fn delete_nvme_controller(
        &self,
        request: Request<DeleteNvmeControllerRequest>,
    ) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<NvmeController>(&request.name, request.allow_missing)
            .await
    }

    async fn list_nvme_controllers(
        &self,
        request: Request<ListNvmeControllersRequest>,
    ) -> Result<Response<ListNvmeControllersResponse>> {
        let request = request.into_inner();
        let (nvme_controllers, next_page_token) = self
            .list(Some(&request.parent), request.page_size, &request.page_token)
            .await?;
        Ok(Response::new(ListNvmeControllersResponse {
            nvme_controllers,
            next_page_token,
        }))
    }

    async fn get_nvme_controller(
        &self,
        request: Request<GetNvmeControllerRequest>,
    ) -> Result<Response<NvmeController>> {
        self.get(&request.get_ref().name).await.map(Response::new)
    }

    async fn stats_nvme_controller(
        &self,
        request: Request<StatsNvmeControllerRequest>,
    ) -> Result<Response<StatsNvmeControllerResponse>> {
        let stats = self.stats::<NvmeController>(&request.get_ref().name).await?;
        Ok(Response::new(StatsNvmeControllerResponse { stats }))
    }

    async fn create_nvme_namespace(
        &self,
        request: Request<CreateNvmeNamespaceRequest>,
    ) -> Result<Response<NvmeNamespace>> {
        let request = request.into_inner();
        self.create(
            Some(&request.parent),
            request.nvme_namespace_id,
            request.nvme_namespace,
        )
        .await
    }

    async fn delete_nvme_namespace(
        &self,
        request: Request<DeleteNvmeNamespaceRequest>,
    ) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<NvmeNamespace>(&request.name, request.allow_missing)
            .await
    }

    async fn list_nvme_namespaces(
        &self,
        request: Request<ListNvmeNamespacesRequest>,
    ) -> Result<Response<ListNvmeNamespacesResponse>> {
        let request = request.into_inner();
        let (namespaces, next_page_token) = self
            .list(Some(&request.parent), request.page_size, &request.page_token)
            .await?;
        let nvme_namespaces = namespaces
            .into_iter()
            .map(|namespace| self.as_it_is(namespace))
            .collect();
        Ok(Response::new(ListNvmeNamespacesResponse {
            nvme_namespaces,
            next_page_token,
        }))
    }

    async fn get_nvme_namespace(
        &self,
        request: Request<GetNvmeNamespaceRequest>,
    ) -> Result<Response<NvmeNamespace>> {
        let namespace = self.get(&request.get_ref().name).await?;
        Ok(Response::new(self.as_it_is(namespace)))
    }

    async fn stats_nvme_namespace(
        &self,
        request: Request<StatsNvmeNamespaceRequest>,
    ) -> Result<Response<StatsNvmeNamespaceResponse>> {
        let stats = self.stats::<NvmeNamespace>(&request.get_ref().name).await?;
        Ok(Response::new(StatsNvmeNamespaceResponse { stats }))
    }
}

impl Desk {
    /// A namespace whose storage is gone says so.
    fn as_it_is(&self, mut namespace: NvmeNamespace) -> NvmeNamespace {
        if let Some(status) = namespace.status.as_mut().filter(|_| self.storage_is_lost()) {
            status.oper_state = OperState::Offline.into();
        }
        namespace
    }
}
