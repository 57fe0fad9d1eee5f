//! The stories, by name. Each runs in a process and a network of its own.

mod bad_input;
mod compare_bytes;
mod demo_interrupted;
pub(crate) mod deploy;
mod discovered;
mod disk_rules;
mod fault;
mod fault_agent_hangs;
mod fault_agent_killed;
mod fault_agent_refuses;
mod fault_cable_pulled;
mod fault_cancelled;
mod fault_cells;
mod fault_cells_2;
mod fault_cloud_init;
mod fault_connection_cut;
mod fault_controller_killed;
mod fault_disk_full;
mod fault_refused;
mod fault_wrong_digest;
mod guest;
mod image_boots;
mod ipmi_deploy;
mod matrix;
mod network_faults;
mod network_watch;
mod redfish_deploy;
mod reinstall_release;
mod rescue;
mod sdi_boot;
mod sdi_data_volume;
mod sdi_faults;
mod sdi_quick;
mod sushy_deploy;
pub(crate) mod volume;

use anyhow::Result;

use crate::lab::Parts;

/// A story that can be run by name.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What `lab run` calls it.
    pub name: &'static str,
    /// One line for `lab list`.
    pub about: &'static str,
    /// Whether every change must pass it; the others run when they are asked for.
    pub ci: bool,
    /// The image that stands in the everyday image's place, if another does.
    pub variant: Option<&'static str>,
    /// What it takes on two cores under emulation.
    pub rough_seconds: u64,
    run: fn(&str, &Parts) -> Result<()>,
}

impl Scenario {
    /// Tells the story to its end.
    pub fn run(&self, parts: &Parts) -> Result<()> {
        match self.variant {
            Some(name) => (self.run)(self.name, &parts.with_variant(name)?),
            None => (self.run)(self.name, parts),
        }
    }

    /// The set that it belongs to.
    pub fn set(&self) -> &'static str {
        match MATRIX.iter().any(|row| row.name == self.name) {
            _ if self.ci => "ci",
            true => "matrix",
            false => "more",
        }
    }
}

pub use matrix::SCENARIOS as MATRIX;

/// All scenarios, quick and telling ones first.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().chain(MATRIX)
}

