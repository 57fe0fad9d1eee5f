//! `NvmeRemoteControllerService`.

use imprint_proto::opi::nvme_remote_controller_service_server::NvmeRemoteControllerService;
use imprint_proto::opi::{
    CreateNvmePathRequest, CreateNvmeRemoteControllerRequest, DeleteNvmePathRequest,
    DeleteNvmeRemoteControllerRequest, GetNvmePathRequest, GetNvmeRemoteControllerRequest,
    GetNvmeRemoteNamespaceRequest, ListNvmePathsRequest, ListNvmePathsResponse,
    ListNvmeRemoteControllersRequest, ListNvmeRemoteControllersResponse, ListNvmeRemoteNamespacesRequest,
    ListNvmeRemoteNamespacesResponse, NvmePath, NvmeRemoteController, NvmeRemoteNamespace,
    StatsNvmePathRequest, StatsNvmePathResponse, StatsNvmeRemoteControllerRequest,
    StatsNvmeRemoteControllerResponse,
};
use tonic::{Request, Response, Result, Status};

use super::wanted::REMOTE_NAMESPACE;
use super::{Desk, names};

#[tonic::async_trait]
impl NvmeRemoteControllerService for Desk {
    async fn create_nvme_remote_controller(
        &self,
        request: Request<CreateNvmeRemoteControllerRequest>,
    ) -> Result<Response<NvmeRemoteController>> {
        let request = request.into_inner();
        self.create(
            None,
            request.nvme_remote_controller_id,
            request.nvme_remote_controller,
        )
        .await
    }

    async fn delete_nvme_remote_controller(
        &self,
        request: Request<DeleteNvmeRemoteControllerRequest>,
    ) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<NvmeRemoteController>(&request.name, request.allow_missing)
            .await
    }

    async fn list_nvme_remote_controllers(
        &self,
        request: Request<ListNvmeRemoteControllersRequest>,
    ) -> Result<Response<ListNvmeRemoteControllersResponse>> {
        let request = request.into_inner();
        let (nvme_remote_controllers, next_page_token) =
            self.list(None, request.page_size, &request.page_token).await?;
        Ok(Response::new(ListNvmeRemoteControllersResponse {
            nvme_remote_controllers,
            next_page_token,
        }))
    }

    async fn get_nvme_remote_controller(
        &self,
        request: Request<GetNvmeRemoteControllerRequest>,
    ) -> Result<Response<NvmeRemoteController>> {
        self.get(&request.get_ref().name).await.map(Response::new)
    }

    async fn stats_nvme_remote_controller(
        &self,
        request: Request<StatsNvmeRemoteControllerRequest>,
    ) -> Result<Response<StatsNvmeRemoteControllerResponse>> {
        let stats = self
            .stats::<NvmeRemoteController>(&request.get_ref().name)
            .await?;
        Ok(Response::new(StatsNvmeRemoteControllerResponse { stats }))
    }

    async fn create_nvme_path(&self, request: Request<CreateNvmePathRequest>) -> Result<Response<NvmePath>> {
        let request = request.into_inner();
        self.create(Some(&request.parent), request.nvme_path_id, request.nvme_path)
            .await
    }

    async fn delete_nvme_path(&self, request: Request<DeleteNvmePathRequest>) -> Result<Response<()>> {
        let request = request.into_inner();
        self.delete::<NvmePath>(&request.name, request.allow_missing)
            .await
    }

    async fn list_nvme_paths(
        &self,
        request: Request<ListNvmePathsRequest>,
    ) -> Result<Response<ListNvmePathsResponse>> {
        let request = request.into_inner();
        let (nvme_paths, next_page_token) = self
            .list(Some(&request.parent), request.page_size, &request.page_token)
            .await?;
        Ok(Response::new(ListNvmePathsResponse {
            nvme_paths,
            next_page_token,
        }))
    }

    async fn get_nvme_path(&self, request: Request<GetNvmePathRequest>) -> Result<Response<NvmePath>> {
        self.get(&request.get_ref().name).await.map(Response::new)
    }

    async fn stats_nvme_path(
        &self,
        request: Request<StatsNvmePathRequest>,
    ) -> Result<Response<StatsNvmePathResponse>> {
        let stats = self.stats::<NvmePath>(&request.get_ref().name).await?;
        Ok(Response::new(StatsNvmePathResponse { stats }))
    }

    async fn list_nvme_remote_namespaces(
        &self,
        request: Request<ListNvmeRemoteNamespacesRequest>,
    ) -> Result<Response<ListNvmeRemoteNamespacesResponse>> {
        let remote = &request.get_ref().parent;
        let books = self.books().await;
        if !books.remotes.contains_key(remote) {
            return Err(Status::not_found(format!("there is no {remote}")));
        }
        let reached = books.paths.keys().any(|path| names::is_below(path, remote));
        Ok(Response::new(ListNvmeRemoteNamespacesResponse {
            nvme_remote_namespaces: reached.then(|| namespace(remote)).into_iter().collect(),
            next_page_token: String::new(),
        }))
    }

    async fn get_nvme_remote_namespace(
        &self,
        request: Request<GetNvmeRemoteNamespaceRequest>,
    ) -> Result<Response<NvmeRemoteNamespace>> {
        let name = &request.get_ref().name;
        let remote = names::parent(name);
        let books = self.books().await;
        let reached = books.paths.keys().any(|path| names::is_below(path, remote));
        match reached && namespace(remote).name == *name {
            true => Ok(Response::new(namespace(remote))),
            false => Err(Status::not_found(format!("there is no {name}"))),
        }
    }
}

/// The one namespace that there is behind the paths of a remote controller: their export.
fn namespace(remote: &str) -> NvmeRemoteNamespace {
    NvmeRemoteNamespace {
        name: names::name(Some(remote), "nvmeRemoteNamespaces", REMOTE_NAMESPACE),
        nsid: 1,
        ..NvmeRemoteNamespace::default()
    }
}
