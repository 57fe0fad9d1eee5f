//! The matrix: systems that differ in network stack, file systems, firmware, network and user-data, each installed over the
//! network and looked at from the inside. One row is one server.

mod form;
mod inside;
mod kernel;
mod wiring;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::form::Form;
use self::wiring::Wiring;
use super::{Scenario, deploy};
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// One combination.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    about: &'static str,
    /// The image; none: the everyday one.
    image: Option<&'static str>,
    /// What its `os-release` calls itself.
    os_version: &'static str,
    firmware: Firmware,
    disk: DiskKind,
    /// Type of the root file system.
    root: &'static str,
    /// Points besides the root where something has to be mounted.
    mounted: &'static [&'static str],
    wiring: Wiring,
    form: Form,
    /// Whether every change must pass it: with the everyday image, which is there anyway.
    ci: bool,
}

const BASE: Row = Row {
    name: "",
    about: "",
    image: None,
    os_version: "12",
    firmware: Firmware::Bios,
    disk: DiskKind::Virtio,
    root: "ext4",
    mounted: &[],
    wiring: Wiring::Dhcp,
    form: Form::CloudConfig,
    ci: false,
};

const ROWS: &[Row] = &[
    Row {
        name: "matrix-ifupdown-dhcp",
        about: "Debian 12, ifupdown, /boot of its own, BIOS: DHCP; user-data: a script",
        image: Some("deb12-ifupdown-boot"),
        mounted: &["/boot"],
        form: Form::Script,
        ..BASE
    },
    Row {
        name: "matrix-ifupdown-bond",
        about: "Debian 12, ifupdown, /boot of its own, UEFI: bond and VLAN, IPv4 and IPv6, MTU 9000; user-data: cloud-config",
        image: Some("deb12-ifupdown-boot"),
        firmware: Firmware::Uefi,
        mounted: &["/boot"],
        wiring: Wiring::Bond,
        ..BASE
    },
    Row {
        name: "matrix-networkd-bond",
        about: "Debian 12, systemd-networkd, ext4, BIOS: bond and VLAN as network_data.json, LACP; user-data: gzip",
        wiring: Wiring::BondOpenStack,
        form: Form::Gzip,
        ci: true,
        ..BASE
    },
    Row {
        name: "matrix-nm-static",
        about: "Debian 12, NetworkManager, XFS, BIOS: static IPv4 and IPv6; user-data: MIME parts",
        image: Some("deb12-nm-xfs"),
        root: "xfs",
        disk: DiskKind::Sata,
        wiring: Wiring::Static,
        form: Form::Mime,
        ..BASE
    },
    Row {
        name: "matrix-nm-bond",
        about: "Debian 12, NetworkManager, XFS, UEFI: bond and VLAN, IPv4 and IPv6, MTU 9000; user-data: cloud-config",
        image: Some("deb12-nm-xfs"),
        firmware: Firmware::Uefi,
        disk: DiskKind::Nvme,
        root: "xfs",
        wiring: Wiring::Bond,
        ..BASE
    },
    Row {
        name: "matrix-netplan-static",
        about: "Debian 12, netplan, btrfs with subvolumes, UEFI: static IPv4 and IPv6; user-data: cloud-config as a jinja template",
        image: Some("deb12-netplan-btrfs"),
        firmware: Firmware::Uefi,
        root: "btrfs",
        mounted: &["/home", "/var"],
        wiring: Wiring::Static,
        form: Form::Jinja,
        ..BASE
    },
    Row {
        name: "matrix-netplan-bond",
        about: "Debian 12, netplan, btrfs with subvolumes, BIOS: bond and VLAN, IPv4 and IPv6, MTU 9000; user-data: gzip",
        image: Some("deb12-netplan-btrfs"),
        disk: DiskKind::Scsi,
        root: "btrfs",
        mounted: &["/home", "/var"],
        wiring: Wiring::Bond,
        form: Form::Gzip,
        ..BASE
    },
    Row {
        name: "matrix-lvm-static",
        about: "Debian 12, systemd-networkd, root on LVM, UEFI: static IPv4 and IPv6; user-data: a script",
        image: Some("deb12-lvm"),
        firmware: Firmware::Uefi,
        disk: DiskKind::Nvme,
        wiring: Wiring::Static,
        form: Form::Script,
        ..BASE
    },
    Row {
        name: "matrix-lvm-dhcp",
        about: "Debian 12, systemd-networkd, root on LVM, BIOS: DHCP; user-data: MIME parts",
        image: Some("deb12-lvm"),
        form: Form::Mime,
        ..BASE
    },
    Row {
        name: "matrix-trixie-bond",
        about: "Debian 13, systemd-networkd, ext4, UEFI: bond and VLAN, IPv4 and IPv6, MTU 9000; user-data: jinja",
        image: Some("trixie"),
        os_version: "13",
        firmware: Firmware::Uefi,
        disk: DiskKind::Nvme,
        wiring: Wiring::Bond,
        form: Form::Jinja,
        ..BASE
    },
];

