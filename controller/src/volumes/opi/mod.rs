//! Cards that speak OPI's storage API.
//!
//! A volume on NVMe/TCP becomes a remote controller with a path for each address; the card then names the namespaces that
//! it finds, and the wanted one is presented: as a virtio-blk disk, or as the only namespace of an NVMe subsystem of its
//! own, whose controller comes last, so that firmware never sees one without a disk. All of a volume's parts have the same
//! id ([`card_id`]), by which they are found again, however the card spells names.
//!
//! [`calls`] has deadlines and repetitions.

mod calls;
mod parts;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, Instant},
};

use imprint_proto::opi::{
    CreateNvmeControllerRequest, CreateNvmeNamespaceRequest, CreateNvmePathRequest,
    CreateNvmeRemoteControllerRequest, CreateNvmeSubsystemRequest, CreateVirtioBlkRequest, FabricsPath,
    NvmeAddressFamily, NvmeController, NvmeControllerSpec, NvmeMultipath, NvmeNamespace, NvmeNamespaceSpec,
    NvmePath, NvmeRemoteController, NvmeSubsystem, NvmeSubsystemSpec, NvmeTransportType, PciEndpoint,
    QosLimit, VirtioBlk, nvme_controller_spec::Endpoint, nvme_namespace_status::OperState,
};
use tonic::Code;

use super::{
    Backing, DiskKind, ExpectedDisk, Limits, PciFunction, Presence, Presented, ProviderError, Seat, Volume,
    VolumeProvider,
    provider::{card_id, volume_id},
};
use calls::{ASK, Calls, MAKE};
use parts::last;

/// How long a card may take until it has connected to the storage.
const CONNECT_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
const CONNECT_LOOK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 500 });

/// A card.
#[derive(Clone)]
pub struct OpiCard {
    calls: Calls,
}

impl fmt::Debug for OpiCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpiCard").field(&self.calls.address()).finish()
    }
}

impl OpiCard {
    /// The card at HOST:PORT. Nothing is sent yet.
    pub fn at(address: &str) -> Result<Self, ProviderError> {
        Ok(Self {
            calls: Calls::to(address)?,
        })
    }

    /// The card's name for the volume, after it has connected to the storage if it must.
    async fn reach(&self, volume: &Volume) -> Result<String, ProviderError> {
        let (subsystem, namespace, addresses) = match &volume.backing {
            Backing::Named { name } => return Ok(name.clone()),
            Backing::Static { .. } => {
                return Err(ProviderError::Elsewhere {
                    address: self.calls.address().to_owned(),
                });
            }
            Backing::NvmeTcp {
                subsystem,
                namespace,
                addresses,
            } => (subsystem, namespace, addresses),
        };
        let id = volume.card_id();
        let remote = CreateNvmeRemoteControllerRequest {
            nvme_remote_controller: Some(NvmeRemoteController {
                multipath: if addresses.len() > 1 {
                    NvmeMultipath::Failover.into()
                } else {
                    NvmeMultipath::Disable.into()
                },
                tcp: Some(imprint_proto::opi::TcpController::default()),
                ..NvmeRemoteController::default()
            }),
            nvme_remote_controller_id: id.clone(),
        };
        let remote = self.remote(remote).await?;
        for (number, address) in addresses.iter().enumerate() {
            let family = if address.is_ipv4() {
                NvmeAddressFamily::Ipv4
            } else {
                NvmeAddressFamily::Ipv6
            };
            let path = CreateNvmePathRequest {
                parent: remote.clone(),
                nvme_path: Some(NvmePath {
                    name: String::new(),
                    trtype: NvmeTransportType::Tcp.into(),
                    traddr: address.ip().to_string(),
                    fabrics: Some(FabricsPath {
                        trsvcid: address.port().into(),
                        subnqn: subsystem.clone(),
                        adrfam: family.into(),
                        ..FabricsPath::default()
                    }),
                }),
                nvme_path_id: format!("{id}-{number}"),
            };
            self.path(path).await?;
        }
        self.namespace(&remote, subsystem, *namespace).await
    }

