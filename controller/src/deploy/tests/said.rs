//! What agents and installed systems say in these tests.

use imprint_proto::agent::v1 as wire;

use super::rig::{GIB, MAC, UUID};
use crate::deploy::Deployment;

pub(super) fn deploy_task(task: &wire::Task) -> &wire::DeployTask {
    match &task.kind {
        Some(wire::task::Kind::Deploy(deploy)) => deploy,
        other => panic!("expected a deployment, got {other:?}"),
    }
}

pub(super) fn report_token(task: &wire::Task) -> String {
    deploy_task(task)
        .finish
        .as_ref()
        .unwrap()
        .guest
        .as_ref()
        .unwrap()
        .report_token
        .clone()
}

pub(super) fn step_event(
    task: &str,
    sequence: u64,
    step: wire::Step,
    kind: wire::StepKind,
) -> wire::StepEvent {
    wire::StepEvent {
        task_id: task.to_owned(),
        sequence,
        step: step.into(),
        kind: kind.into(),
        at: None,
        detail: format!("detail {sequence}"),
        cause: String::new(),
        remedy: String::new(),
        retry_in_ms: 0,
        rescue: None,
    }
}

pub(super) fn success(deployment: &Deployment) -> wire::outcome::Result {
    wire::outcome::Result::Success(wire::Success {
        disk: Some(inventory().disks.remove(0)),
        image_digest: hex::decode(&deployment.image_digest).unwrap(),
        write: Some(wire::WriteFigures {
            bytes_written: 4 << 20,
            ..wire::WriteFigures::default()
        }),
        boot_entry: "Boot0003 debian".to_owned(),
        no_first_boot_report: false,
    })
}

pub(super) fn failure(step: wire::Step, head_cleared: bool) -> wire::outcome::Result {
    wire::outcome::Result::Failure(wire::Failure {
        step: step.into(),
        cause: "no space".to_owned(),
        remedy: "a larger disk".to_owned(),
        head_cleared,
        retryable: false,
    })
}

pub(super) fn first_boot(deployment: &Deployment, boot_id: &str) -> wire::FirstBootReport {
    wire::FirstBootReport {
        deployment_id: deployment.id.clone(),
        hostname: "node-abcd01".to_owned(),
        os_name: "Debian GNU/Linux 12".to_owned(),
        boot_id: boot_id.to_owned(),
        ..wire::FirstBootReport::default()
    }
}

pub(super) fn hello(boot_id: &str, task_id: &str) -> wire::Hello {
    wire::Hello {
        agent_version: "0.1.0".to_owned(),
        boot_id: boot_id.to_owned(),
        task_id: task_id.to_owned(),
        start_count: 1,
        defects: Vec::new(),
    }
}

pub(super) fn fingerprint() -> wire::Fingerprint {
    wire::Fingerprint {
        smbios_uuid: UUID.to_owned(),
        smbios_serial: "SN-1".to_owned(),
        macs: vec![MAC.to_owned()],
    }
}

pub(super) fn inventory() -> wire::Inventory {
    let disk = |name: &str, serial: &str, sector| wire::Disk {
        kernel_name: name.to_owned(),
        serial: serial.to_owned(),
        transport: wire::Transport::Nvme.into(),
        size_bytes: GIB,
        logical_sector_bytes: sector,
        contents_read: true,
        ..wire::Disk::default()
    };
    wire::Inventory {
        fingerprint: Some(fingerprint()),
        system: Some(wire::System {
            vendor: "QEMU".to_owned(),
            product: "Q35".to_owned(),
            ..wire::System::default()
        }),
        disks: vec![disk("nvme0n1", "D1", 512)],
        nics: vec![wire::Nic {
            kernel_name: "enp0s2".to_owned(),
            mac: MAC.to_owned(),
            boot_interface: true,
            ..wire::Nic::default()
        }],
        ..wire::Inventory::default()
    }
}