/// The rows as scenarios.
pub const SCENARIOS: &[Scenario] = &scenarios();

const fn scenarios() -> [Scenario; ROWS.len()] {
    let mut scenarios = [of(&ROWS[0]); ROWS.len()];
    let mut index = 1;
    while index < ROWS.len() {
        scenarios[index] = of(&ROWS[index]);
        index += 1;
    }
    scenarios
}

const fn of(row: &Row) -> Scenario {
    Scenario {
        name: row.name,
        about: row.about,
        ci: row.ci,
        variant: row.image,
        rough_seconds: 150,
        run,
    }
}

fn run(name: &str, parts: &Parts) -> Result<()> {
    let row = ROWS.iter().find(|row| row.name == name);
    let row = row.context("a row that is not in the table")?;
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    if row.wiring.has_vlan() {
        lab.far_end()?;
    }
    let mut spec = NodeSpec::new(row.firmware, DiskSpec::new(row.disk));
    spec.nics = row.wiring.nics();
    spec.switch_mtu = row.wiring.mtu();
    let mut node = lab.build(spec.clone())?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let deployment = order(&lab, &node, row)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    tell("discovered, approved, deploying");
    let done = lab.wait_deployment(&mut node, id, "succeeded", patience::DEPLOYMENT)?;
    let facts = lab.wait_state(&mut node, "active", patience::SHORT)?;
    deploy::check_came_up(&node, (row.firmware, row.os_version), &done, &facts)?;
    let address = deploy::address(&done)?;
    tell(&format!("active: {}", done["first_boot"]));
    let wired = row.wiring.address();
    ensure!(
        wired.is_none_or(|wired| wired == address),
        "{address} was reported, not {wired:?}"
    );
    inside::check(&lab, &node, row, &spec, &address).explain(|| lab.picture(&node))
}

fn order(lab: &Lab, node: &Node, row: &Row) -> Result<Value> {
    let user_data = row.form.write(&lab.key, lab.folder())?;
    let mut arguments = vec![
        "deploy".to_owned(),
        node.mac.clone(),
        "--image".to_owned(),
        IMAGE.to_owned(),
        "--user-data".to_owned(),
        user_data.display().to_string(),
    ];
    if let Some(text) = row.wiring.data(&node.macs) {
        let file = lab.folder().join("network-data");
        fs::write(&file, text).context("cannot write the network data")?;
        arguments.extend(["--network".to_owned(), file.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match lab.cli.json(&arguments)? {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        other => other,
    })
}

/// Time for one look into a system that is emulated and busy.
const LOOK: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_gone_at_least_once() {
        let any = |wanted: &dyn Fn(&Row) -> bool| ROWS.iter().any(wanted);
        for form in Form::ALL {
            assert!(any(&|row| row.form == *form), "{form:?}");
        }
        for wiring in Wiring::ALL {
            assert!(any(&|row| row.wiring == *wiring), "{wiring:?}");
        }
        for root in ["ext4", "xfs", "btrfs"] {
            for firmware in [Firmware::Bios, Firmware::Uefi] {
                assert!(any(&|row| row.root == root && row.firmware == firmware), "{root}");
            }
        }
        for row in ROWS {
            assert!(!row.ci || row.image.is_none(), "{}", row.name);
            assert!(row.name.starts_with("matrix-"));
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1);
        }
    }
}
