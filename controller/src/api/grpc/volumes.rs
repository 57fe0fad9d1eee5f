//! gRPC: network volumes, and the SDI cards that show them to servers.

use imprint_proto::v1::{
    AttachVolumeRequest, Card, CardFunction, CreateVolumeRequest, DeleteVolumeRequest, DetachVolumeRequest,
    GetCardRequest, GetVolumeRequest, ListOrphansRequest, ListOrphansResponse, ListVolumesRequest,
    ListVolumesResponse, NvmeTcpBacking, PreparationProgress, PreparedImage, SetCardRequest, StaticDisk,
    StoredOrphan as WireStoredOrphan, Volume as WireVolume, VolumeAttachment, VolumeBacking, VolumeLimits,
    VolumeOrphan,
    volume_backing::Kind,
    volumes_server::{Volumes, VolumesServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    app::App,
    identity::{Permission, TenantError},
    inventory::InventoryError,
    volumes::{
        Backing, Detaching, DiskKind, FromImage, Limits, NewVolume, PciFunction, VolumeError, VolumeRecord,
        WantedSeat, WantedVolume,
    },
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(VolumesServer::new(VolumesService(app.clone())));
}

/// `imprint.v1.Volumes`.
#[derive(Debug, Clone)]
struct VolumesService(App);

fn wire(record: VolumeRecord) -> WireVolume {
    let kind = match record.backing {
        Backing::NvmeTcp {
            subsystem,
            namespace,
            addresses,
        } => Kind::NvmeTcp(NvmeTcpBacking {
            subsystem,
            namespace,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }),
        Backing::Named { name } => Kind::CardName(name),
        Backing::Static { serial, wwn } => Kind::StaticDisk(StaticDisk {
            serial: serial.unwrap_or_default(),
            wwn: wwn.unwrap_or_default(),
        }),
    };
    WireVolume {
        id: record.id,
        name: record.name,
        project_id: record.project_id,
        size_bytes: record.size_bytes,
        backing: Some(VolumeBacking { kind: Some(kind) }),
        limits: Some(VolumeLimits {
            kiops: record.limits.kiops,
            mb_per_s: record.limits.mb_per_s,
        }),
        state: record.state.to_string(),
        since: Some(timestamp(record.since)),
        deadline: record.deadline.map(timestamp),
        why: record.why,
        remedy: record.remedy,
        attachment: record.attachment.map(|there| VolumeAttachment {
            node_id: there.node_id,
            function: there.function.map(|function| CardFunction {
                port: function.port.into(),
                physical: function.physical.into(),
                r#virtual: function.virtual_.into(),
            }),
            kind: there.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            serial: there.serial,
            card_name: there.card_name,
        }),
        created_by: record.created_by,
        created_at: Some(timestamp(record.created_at)),
        backend: record
            .backend
            .map(|backend| backend.to_string())
            .unwrap_or_default(),
        prepared: record.prepared.map(|image| PreparedImage {
            image_id: image.image_id,
            image: image.image,
            image_digest: image.image_digest,
            prepared_at: image.prepared_at.map(timestamp),
        }),
        progress: record.progress.map(|progress| PreparationProgress {
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
        }),
    }
}

fn backing(asked: Option<VolumeBacking>) -> Result<Option<Backing>, Status> {
    let Some(asked) = asked else { return Ok(None) };
    let backing = match asked.kind {
        Some(Kind::CardName(name)) => Backing::Named { name },
        Some(Kind::StaticDisk(StaticDisk { serial, wwn })) => Backing::Static {
            serial: Some(serial).filter(|serial| !serial.is_empty()),
            wwn: Some(wwn).filter(|wwn| !wwn.is_empty()),
        },
        Some(Kind::NvmeTcp(storage)) => {
            let addresses = storage.addresses.iter().take(100).map(|address| address.parse());
            let addresses: Result<Vec<_>, std::net::AddrParseError> = addresses.collect();
            Backing::NvmeTcp {
                subsystem: storage.subsystem,
                namespace: storage.namespace,
                addresses: addresses.map_err(|_| {
                    Status::invalid_argument("An address of the backing is none. Give each as IP:PORT.")
                })?,
            }
        }
        None => {
            return Err(Status::invalid_argument(
                "The backing says nothing. Set nvme_tcp, card_name or static_disk, or leave it out.",
            ));
        }
    };
    Ok(Some(backing))
}

fn function(asked: &CardFunction) -> Result<PciFunction, Status> {
    let number = |value: u32| {
        u16::try_from(value)
            .map_err(|_| Status::invalid_argument("No card has such a function. Count from 0."))
    };
    Ok(PciFunction {
        port: number(asked.port)?,
        physical: number(asked.physical)?,
        virtual_: number(asked.r#virtual)?,
    })
}

#[tonic::async_trait]
impl Volumes for VolumesService {
    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let request = request.into_inner();
        let page = self
            .0
            .volumes
            .list(&caller.viewer(), &request.page_token, request.page_size)
            .await
            .map_err(status::<VolumeError>)?;
        Ok(Response::new(ListVolumesResponse {
            volumes: page.items.into_iter().map(wire).collect(),
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn get_volume(&self, request: Request<GetVolumeRequest>) -> Result<Response<WireVolume>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let found = self
            .0
            .volumes
            .find(&caller.viewer(), &request.get_ref().volume)
            .await;
        Ok(Response::new(wire(found.map_err(status::<VolumeError>)?)))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<WireVolume>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let request = request.into_inner();
        let project_id = if request.project.is_empty() {
            None
        } else {
            let project = self.0.tenants.project(&caller.viewer(), &request.project).await;
            Some(project.map_err(status::<TenantError>)?.id)
        };
        let limits = request.limits.unwrap_or_default();
        let limits = Limits {
            kiops: limits.kiops,
            mb_per_s: limits.mb_per_s,
        };
        let from_image = Some(request.from_image).filter(|image| !image.is_empty());
        let role = Some(request.role).filter(|role| !role.is_empty());
        let from_image = from_image.map(|image| FromImage { image, role });
        let made = match backing(request.backing)? {
            Some(_) if from_image.is_some() => Err(VolumeError::TwoContents),
            Some(backing) => {
                let new = NewVolume {
                    name: request.name,
                    project_id,
                    size_bytes: request.size_bytes,
                    backing,
                    limits,
                };
                self.0.volumes.create(&caller, &new).await
            }
            None => {
                let wanted = WantedVolume {
                    name: request.name,
                    project_id,
                    size_bytes: Some(request.size_bytes).filter(|bytes| *bytes > 0),
                    limits,
                    from_image,
                };
                self.0.volumes.make(&caller, &wanted).await
            }
        };
        Ok(Response::new(wire(made.map_err(status::<VolumeError>)?)))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<WireVolume>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let deleted = self.0.volumes.delete(&caller, &request.get_ref().volume).await;
        Ok(Response::new(wire(deleted.map_err(status::<VolumeError>)?)))
    }

    async fn attach_volume(
        &self,
        request: Request<AttachVolumeRequest>,
    ) -> Result<Response<WireVolume>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let request = request.into_inner();
        let kind = match request.kind.as_str() {
            "" => DiskKind::VirtioBlk,
            word => word.parse().map_err(|error: crate::words::UnknownWord| {
                Status::invalid_argument(format!("{error}. Use virtio-blk or nvme."))
            })?,
        };
        let seat = WantedSeat {
            kind,
            function: request.function.as_ref().map(function).transpose()?,
        };
        let attached = self
            .0
            .volumes
            .attach(&caller, &request.volume, &request.node, seat)
            .await;
        Ok(Response::new(wire(attached.map_err(status::<VolumeError>)?)))
    }

    async fn detach_volume(
        &self,
        request: Request<DetachVolumeRequest>,
    ) -> Result<Response<WireVolume>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let DetachVolumeRequest {
            volume,
            force,
            abandon,
        } = request.into_inner();
        let how = Detaching::of(force, abandon);
        // What the caller may not see does not exist for him, whatever he sends.
        let found = self.0.volumes.find(&caller.viewer(), &volume).await;
        let volume = found.map_err(status::<VolumeError>)?.id;
        if how.may_harm() {
            caller.require(Permission::WriteNodes)?;
        }
        let detached = self.0.volumes.detach(&self.0.guests, &caller, &volume, how).await;
        Ok(Response::new(wire(detached.map_err(status::<VolumeError>)?)))
    }

    async fn list_orphans(
        &self,
        request: Request<ListOrphansRequest>,
    ) -> Result<Response<ListOrphansResponse>, Status> {
        caller(&request)?.require(Permission::WriteNodes)?;
        let found = self.0.volumes.orphans().await.map_err(status::<VolumeError>)?;
        let orphans = found.items.into_iter().map(|orphan| VolumeOrphan {
            node_id: orphan.node_id,
            node: orphan.node,
            name: orphan.name,
            volume_id: orphan.volume_id.unwrap_or_default(),
        });
        let stored = found.stored.into_iter().map(|orphan| WireStoredOrphan {
            backend: orphan.backend.to_string(),
            name: orphan.name,
            volume_id: orphan.volume_id.unwrap_or_default(),
        });
        Ok(Response::new(ListOrphansResponse {
            orphans: orphans.collect(),
            unanswered: found.unanswered,
            stored: stored.collect(),
        }))
    }

    async fn get_card(&self, request: Request<GetCardRequest>) -> Result<Response<Card>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let node = self.0.nodes.find(&caller.viewer(), &request.get_ref().node).await;
        let node = node.map_err(status::<InventoryError>)?;
        let card = self
            .0
            .volumes
            .card_of(&node.id)
            .await
            .map_err(status::<VolumeError>)?;
        Ok(Response::new(Card {
            address: card.unwrap_or_default(),
        }))
    }

    async fn set_card(&self, request: Request<SetCardRequest>) -> Result<Response<Card>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let SetCardRequest { node, address } = request.into_inner();
        let card = Some(address.as_str()).filter(|address| !address.is_empty());
        let set = self.0.volumes.set_card(&caller, &node, card).await;
        set.map_err(status::<VolumeError>)?;
        Ok(Response::new(Card { address }))
    }
}
