//! gRPC: power of servers, and the management controllers that switch them.

use imprint_proto::v1::{
    Bmc as WireBmc, BmcHardware, BmcQuirks as WireQuirks, BmcSensor, ChangePowerRequest, DeleteBmcRequest,
    GetBmcHardwareRequest, GetBmcRequest, GetPowerRequest, NodePower as WirePower, PowerAction as WireAction,
    SetBmcRequest, SetMediaRequest, SetMediaResponse,
    power_server::{Power, PowerServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};
use zeroize::Zeroizing;

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    app::App,
    identity::Permission,
    power::{self, BmcQuirks, BmcRecord, BootTarget, Media, NewBmc, PowerAction, PowerError, WantedPower},
    words::UnknownWord,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(PowerServer::new(PowerService(app.clone())));
}

/// `imprint.v1.Power`.
#[derive(Debug, Clone)]
struct PowerService(App);

fn wire(record: BmcRecord) -> WireBmc {
    let quirks = record.quirks;
    WireBmc {
        kind: record.kind.to_string(),
        address: record.address,
        user: record.user,
        system: record.system.unwrap_or_default(),
        fingerprint: record.fingerprint.unwrap_or_default(),
        ca_pem: record.ca_pem.unwrap_or_default(),
        plain_http: record.plain_http,
        boot: record.boot.to_string(),
        serial_over_lan: record.serial_over_lan,
        instructions: record.instructions,
        quirks: Some(WireQuirks {
            power_seconds: quirks.power_seconds,
            shutdown_seconds: quirks.shutdown_seconds,
            request_seconds: quirks.request_seconds,
            basic_auth: quirks.basic_auth,
            no_if_match: quirks.no_if_match,
            boot_continuous: quirks.boot_continuous,
            boot_mode: quirks.boot_mode,
            no_boot_override: quirks.no_boot_override,
            cd_target: quirks.cd_target,
            other_identity: quirks.other_identity,
            cipher_suite: quirks.cipher_suite.map(u32::from),
        }),
        vendor: record.vendor,
        model: record.model,
        set_by: record.set_by,
        set_at: record.set_at.map(timestamp),
    }
}

fn action(action: PowerAction) -> WireAction {
    WireAction {
        id: action.id,
        node_id: action.node_id,
        action: action.action.to_string(),
        force: action.force,
        boot: action.boot.map(|target| target.to_string()).unwrap_or_default(),
        state: action.state.to_string(),
        why: action.why,
        remedy: action.remedy,
        deployment_id: action.deployment_id.unwrap_or_default(),
        requested_by: action.requested_by.unwrap_or_default(),
        created_at: Some(timestamp(action.created_at)),
        deadline: Some(timestamp(action.deadline)),
        ended_at: action.ended_at.map(timestamp),
    }
}

fn quirks(asked: Option<WireQuirks>) -> Result<BmcQuirks, Status> {
    let asked = asked.unwrap_or_default();
    let suite = asked.cipher_suite.map(u8::try_from).transpose();
    Ok(BmcQuirks {
        power_seconds: asked.power_seconds,
        shutdown_seconds: asked.shutdown_seconds,
        request_seconds: asked.request_seconds,
        basic_auth: asked.basic_auth,
        no_if_match: asked.no_if_match,
        boot_continuous: asked.boot_continuous,
        boot_mode: asked.boot_mode,
        no_boot_override: asked.no_boot_override,
        cd_target: asked.cd_target,
        other_identity: asked.other_identity,
        cipher_suite: suite.map_err(|_| {
            Status::invalid_argument("IPMI has no such cipher suite. Use a number up to 255.")
        })?,
    })
}

fn word<T: std::str::FromStr<Err = UnknownWord>>(text: &str, known: &str) -> Result<T, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("{error}. Use {known}.")))
}

fn target(text: &str) -> Result<Option<BootTarget>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    word(text, "pxe, uefi-http, cd or disk").map(Some)
}