    async fn remote(&self, request: CreateNvmeRemoteControllerRequest) -> Result<String, ProviderError> {
        let id = request.nvme_remote_controller_id.clone();
        let made = self
            .calls
            .call(MAKE, "CreateNvmeRemoteController", || {
                let (mut remotes, request) = (self.calls.remotes(), request.clone());
                async move { remotes.create_nvme_remote_controller(request).await }
            })
            .await;
        match made {
            Ok(made) => self.named("CreateNvmeRemoteController", made.name),
            // The id is the volume's own, and all of them are the same but for their paths.
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => {
                let there = self.remotes().await?;
                let there = there.into_iter().find(|remote| last(&remote.name) == id);
                self.named(
                    "ListNvmeRemoteControllers",
                    there.map(|remote| remote.name).unwrap_or_default(),
                )
            }
            Err(error) => Err(error),
        }
    }

    async fn path(&self, request: CreateNvmePathRequest) -> Result<(), ProviderError> {
        let wanted = request.nvme_path.clone().unwrap_or_default();
        let made = self
            .calls
            .call(MAKE, "CreateNvmePath", || {
                let (mut remotes, request) = (self.calls.remotes(), request.clone());
                async move { remotes.create_nvme_path(request).await }
            })
            .await;
        let there = match made {
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => self
                .paths(&request.parent)
                .await?
                .into_iter()
                .any(|path| last(&path.name) == request.nvme_path_id && path.traddr == wanted.traddr),
            Err(error) => return Err(error),
            Ok(_) => true,
        };
        if there {
            return Ok(());
        }
        Err(self.different(
            &format!("{}/nvmePaths/{}", request.parent, request.nvme_path_id),
            PciFunction::default(),
        ))
    }

    /// Waits until the card has connected, and has found the namespace.
    async fn namespace(&self, remote: &str, subsystem: &str, wanted: u32) -> Result<String, ProviderError> {
        let start = Instant::now();
        loop {
            let found = self.namespaces(remote).await?;
            if let Some(namespace) = found
                .iter()
                .find(|namespace| u32::try_from(namespace.nsid).is_ok_and(|nsid| nsid == wanted))
            {
                return self.named("ListNvmeRemoteNamespaces", namespace.name.clone());
            }
            if start.elapsed() >= CONNECT_LIMIT {
                let found: Vec<String> = found.iter().take(8).map(|found| found.nsid.to_string()).collect();
                return Err(ProviderError::NoNamespace {
                    address: self.calls.address().to_owned(),
                    subsystem: subsystem.to_owned(),
                    namespace: wanted,
                    waited_s: CONNECT_LIMIT.as_secs(),
                    found: match found[..] {
                        [] => "none".to_owned(),
                        _ => found.join(", "),
                    },
                });
            }
            tokio::time::sleep(CONNECT_LOOK).await;
        }
    }