/// A scenario by its name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// Those that are told one by one.
const ALL: &[Scenario] = &[
    Scenario {
        name: "bad-input",
        about: "wrong configuration, user-data, image and port: one clear message with a remedy",
        ci: true,
        variant: None,
        rough_seconds: 15,
        run: bad_input::run,
    },
    Scenario {
        name: "deploy-uefi-nvme",
        about: "UEFI and NVMe, from power-on to ssh",
        ci: true,
        variant: None,
        rough_seconds: 110,
        run: deploy::uefi_nvme,
    },
    Scenario {
        name: "deploy-bios-virtio",
        about: "BIOS and virtio-blk, from power-on to ssh",
        ci: false,
        variant: None,
        rough_seconds: 100,
        run: deploy::bios_virtio,
    },
    Scenario {
        name: "compare-bytes",
        about: "the disk equals the image byte by byte, but for what the finish changes; no program of the image was run",
        ci: true,
        variant: None,
        rough_seconds: 60,
        run: compare_bytes::run,
    },
    Scenario {
        name: "discovered-untouched",
        about: "a server nobody asked for is listed with its inventory and nothing is written to it",
        ci: true,
        variant: None,
        rough_seconds: 60,
        run: discovered::run,
    },
    Scenario {
        name: "reinstall-release",
        about: "the next version over the old one fetches what differs; released, nothing of the tenant is left; the disk beside it stays",
        ci: false,
        variant: None,
        rough_seconds: 280,
        run: reinstall_release::run,
    },
    Scenario {
        name: "rescue",
        about: "a server with a system is rescued: ssh with a password that works once, its disk read; then its system is up again",
        ci: false,
        variant: None,
        rough_seconds: 260,
        run: rescue::run,
    },
    Scenario {
        name: "fault-wrong-digest",
        about: "a flipped bit in the store: failed with a cause, disk not bootable, then deployed after all",
        ci: true,
        variant: None,
        rough_seconds: 80,
        run: fault_wrong_digest::run,
    },
    Scenario {
        name: "fault-connection-cut",
        about: "the cable is pulled in mid-image: only missing chunks are fetched again",
        ci: true,
        variant: None,
        rough_seconds: 90,
        run: fault_connection_cut::run,
    },
    Scenario {
        name: "fault-controller-killed",
        about: "kill -9 of the controller in mid-write: the agent goes on with the same task",
        ci: true,
        variant: None,
        rough_seconds: 80,
        run: fault_controller_killed::run,
    },
    Scenario {
        name: "fault-disk-full",
        about: "the controller's disk is full in mid-write: refused with the reason, and all goes on once there is room",
        ci: false,
        variant: None,
        rough_seconds: 180,
        run: fault_disk_full::run,
    },
    Scenario {
        name: "fault-cells",
        about: "boot, write and first boot against power cut, network cut and a dead controller: active each time",
        ci: false,
        variant: None,
        rough_seconds: 900,
        run: fault_cells::run,
    },
    Scenario {
        name: "fault-cells-2",
        about: "write, partitions, seed and power-on against a dead store, a killed agent, a power cut and a silent BMC: active each time",
        ci: false,
        variant: None,
        rough_seconds: 700,
        run: fault_cells_2::run,
    },
    Scenario {
        name: "fault-agent-killed",
        about: "kill -9 of the agent in mid-write: it starts again and resumes",
        ci: true,
        variant: None,
        rough_seconds: 80,
        run: fault_agent_killed::killed,
    },
    Scenario {
        name: "fault-refused",
        about: "image larger than the disk, two disks that match the rule: refused with a remedy, disks untouched",
        ci: true,
        variant: None,
        rough_seconds: 90,
        run: fault_refused::run,
    },
    Scenario {
        name: "disk-rules",
        about: "six disks of mixed kinds: each rule names the right one or is refused with the list; the others stay as they were",
        ci: true,
        variant: None,
        rough_seconds: 90,
        run: disk_rules::run,
    },
    Scenario {
        name: "fault-agent-refuses",
        about: "disks come and go behind the controller's back: the agent refuses with the cause, disks untouched",
        ci: true,
        variant: None,
        rough_seconds: 50,
        run: fault_agent_refuses::run,
    },
    Scenario {
        name: "network-watch",
        about: "the network of a running system is spoilt, one fault of each kind: back within a minute, and the controller knows",
        ci: true,
        variant: None,
        rough_seconds: 240,
        run: network_watch::of_each_kind,
    },
    Scenario {
        name: "network-watch-networkd",
        about: "every fault of a network with bond and VLAN, by systemd-networkd: typed at the console, back within a minute",
        ci: false,
        variant: None,
        rough_seconds: 700,
        run: network_faults::networkd,
    },
    Scenario {
        name: "network-watch-ifupdown",
        about: "every fault of a network with bond and VLAN, by ifupdown: typed at the console, back within a minute",
        ci: false,
        variant: Some("deb12-ifupdown-boot"),
        rough_seconds: 700,
        run: network_faults::ifupdown,
    },
    Scenario {
        name: "network-watch-nm",
        about: "every fault of a network with bond and VLAN, by NetworkManager: typed at the console, back within a minute",
        ci: false,
        variant: Some("deb12-nm-xfs"),
        rough_seconds: 700,
        run: network_faults::network_manager,
    },
    Scenario {
        name: "network-watch-netplan",
        about: "every fault of a network with bond and VLAN, by netplan: typed at the console, back within a minute",
        ci: false,
        variant: Some("deb12-netplan-btrfs"),
        rough_seconds: 700,
        run: network_faults::netplan,
    },
    Scenario {
        name: "demo-interrupted",
        about: "Ctrl-C and SIGKILL in the middle of a demo leave nothing behind",
        ci: true,
        variant: None,
        rough_seconds: 40,
        run: demo_interrupted::run,
    },
    Scenario {
        name: "secure-boot",
        about: "UEFI with Secure Boot and Microsoft's keys, from power-on to ssh, and restarted over the network",
        ci: false,
        variant: None,
        rough_seconds: 180,
        run: deploy::secure_boot,
    },
    Scenario {
        name: "deploy-uefi-virtio",
        about: "UEFI and virtio-blk, from power-on to ssh",
        ci: false,
        variant: None,
        rough_seconds: 110,
        run: deploy::uefi_virtio,
    },
    Scenario {
        name: "deploy-uefi-http",
        about: "UEFI HTTP boot without PXE, from power-on to ssh",
        ci: false,
        variant: None,
        rough_seconds: 110,
        run: deploy::uefi_http,
    },
    Scenario {
        name: "deploy-bios-sata",
        about: "BIOS and SATA, from power-on to ssh",
        ci: false,
        variant: None,
        rough_seconds: 100,
        run: deploy::bios_sata,
    },
    Scenario {
        name: "deploy-bios-scsi",
        about: "BIOS and virtio-scsi, from power-on to ssh",
        ci: false,
        variant: None,
        rough_seconds: 100,
        run: deploy::bios_scsi,
    },
    Scenario {
        name: "deploy-three-nodes",
        about: "three servers at once",
        ci: false,
        variant: None,
        rough_seconds: 240,
        run: deploy::three_nodes,
    },
    Scenario {
        name: "deploy-own-dhcp",
        about: "the controller's own DHCP server on an isolated network",
        ci: false,
        variant: None,
        rough_seconds: 100,
        run: deploy::own_dhcp,
    },
    Scenario {
        name: "fault-agent-crashes",
        about: "SIGABRT in the agent in mid-write: it starts again, resumes, and the node tells of it",
        ci: false,
        variant: None,
        rough_seconds: 70,
        run: fault_agent_killed::crashes,
    },
    Scenario {
        name: "fault-agent-hangs",
        about: "the agent stands still in mid-write: noticed by the deadline; what it does later is unwanted",
        ci: false,
        variant: None,
        rough_seconds: 70,
        run: fault_agent_hangs::run,
    },
    Scenario {
        name: "fault-cancel-write",
        about: "cancelled in mid-write: the disk boots nothing, the node takes the next order",
        ci: false,
        variant: None,
        rough_seconds: 40,
        run: fault_cancelled::in_mid_write,
    },
    Scenario {
        name: "fault-cancel-restart",
        about: "cancelled while the machine restarts: it boots the ramdisk, not the system that nobody wants",
        ci: false,
        variant: None,
        rough_seconds: 90,
        run: fault_cancelled::in_restart,
    },
    Scenario {
        name: "fault-cloud-init",
        about: "user-data fails in the first boot: the deployment fails with the words of cloud-init, and is accepted as it is",
        ci: false,
        rough_seconds: 110,
        variant: None,
        run: fault_cloud_init::run,
    },
    Scenario {
        name: "fault-cable-pulled",
        about: "the switch is dark for 20 s in mid-write: only missing chunks are fetched again",
        ci: false,
        variant: None,
        rough_seconds: 70,
        run: fault_cable_pulled::run,
    },
    Scenario {
        name: "redfish-deploy",
        about: "a server that nobody touches: its BMC switches it on into the network once, and off; also over a running system",
        ci: false,
        variant: None,
        rough_seconds: 260,
        run: redfish_deploy::run,
    },
    Scenario {
        name: "ipmi-deploy",
        about: "the same by IPMI alone: switched, booted once and deployed by ipmitool; its serial console is in the deployment's log",
        ci: false,
        variant: None,
        rough_seconds: 180,
        run: ipmi_deploy::run,
    },
    Scenario {
        name: "redfish-power-fails",
        about: "a server loses its power in mid-write, and nobody comes: its BMC switches it on, and it is deployed all the same",
        ci: false,
        variant: None,
        rough_seconds: 330,
        run: redfish_deploy::power_fails,
    },
    Scenario {
        name: "sushy-deploy",
        about: "the same by sushy-tools, a BMC that somebody else has written: on, into the network, deployed, off",
        ci: false,
        variant: None,
        rough_seconds: 170,
        run: sushy_deploy::network,
    },
    Scenario {
        name: "sushy-media",
        about: "a network without PXE: servers with Secure Boot and with a BIOS boot the ramdisk from a virtual CD, and are deployed",
        ci: false,
        variant: None,
        rough_seconds: 350,
        run: sushy_deploy::media,
    },
    Scenario {
        name: "sdi-data-volume",
        about: "a volume of an SDI card: a disk of one running server, then of another one, with the same bytes",
        ci: false,
        variant: None,
        rough_seconds: 300,
        run: sdi_data_volume::run,
    },
    Scenario {
        name: "sdi-boot-virtio",
        about: "UEFI without a disk: installed onto a volume of an SDI card (virtio-blk), boots from it twice",
        ci: true,
        variant: None,
        rough_seconds: 180,
        run: sdi_boot::virtio,
    },
    Scenario {
        name: "sdi-boot-nvme",
        about: "the same with a volume that is an NVMe disk",
        ci: false,
        variant: None,
        rough_seconds: 180,
        run: sdi_boot::nvme,
    },
    Scenario {
        name: "sdi-two-disks",
        about: "installed onto a volume beside two disks of its own: no byte of them has changed",
        ci: false,
        variant: None,
        rough_seconds: 180,
        run: sdi_boot::two_disks,
    },
    Scenario {
        name: "sdi-faults",
        about: "silent card, volume that never comes or is another one: told and taken back; card and storage gone in mid-write: goes on",
        ci: false,
        variant: None,
        rough_seconds: 700,
        run: sdi_faults::run,
    },
    Scenario {
        name: "sdi-quick",
        about: "from a volume that the controller has prepared: nothing is streamed; then another server takes the system over",
        ci: false,
        variant: None,
        rough_seconds: 500,
        run: sdi_quick::run,
    },
    Scenario {
        name: "image-boots-bios",
        about: "the Debian image itself, without Imprint, under BIOS",
        ci: false,
        variant: None,
        rough_seconds: 70,
        run: image_boots::bios,
    },
    Scenario {
        name: "image-boots-uefi",
        about: "the Debian image itself, without Imprint, under UEFI",
        ci: false,
        variant: None,
        rough_seconds: 80,
        run: image_boots::uefi,
    },
];