#[tonic::async_trait]
impl Power for PowerService {
    async fn get_bmc(&self, request: Request<GetBmcRequest>) -> Result<Response<WireBmc>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let found = self.0.power.bmc(&caller.viewer(), &request.get_ref().node).await;
        Ok(Response::new(wire(found.map_err(status::<PowerError>)?)))
    }

    async fn set_bmc(&self, request: Request<SetBmcRequest>) -> Result<Response<WireBmc>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let request = request.into_inner();
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let new = NewBmc {
            kind: word(&request.kind, "redfish, ipmi or manual")?,
            address: request.address,
            user: request.user,
            password: given(request.password).map(Zeroizing::new),
            system: given(request.system),
            fingerprint: given(request.fingerprint),
            ca_pem: given(request.ca_pem),
            plain_http: request.plain_http,
            boot: target(&request.boot)?,
            serial_over_lan: request.serial_over_lan,
            instructions: request.instructions,
            quirks: quirks(request.quirks)?,
        };
        let set = self.0.power.set_bmc(&caller, &request.node, new).await;
        Ok(Response::new(wire(set.map_err(status::<PowerError>)?)))
    }

    async fn delete_bmc(&self, request: Request<DeleteBmcRequest>) -> Result<Response<WireBmc>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let was = self.0.power.forget_bmc(&caller, &request.get_ref().node).await;
        Ok(Response::new(wire(was.map_err(status::<PowerError>)?)))
    }

    async fn get_bmc_hardware(
        &self,
        request: Request<GetBmcHardwareRequest>,
    ) -> Result<Response<BmcHardware>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let viewer = caller.viewer();
        let found = self.0.power.hardware_of(&viewer, &request.get_ref().node).await;
        let found = found.map_err(status::<PowerError>)?;
        let sensors = found.sensors.into_iter().map(|sensor| BmcSensor {
            name: sensor.name,
            kind: sensor.kind.to_string(),
            reading: sensor.reading,
            unit: sensor.unit,
            health: sensor.health.to_string(),
        });
        Ok(Response::new(BmcHardware {
            sensors: sensors.collect(),
            vendor: found.vendor,
            model: found.model,
            serial: found.serial,
            uuid: found.uuid,
            firmware_version: found.firmware_version,
            bmc_version: found.bmc_version,
            processors: found.processors,
            memory_bytes: found.memory_bytes,
            health: found.health.to_string(),
            power: found.power.to_string(),
            missing: found.missing,
        }))
    }

    async fn set_media(
        &self,
        request: Request<SetMediaRequest>,
    ) -> Result<Response<SetMediaResponse>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteNodes)?;
        let SetMediaRequest { node, url, ramdisk } = request.into_inner();
        let wanted = Some(url.as_str()).filter(|url| !url.is_empty());
        let wanted = Media::of(wanted, ramdisk).map_err(status::<PowerError>)?;
        let set = power::set_media(&self.0, &caller, &node, wanted).await;
        set.map_err(status::<PowerError>)?;
        Ok(Response::new(SetMediaResponse { url, ramdisk }))
    }

    async fn get_power(&self, request: Request<GetPowerRequest>) -> Result<Response<WirePower>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::ReadNodes)?;
        let viewer = caller.viewer();
        let found = self.0.power.power_of(&viewer, &request.get_ref().node).await;
        let found = found.map_err(status::<PowerError>)?;
        Ok(Response::new(WirePower {
            node_id: found.node_id,
            kind: found.kind.to_string(),
            state: found.state.to_string(),
            why: found.why,
            remedy: found.remedy,
            instructions: found.instructions,
            action: found.action.map(action),
        }))
    }

    async fn change_power(
        &self,
        request: Request<ChangePowerRequest>,
    ) -> Result<Response<WireAction>, Status> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteDeployments)?;
        let request = request.into_inner();
        // What the caller may not see does not exist for him, whatever he sends.
        let node = self.0.nodes.find(&caller.viewer(), &request.node).await;
        let node = node.map_err(status::<crate::inventory::InventoryError>)?.id;
        let wanted = WantedPower {
            action: word(&request.action, "on, off or cycle")?,
            force: request.force,
            boot: target(&request.boot)?,
        };
        let begun = self.0.power.change(&caller, &node, wanted).await;
        Ok(Response::new(action(begun.map_err(status::<PowerError>)?)))
    }
}