    /// As a virtio-blk disk; answers its name.
    async fn show_blk(
        &self,
        volume: &Volume,
        reference: String,
        function: PciFunction,
    ) -> Result<String, ProviderError> {
        let request = CreateVirtioBlkRequest {
            virtio_blk: Some(VirtioBlk {
                pcie_id: Some(endpoint(function)),
                volume_name_ref: reference.clone(),
                max_limit: limit(volume.limits),
                ..VirtioBlk::default()
            }),
            virtio_blk_id: volume.card_id(),
        };
        let made = self
            .calls
            .call(MAKE, "CreateVirtioBlk", || {
                let (mut blks, request) = (self.calls.blks(), request.clone());
                async move { blks.create_virtio_blk(request).await }
            })
            .await;
        match made {
            Ok(made) => self.named("CreateVirtioBlk", made.name),
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => {
                let there = self.blks().await?;
                let there = there
                    .into_iter()
                    .find(|blk| last(&blk.name) == request.virtio_blk_id);
                let there = there.unwrap_or_default();
                let same = there.volume_name_ref == reference
                    && there.pcie_id.as_ref().map(self::function) == Some(function);
                match same {
                    true => self.named("ListVirtioBlks", there.name),
                    false => Err(self.different(&format!("virtioBlks/{}", request.virtio_blk_id), function)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// As an NVMe disk; answers the name of its namespace.
    async fn show_nvme(
        &self,
        volume: &Volume,
        reference: String,
        function: PciFunction,
    ) -> Result<String, ProviderError> {
        let id = volume.card_id();
        let subsystem = CreateNvmeSubsystemRequest {
            nvme_subsystem: Some(NvmeSubsystem {
                spec: Some(NvmeSubsystemSpec {
                    nqn: format!("nqn.2026-01.io.imprint:{id}"),
                    serial_number: volume.serial(),
                    model_number: "Imprint volume".to_owned(),
                    max_namespaces: 1,
                    ..NvmeSubsystemSpec::default()
                }),
                ..NvmeSubsystem::default()
            }),
            nvme_subsystem_id: id.clone(),
        };
        let made = self
            .calls
            .call(MAKE, "CreateNvmeSubsystem", || {
                let (mut nvme, request) = (self.calls.nvme(), subsystem.clone());
                async move { nvme.create_nvme_subsystem(request).await }
            })
            .await;
        let parent = match made {
            Ok(made) => made.name,
            // As with remote controllers: it is the volume's own.
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => {
                let there = self.subsystems().await?;
                let there = there.into_iter().find(|there| last(&there.name) == id);
                there.map(|there| there.name).unwrap_or_default()
            }
            Err(error) => return Err(error),
        };
        let parent = self.named("CreateNvmeSubsystem", parent)?;
        let name = self.show_namespace(&parent, &id, reference, function).await?;
        self.show_controller(volume, &parent, &id, function).await?;
        Ok(name)
    }

    async fn show_namespace(
        &self,
        parent: &str,
        id: &str,
        reference: String,
        function: PciFunction,
    ) -> Result<String, ProviderError> {
        let request = CreateNvmeNamespaceRequest {
            parent: parent.to_owned(),
            nvme_namespace: Some(NvmeNamespace {
                spec: Some(NvmeNamespaceSpec {
                    host_nsid: 1,
                    volume_name_ref: reference.clone(),
                    ..NvmeNamespaceSpec::default()
                }),
                ..NvmeNamespace::default()
            }),
            nvme_namespace_id: id.to_owned(),
        };
        let made = self
            .calls
            .call(MAKE, "CreateNvmeNamespace", || {
                let (mut nvme, request) = (self.calls.nvme(), request.clone());
                async move { nvme.create_nvme_namespace(request).await }
            })
            .await;
        match made {
            Ok(made) => self.named("CreateNvmeNamespace", made.name),
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => {
                let there = self.shown_namespaces(parent).await?;
                let same = there.into_iter().find(|there| {
                    last(&there.name) == id
                        && there
                            .spec
                            .as_ref()
                            .is_some_and(|spec| spec.volume_name_ref == reference)
                });
                match same {
                    Some(there) => Ok(there.name),
                    None => Err(self.different(&format!("{parent}/nvmeNamespaces/{id}"), function)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn show_controller(
        &self,
        volume: &Volume,
        parent: &str,
        id: &str,
        function: PciFunction,
    ) -> Result<(), ProviderError> {
        let request = CreateNvmeControllerRequest {
            parent: parent.to_owned(),
            nvme_controller: Some(NvmeController {
                spec: Some(NvmeControllerSpec {
                    trtype: NvmeTransportType::Pcie.into(),
                    endpoint: Some(Endpoint::PcieId(endpoint(function))),
                    max_limit: limit(volume.limits),
                    ..NvmeControllerSpec::default()
                }),
                ..NvmeController::default()
            }),
            nvme_controller_id: id.to_owned(),
        };
        let made = self
            .calls
            .call(MAKE, "CreateNvmeController", || {
                let (mut nvme, request) = (self.calls.nvme(), request.clone());
                async move { nvme.create_nvme_controller(request).await }
            })
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(ProviderError::Refused {
                code: Code::AlreadyExists,
                ..
            }) => {
                let there = self.controllers(parent).await?;
                let same = there
                    .iter()
                    .any(|there| last(&there.name) == id && parts::seat_of(there) == Some(function));
                match same {
                    true => Ok(()),
                    false => Err(self.different(&format!("{parent}/nvmeControllers/{id}"), function)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn show(&self, volume: &Volume, seat: &Seat) -> Result<String, ProviderError> {
        let reference = self.reach(volume).await?;
        match seat.kind {
            DiskKind::VirtioBlk => self.show_blk(volume, reference, seat.function).await,
            DiskKind::Nvme => self.show_nvme(volume, reference, seat.function).await,
        }
    }

    /// A name that is there.
    fn named(&self, call: &'static str, name: String) -> Result<String, ProviderError> {
        if name.is_empty() {
            return Err(ProviderError::Strange {
                address: self.calls.address().to_owned(),
                call,
                what: "something that has no name".to_owned(),
            });
        }
        Ok(name)
    }

    fn different(&self, name: &str, function: PciFunction) -> ProviderError {
        ProviderError::Different {
            address: self.calls.address().to_owned(),
            name: name.to_owned(),
            function,
        }
    }
}

#[tonic::async_trait]
impl VolumeProvider for OpiCard {
    async fn attach(&self, volume: &Volume, seat: &Seat) -> Result<ExpectedDisk, ProviderError> {
        // What was there before may be in use, and is not taken back.
        let before = self.list().await?;
        let new = before
            .iter()
            .all(|presented| presented.volume_id.as_deref() != Some(volume.id.as_str()));
        match self.show(volume, seat).await {
            Ok(name) => Ok(ExpectedDisk {
                name,
                serial: volume.serial(),
                function: seat.function,
                kind: seat.kind,
                size_bytes: volume.size_bytes,
            }),
            Err(why) if !new => Err(why),
            Err(why) => match self.detach(&volume.id).await {
                Ok(()) => Err(why),
                Err(left) => Err(ProviderError::LeftBehind {
                    why: Box::new(why),
                    left: Box::new(left),
                }),
            },
        }
    }

    async fn detach(&self, volume_id: &str) -> Result<(), ProviderError> {
        let id = card_id(volume_id);
        for blk in self.blks().await? {
            if last(&blk.name) == id {
                self.delete_blk(blk.name).await?;
            }
        }
        for subsystem in self.subsystems().await? {
            if last(&subsystem.name) == id {
                self.take_subsystem_away(&subsystem.name).await?;
            }
        }
        for remote in self.remotes().await? {
            if last(&remote.name) == id {
                for path in self.paths(&remote.name).await? {
                    self.delete_path(path.name).await?;
                }
                self.delete_remote(remote.name).await?;
            }
        }
        Ok(())
    }

    async fn status(&self, volume_id: &str) -> Result<Presence, ProviderError> {
        let id = card_id(volume_id);
        if self.blks().await?.iter().any(|blk| last(&blk.name) == id) {
            return Ok(Presence::Shown);
        }
        let subsystems = self.subsystems().await?;
        let Some(subsystem) = subsystems.iter().find(|found| last(&found.name) == id) else {
            return Ok(Presence::Absent);
        };
        if self.controllers(&subsystem.name).await?.is_empty() {
            return Ok(Presence::Absent);
        }
        let namespaces = self.shown_namespaces(&subsystem.name).await?;
        let Some(namespace) = namespaces.first() else {
            return Ok(Presence::Absent);
        };
        let state = namespace.status.unwrap_or_default().oper_state;
        Ok(match OperState::try_from(state) {
            // Some cards say nothing.
            Ok(OperState::Online | OperState::Unspecified) => Presence::Shown,
            Ok(OperState::Offline) => Presence::Offline,
            Err(_) => Presence::Unclear(state),
        })
    }

    async fn list(&self) -> Result<Vec<Presented>, ProviderError> {
        let mut all = Vec::new();
        let mut add = |name: String, seat| {
            all.push(Presented {
                volume_id: volume_id(last(&name)),
                name,
                seat,
            });
        };
        for blk in self.blks().await? {
            let function = blk.pcie_id.as_ref().map(function);
            let kind = DiskKind::VirtioBlk;
            add(blk.name, function.map(|function| Seat { function, kind }));
        }
        for subsystem in self.subsystems().await? {
            let controllers = self.controllers(&subsystem.name).await?;
            let function = controllers.iter().find_map(parts::seat_of);
            let kind = DiskKind::Nvme;
            add(subsystem.name, function.map(|function| Seat { function, kind }));
        }
        for remote in self.remotes().await? {
            add(remote.name, None);
        }
        Ok(all)
    }
}

fn endpoint(function: PciFunction) -> PciEndpoint {
    PciEndpoint {
        port_id: Some(function.port.into()),
        physical_function: Some(function.physical.into()),
        virtual_function: Some(function.virtual_.into()),
    }
}

/// What a card says of a function; numbers that none can have count as the highest.
fn function(endpoint: &PciEndpoint) -> PciFunction {
    let number = |value: Option<i32>| u16::try_from(value.unwrap_or_default()).unwrap_or(u16::MAX);
    PciFunction {
        port: number(endpoint.port_id),
        physical: number(endpoint.physical_function),
        virtual_: number(endpoint.virtual_function),
    }
}

fn limit(limits: Limits) -> Option<QosLimit> {
    (limits != Limits::default()).then(|| QosLimit {
        rw_iops_kiops: limits.kiops.unwrap_or_default().into(),
        rw_bandwidth_mbs: limits.mb_per_s.unwrap_or_default().into(),
        ..QosLimit::default()
    })
}
