//! From what agents send, bounded.

use imprint_proto::agent::v1 as wire;

use super::{
    Bmc, Content, Cpu, Disk, DiskHealth, Firmware, Inventory, LldpNeighbour, MemoryModule, Nic, PciDevice,
    System, Tpm,
    limits::{
        MAX_CONTENTS, MAX_CONTENTS_IN_ALL, MAX_CPU_FLAGS, MAX_DISKS, MAX_LIST, MAX_MEMORY_MODULES,
        MAX_MODALIAS_MODULES, MAX_NICS, MAX_PCI, list, text,
    },
};

fn bounded<F, T: From<F>>(list: Vec<F>, most: usize) -> Vec<T> {
    list.into_iter().take(most).map(T::from).collect()
}

impl From<wire::Inventory> for Inventory {
    fn from(inventory: wire::Inventory) -> Self {
        let memory = inventory.memory.unwrap_or_default();
        let mut disks: Vec<Disk> = bounded(inventory.disks, MAX_DISKS);
        let mut left = MAX_CONTENTS_IN_ALL;
        for contents in disks.iter_mut().map(|disk| &mut disk.contents) {
            contents.truncate(left);
            left -= contents.len();
        }
        Self {
            system: inventory.system.unwrap_or_default().into(),
            firmware: inventory.firmware.unwrap_or_default().into(),
            cpu: inventory.cpu.unwrap_or_default().into(),
            memory_bytes: memory.total_bytes,
            memory_modules: bounded(memory.modules, MAX_MEMORY_MODULES),
            disks,
            nics: bounded(inventory.nics, MAX_NICS),
            pci: bounded(inventory.pci, MAX_PCI),
            tpm: inventory.tpm.map(|tpm| Tpm {
                version: text(tpm.version),
            }),
            bmc: inventory.bmc.map(|bmc| Bmc {
                address: text(bmc.address),
                mac: text(bmc.mac),
                channel: bmc.channel,
            }),
            agent_version: text(inventory.agent_version),
            kernel_release: text(inventory.kernel_release),
        }
    }
}

impl From<wire::System> for System {
    fn from(system: wire::System) -> Self {
        Self {
            vendor: text(system.vendor),
            product: text(system.product),
            serial: text(system.serial),
            uuid: text(system.uuid),
            sku: text(system.sku),
            family: text(system.family),
            board_vendor: text(system.board_vendor),
            board_product: text(system.board_product),
            board_serial: text(system.board_serial),
            chassis: text(system.chassis),
            chassis_serial: text(system.chassis_serial),
            asset_tag: text(system.asset_tag),
        }
    }
}

impl From<wire::Firmware> for Firmware {
    fn from(firmware: wire::Firmware) -> Self {
        let mode = match firmware.mode() {
            wire::FirmwareMode::Unspecified => "",
            wire::FirmwareMode::Bios => "bios",
            wire::FirmwareMode::Uefi => "uefi",
        };
        Self {
            mode: mode.to_owned(),
            vendor: text(firmware.vendor),
            version: text(firmware.version),
            date: text(firmware.date),
            secure_boot: firmware.secure_boot,
            setup_mode: firmware.setup_mode,
        }
    }
}

impl From<wire::Cpu> for Cpu {
    fn from(cpu: wire::Cpu) -> Self {
        Self {
            architecture: text(cpu.architecture),
            model: text(cpu.model),
            vendor: text(cpu.vendor),
            sockets: cpu.sockets,
            cores: cpu.cores,
            threads: cpu.threads,
            flags: list(cpu.flags, MAX_CPU_FLAGS),
            numa_nodes: cpu.numa_nodes,
        }
    }
}

impl From<wire::MemoryModule> for MemoryModule {
    fn from(module: wire::MemoryModule) -> Self {
        Self {
            slot: text(module.slot),
            size_bytes: module.size_bytes,
            kind: text(module.kind),
            speed_mts: module.speed_mts,
            manufacturer: text(module.manufacturer),
            part: text(module.part),
            serial: text(module.serial),
        }
    }
}

