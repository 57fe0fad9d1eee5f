//! What a card has: lists, page by page to their end, and how single parts go away.

use futures::future::BoxFuture;
use imprint_proto::opi::{
    DeleteNvmeControllerRequest, DeleteNvmeNamespaceRequest, DeleteNvmePathRequest,
    DeleteNvmeRemoteControllerRequest, DeleteNvmeSubsystemRequest, DeleteVirtioBlkRequest,
    ListNvmeControllersRequest, ListNvmeNamespacesRequest, ListNvmePathsRequest,
    ListNvmeRemoteControllersRequest, ListNvmeRemoteNamespacesRequest, ListNvmeSubsystemsRequest,
    ListVirtioBlksRequest, NvmeController, NvmeNamespace, NvmePath, NvmeRemoteController,
    NvmeRemoteNamespace, NvmeSubsystem, VirtioBlk, nvme_controller_spec::Endpoint,
};

use super::{ASK, MAKE, OpiCard, function};
use crate::volumes::{PciFunction, ProviderError};

/// No card has more pages, or its list never ends.
const MOST_PAGES: usize = 200;
const PAGE_SIZE: i32 = 100;

/// The last part of a name: the id that it was made with.
pub(super) fn last(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// The function on which a controller is, if it is on PCI.
pub(super) fn seat_of(controller: &NvmeController) -> Option<PciFunction> {
    match controller.spec.as_ref()?.endpoint.as_ref()? {
        Endpoint::PcieId(endpoint) => Some(function(endpoint)),
        Endpoint::FabricsId(_) => None,
    }
}

/// A card without a service has nothing that the service would list.
fn none_of_the_kind<T>(listed: Result<Vec<T>, ProviderError>) -> Result<Vec<T>, ProviderError> {
    match listed {
        Err(ProviderError::Unknown { .. }) => Ok(Vec::new()),
        listed => listed,
    }
}

impl OpiCard {
    pub(super) async fn blks(&self) -> Result<Vec<VirtioBlk>, ProviderError> {
        let all = self
            .pages("ListVirtioBlks", |page_token| {
                Box::pin(async move {
                    let answer = self.calls.call(ASK, "ListVirtioBlks", || {
                        let mut blks = self.calls.blks();
                        let request = ListVirtioBlksRequest {
                            page_size: PAGE_SIZE,
                            page_token: page_token.clone(),
                        };
                        async move { blks.list_virtio_blks(request).await }
                    });
                    answer.await.map(|page| (page.virtio_blks, page.next_page_token))
                })
            })
            .await;
        none_of_the_kind(all)
    }

    pub(super) async fn subsystems(&self) -> Result<Vec<NvmeSubsystem>, ProviderError> {
        let all = self
            .pages("ListNvmeSubsystems", |page_token| {
                Box::pin(async move {
                    let answer = self.calls.call(ASK, "ListNvmeSubsystems", || {
                        let mut nvme = self.calls.nvme();
                        let request = ListNvmeSubsystemsRequest {
                            page_size: PAGE_SIZE,
                            page_token: page_token.clone(),
                        };
                        async move { nvme.list_nvme_subsystems(request).await }
                    });
                    answer
                        .await
                        .map(|page| (page.nvme_subsystems, page.next_page_token))
                })
            })
            .await;
        none_of_the_kind(all)
    }

    pub(super) async fn controllers<'a>(
        &'a self,
        parent: &'a str,
    ) -> Result<Vec<NvmeController>, ProviderError> {
        self.pages("ListNvmeControllers", |page_token| {
            Box::pin(async move {
                let answer = self.calls.call(ASK, "ListNvmeControllers", || {
                    let mut nvme = self.calls.nvme();
                    let request = ListNvmeControllersRequest {
                        parent: parent.to_owned(),
                        page_size: PAGE_SIZE,
                        page_token: page_token.clone(),
                    };
                    async move { nvme.list_nvme_controllers(request).await }
                });
                answer
                    .await
                    .map(|page| (page.nvme_controllers, page.next_page_token))
            })
        })
        .await
    }

    /// Namespaces that the server sees.
    pub(super) async fn shown_namespaces<'a>(
        &'a self,
        parent: &'a str,
    ) -> Result<Vec<NvmeNamespace>, ProviderError> {
        self.pages("ListNvmeNamespaces", |page_token| {
            Box::pin(async move {
                let answer = self.calls.call(ASK, "ListNvmeNamespaces", || {
                    let mut nvme = self.calls.nvme();
                    let request = ListNvmeNamespacesRequest {
                        parent: parent.to_owned(),
                        page_size: PAGE_SIZE,
                        page_token: page_token.clone(),
                    };
                    async move { nvme.list_nvme_namespaces(request).await }
                });
                answer
                    .await
                    .map(|page| (page.nvme_namespaces, page.next_page_token))
            })
        })
        .await
    }

    pub(super) async fn remotes(&self) -> Result<Vec<NvmeRemoteController>, ProviderError> {
        let all = self
            .pages("ListNvmeRemoteControllers", |page_token| {
                Box::pin(async move {
                    let answer = self.calls.call(ASK, "ListNvmeRemoteControllers", || {
                        let mut remotes = self.calls.remotes();
                        let request = ListNvmeRemoteControllersRequest {
                            page_size: PAGE_SIZE,
                            page_token: page_token.clone(),
                        };
                        async move { remotes.list_nvme_remote_controllers(request).await }
                    });
                    answer
                        .await
                        .map(|page| (page.nvme_remote_controllers, page.next_page_token))
                })
            })
            .await;
        none_of_the_kind(all)
    }

    pub(super) async fn paths<'a>(&'a self, parent: &'a str) -> Result<Vec<NvmePath>, ProviderError> {
        self.pages("ListNvmePaths", |page_token| {
            Box::pin(async move {
                let answer = self.calls.call(ASK, "ListNvmePaths", || {
                    let mut remotes = self.calls.remotes();
                    let request = ListNvmePathsRequest {
                        parent: parent.to_owned(),
                        page_size: PAGE_SIZE,
                        page_token: page_token.clone(),
                    };
                    async move { remotes.list_nvme_paths(request).await }
                });
                answer.await.map(|page| (page.nvme_paths, page.next_page_token))
            })
        })
        .await
    }

    /// Namespaces that the card sees.
    pub(super) async fn namespaces<'a>(
        &'a self,
        parent: &'a str,
    ) -> Result<Vec<NvmeRemoteNamespace>, ProviderError> {
        self.pages("ListNvmeRemoteNamespaces", |page_token| {
            Box::pin(async move {
                let answer = self.calls.call(ASK, "ListNvmeRemoteNamespaces", || {
                    let mut remotes = self.calls.remotes();
                    let request = ListNvmeRemoteNamespacesRequest {
                        parent: parent.to_owned(),
                        page_size: PAGE_SIZE,
                        page_token: page_token.clone(),
                    };
                    async move { remotes.list_nvme_remote_namespaces(request).await }
                });
                answer
                    .await
                    .map(|page| (page.nvme_remote_namespaces, page.next_page_token))
            })
        })
        .await
    }

    async fn pages<'a, T>(
        &'a self,
        call: &'static str,
        ask: impl Fn(String) -> BoxFuture<'a, Result<(Vec<T>, String), ProviderError>> + Send,
    ) -> Result<Vec<T>, ProviderError> {
        let mut all = Vec::new();
        let mut token = String::new();
        for _ in 0..MOST_PAGES {
            let (page, next) = ask(token).await?;
            all.extend(page);
            if next.is_empty() {
                return Ok(all);
            }
            token = next;
        }
        Err(ProviderError::Strange {
            address: self.calls.address().to_owned(),
            call,
            what: format!("more than {MOST_PAGES} pages"),
        })
    }

    pub(super) async fn delete_blk(&self, name: String) -> Result<(), ProviderError> {
        let deleted = self.calls.call(MAKE, "DeleteVirtioBlk", || {
            let mut blks = self.calls.blks();
            let request = DeleteVirtioBlkRequest {
                name: name.clone(),
                allow_missing: true,
            };
            async move { blks.delete_virtio_blk(request).await }
        });
        deleted.await
    }

    /// A subsystem with all that it has; controllers first, since they are what the server holds.
    pub(super) async fn take_subsystem_away(&self, name: &str) -> Result<(), ProviderError> {
        for controller in self.controllers(name).await? {
            let deleted = self.calls.call(MAKE, "DeleteNvmeController", || {
                let mut nvme = self.calls.nvme();
                let request = DeleteNvmeControllerRequest {
                    name: controller.name.clone(),
                    allow_missing: true,
                };
                async move { nvme.delete_nvme_controller(request).await }
            });
            deleted.await?;
        }
        for namespace in self.shown_namespaces(name).await? {
            let deleted = self.calls.call(MAKE, "DeleteNvmeNamespace", || {
                let mut nvme = self.calls.nvme();
                let request = DeleteNvmeNamespaceRequest {
                    name: namespace.name.clone(),
                    allow_missing: true,
                };
                async move { nvme.delete_nvme_namespace(request).await }
            });
            deleted.await?;
        }
        let deleted = self.calls.call(MAKE, "DeleteNvmeSubsystem", || {
            let mut nvme = self.calls.nvme();
            let request = DeleteNvmeSubsystemRequest {
                name: name.to_owned(),
                allow_missing: true,
            };
            async move { nvme.delete_nvme_subsystem(request).await }
        });
        deleted.await
    }

    pub(super) async fn delete_path(&self, name: String) -> Result<(), ProviderError> {
        let deleted = self.calls.call(MAKE, "DeleteNvmePath", || {
            let mut remotes = self.calls.remotes();
            let request = DeleteNvmePathRequest {
                name: name.clone(),
                allow_missing: true,
            };
            async move { remotes.delete_nvme_path(request).await }
        });
        deleted.await
    }

    pub(super) async fn delete_remote(&self, name: String) -> Result<(), ProviderError> {
        let deleted = self.calls.call(MAKE, "DeleteNvmeRemoteController", || {
            let mut remotes = self.calls.remotes();
            let request = DeleteNvmeRemoteControllerRequest {
                name: name.clone(),
                allow_missing: true,
            };
            async move { remotes.delete_nvme_remote_controller(request).await }
        });
        deleted.await
    }
}