impl From<wire::Disk> for Disk {
    fn from(disk: wire::Disk) -> Self {
        let transport = match disk.transport() {
            wire::Transport::Unspecified => "",
            wire::Transport::Nvme => "nvme",
            wire::Transport::Sata => "sata",
            wire::Transport::Sas => "sas",
            wire::Transport::Scsi => "scsi",
            wire::Transport::Virtio => "virtio",
            wire::Transport::Usb => "usb",
            wire::Transport::Raid => "raid",
            wire::Transport::Iscsi => "iscsi",
            wire::Transport::Mmc => "mmc",
        };
        Self {
            kernel_name: text(disk.kernel_name),
            by_path: text(disk.by_path),
            serial: text(disk.serial),
            wwn: text(disk.wwn),
            wwn_vendor_extension: text(disk.wwn_vendor_extension),
            nguid: text(disk.nguid),
            eui64: text(disk.eui64),
            hctl: text(disk.hctl),
            model: text(disk.model),
            vendor: text(disk.vendor),
            firmware_revision: text(disk.firmware_revision),
            transport: transport.to_owned(),
            driver: text(disk.driver),
            rotational: disk.rotational,
            size_bytes: disk.size_bytes,
            logical_sector_bytes: disk.logical_sector_bytes,
            physical_sector_bytes: disk.physical_sector_bytes,
            pci_address: text(disk.pci_address),
            numa_node: disk.numa_node,
            volume_id: text(disk.volume_id),
            read_only: disk.read_only,
            removable: disk.removable,
            holders: list(disk.holders, MAX_LIST),
            multipath: text(disk.multipath),
            health: disk.health.map(DiskHealth::from),
            content_summary: text(disk.content_summary),
            contents: bounded(disk.contents, MAX_CONTENTS),
            contents_read: disk.contents_read,
        }
    }
}

impl From<wire::DiskHealth> for DiskHealth {
    fn from(health: wire::DiskHealth) -> Self {
        let status = match health.status() {
            wire::HealthStatus::Unspecified => "",
            wire::HealthStatus::Ok => "ok",
            wire::HealthStatus::Warning => "warning",
            wire::HealthStatus::Failing => "failing",
        };
        Self {
            status: status.to_owned(),
            reasons: list(health.reasons, MAX_LIST),
            temperature_celsius: health.temperature_celsius,
            used_percent: health.used_percent,
            spare_percent: health.spare_percent,
            media_errors: health.media_errors,
            power_on_hours: health.power_on_hours,
        }
    }
}

impl From<wire::DiskContent> for Content {
    fn from(content: wire::DiskContent) -> Self {
        Self {
            partition: content.partition,
            kind: text(content.kind),
            label: text(content.label),
            uuid: text(content.uuid),
            role: text(content.role),
            group: text(content.group),
        }
    }
}

impl From<wire::Nic> for Nic {
    fn from(nic: wire::Nic) -> Self {
        Self {
            kernel_name: text(nic.kernel_name),
            mac: text(nic.mac),
            permanent_mac: text(nic.permanent_mac),
            driver: text(nic.driver),
            pci_id: text(nic.pci_id),
            pci_address: text(nic.pci_address),
            numa_node: nic.numa_node,
            link_up: nic.link_up,
            speed_mbps: nic.speed_mbps,
            addresses: list(nic.addresses, MAX_LIST),
            boot_interface: nic.boot_interface,
            lldp: nic.lldp.map(LldpNeighbour::from),
        }
    }
}

impl From<wire::LldpNeighbour> for LldpNeighbour {
    fn from(neighbour: wire::LldpNeighbour) -> Self {
        Self {
            chassis: text(neighbour.chassis),
            port: text(neighbour.port),
            port_description: text(neighbour.port_description),
            system_name: text(neighbour.system_name),
            vlan: neighbour.vlan,
        }
    }
}

impl From<wire::PciDevice> for PciDevice {
    fn from(device: wire::PciDevice) -> Self {
        Self {
            address: text(device.address),
            class: text(device.class),
            vendor_id: text(device.vendor_id),
            device_id: text(device.device_id),
            subsystem_vendor_id: text(device.subsystem_vendor_id),
            subsystem_device_id: text(device.subsystem_device_id),
            driver: text(device.driver),
            modalias_modules: list(device.modalias_modules, MAX_MODALIAS_MODULES),
        }
    }
}
