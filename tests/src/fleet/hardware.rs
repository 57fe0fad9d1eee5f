//! Servers that are made up: plausible, and each one different. The seed decides.

use imprint_proto::agent::v1::{
    Bmc, Cpu, Disk, DiskContent, Fingerprint, Firmware, FirmwareMode, Inventory, LldpNeighbour, Memory,
    MemoryModule, Nic, PciDevice, System, Tpm, Transport,
};
use uuid::Uuid;

use super::dice::Dice;

const GIB: u64 = 1 << 30;
const TB: u64 = 1_000_000_000_000;

/// Vendor, product, and whether it starts by UEFI.
const MODELS: [(&str, &str, bool); 6] = [
    ("Dell Inc.", "PowerEdge R650", true),
    ("Dell Inc.", "PowerEdge R740xd", true),
    ("HPE", "ProLiant DL360 Gen10 Plus", true),
    ("Lenovo", "ThinkSystem SR630 V2", true),
    ("Supermicro", "SYS-1029U-TN10RT", true),
    ("Quanta Cloud Technology Inc.", "QuantaGrid D52B-1U", false),
];

const PROCESSORS: [(&str, &str, u32); 4] = [
    ("GenuineIntel", "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", 32),
    ("GenuineIntel", "Intel(R) Xeon(R) Silver 4214 CPU @ 2.20GHz", 12),
    ("AuthenticAMD", "AMD EPYC 7543 32-Core Processor", 32),
    ("AuthenticAMD", "AMD EPYC 7302 16-Core Processor", 16),
];

const FLAGS: &str = "aes apic arat avx avx2 bmi1 bmi2 clflush clflushopt clwb cmov constant_tsc cpuid cx16 cx8 de erms f16c \
    fma fpu fsgsbase fxsr ht hypervisor invpcid lahf_lm lm mca mce mmx movbe msr mtrr nonstop_tsc nopl nx pae pat pcid \
    pclmulqdq pdpe1gb pge pni popcnt pse pse36 rdrand rdseed rdtscp rep_good sep sha_ni smap smep ss sse sse2 sse4_1 sse4_2 \
    ssse3 syscall tsc tsc_adjust tsc_deadline_timer umip vaes vme vmx x2apic xgetbv1 xsave xsavec xsaveopt xsaves xtopology";

/// A server as its firmware and its kernel show it.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// What the agent reads.
    pub inventory: Inventory,
    /// `efi` or `pcbios`, as iPXE says it.
    pub platform: &'static str,
}

impl Hardware {
    /// The server with this number.
    #[must_use]
    pub fn made(seed: u64, node: u32) -> Self {
        let mut dice = Dice::of(seed, node, 2);
        let (vendor, product, uefi) = *dice.pick(&MODELS);
        let uuid = Uuid::from_u64_pair(dice.number(), dice.number());
        let uuid = uuid::Builder::from_bytes(*uuid.as_bytes())
            .with_version(uuid::Version::Random)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
            .hyphenated()
            .to_string();
        let serial = format!("{:07X}{node:06}", dice.below(1 << 28));
        let nics: Vec<Nic> = (0..4).map(|port| nic(&mut dice, node, port)).collect();
        let (architecture_vendor, model, cores) = *dice.pick(&PROCESSORS);
        let modules = 4 << dice.below(3);
        let mut disks = vec![system_disk(&mut dice, node)];
        disks.extend((0..dice.below(9)).map(|bay| data_disk(&mut dice, node, bay)));
        let inventory = Inventory {
            fingerprint: Some(Fingerprint {
                smbios_uuid: uuid.clone(),
                smbios_serial: serial.clone(),
                macs: nics.iter().map(|nic| nic.mac.clone()).collect(),
            }),
            system: Some(System {
                vendor: vendor.to_owned(),
                product: product.to_owned(),
                serial: serial.clone(),
                uuid,
                sku: format!("SKU-{:04}", dice.below(10_000)),
                chassis: "rack-mount".to_owned(),
                chassis_serial: serial.clone(),
                asset_tag: format!("A{node:06}"),
                board_vendor: vendor.to_owned(),
                board_product: format!("0{:05X}", dice.below(1 << 20)),
                board_serial: format!("BRD{:010}", dice.below(10_000_000_000)),
                ..System::default()
            }),
            firmware: Some(Firmware {
                mode: if uefi {
                    FirmwareMode::Uefi
                } else {
                    FirmwareMode::Bios
                } as i32,
                vendor: vendor.to_owned(),
                version: format!("2.{}.{}", dice.below(20), dice.below(9)),
                secure_boot: uefi.then_some(false),
                date: "2025-03-14".to_owned(),
                setup_mode: uefi.then_some(false),
            }),
            cpu: Some(Cpu {
                architecture: "x86_64".to_owned(),
                model: model.to_owned(),
                sockets: 2,
                cores: 2 * cores,
                threads: 4 * cores,
                vendor: architecture_vendor.to_owned(),
                flags: FLAGS.split_whitespace().map(ToOwned::to_owned).collect(),
                numa_nodes: 2,
            }),
            memory: Some(Memory {
                total_bytes: modules * 32 * GIB - 512 * (1 << 20),
                modules: (0..modules).map(|slot| module(&mut dice, slot)).collect(),
            }),
            disks,
            pci: (0..18).map(|slot| pci(&mut dice, slot)).collect(),
            nics,
            agent_version: imprint_agent::VERSION.to_owned(),
            kernel_release: "6.1.0-30-amd64".to_owned(),
            tpm: Some(Tpm {
                version: "2.0".to_owned(),
            }),
            bmc: Some(Bmc {
                address: format!("10.{}.{}.{}", 64 + (node >> 16 & 63), node >> 8 & 255, node & 255),
                mac: mac(node, 15),
                channel: Some(1),
            }),
        };
        Self {
            inventory,
            platform: if uefi { "efi" } else { "pcbios" },
        }
    }

    /// The same server, saying that it has the SMBIOS UUID of another one.
    #[must_use]
    pub fn mistaken_for(mut self, other: &Self) -> Self {
        let uuid = other.fingerprint().smbios_uuid;
        if let Some(system) = &mut self.inventory.system {
            system.uuid.clone_from(&uuid);
        }
        if let Some(fingerprint) = &mut self.inventory.fingerprint {
            fingerprint.smbios_uuid = uuid;
        }
        self
    }

    /// What it is recognised by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.inventory.fingerprint.clone().unwrap_or_default()
    }

    /// The address of the NIC that it boots from.
    #[must_use]
    pub fn boot_mac(&self) -> &str {
        self.inventory.nics.first().map_or("", |nic| nic.mac.as_str())
    }
}

/// Locally administered, the number in its last four bytes.
fn mac(node: u32, port: u8) -> String {
    let [a, b, c, d] = (node << 4 | u32::from(port)).to_be_bytes();
    format!("02:f1:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn nic(dice: &mut Dice, node: u32, port: u8) -> Nic {
    let up = port < 2;
    Nic {
        kernel_name: format!("ens{}f{}", 1 + port / 2, port % 2),
        mac: mac(node, port),
        permanent_mac: mac(node, port),
        driver: "ice".to_owned(),
        pci_id: "8086:159b".to_owned(),
        pci_address: format!("0000:{:02x}:00.{}", 0x31 + port / 2, port % 2),
        link_up: up,
        speed_mbps: up.then_some(25_000),
        addresses: if port == 0 {
            vec![format!(
                "10.{}.{}.{}/10",
                node >> 16 & 63,
                node >> 8 & 255,
                node & 255
            )]
        } else {
            Vec::new()
        },
        boot_interface: port == 0,
        lldp: up.then(|| LldpNeighbour {
            chassis: format!(
                "44:4c:a8:{:02x}:{:02x}:0{port}",
                node >> 13 & 255,
                node >> 5 & 255
            ),
            port: format!("Ethernet{}", node % 32 + 1),
            port_description: format!("server {node}"),
            system_name: format!("leaf{}-{port}", node / 32),
            vlan: Some(100 + u32::try_from(dice.below(8)).unwrap_or(0)),
        }),
        numa_node: Some(u32::from(port / 2)),
    }
}

fn module(dice: &mut Dice, slot: u64) -> MemoryModule {
    MemoryModule {
        slot: format!(
            "{}{}",
            if slot.is_multiple_of(2) { 'A' } else { 'B' },
            slot / 2 + 1
        ),
        size_bytes: 32 * GIB,
        kind: "DDR4".to_owned(),
        speed_mts: 3200,
        manufacturer: "Samsung".to_owned(),
        part: "M393A4K40EB3-CWE".to_owned(),
        serial: format!("{:08X}", dice.below(1 << 32)),
    }
}

/// The one disk with NVMe: where systems go.
fn system_disk(dice: &mut Dice, node: u32) -> Disk {
    let number = dice.number();
    Disk {
        kernel_name: "nvme0n1".to_owned(),
        by_path: "pci-0000:65:00.0-nvme-1".to_owned(),
        serial: format!("S64H{:08X}{node:04X}", number & 0xffff_ffff),
        nguid: format!("36434830{number:016x}00253845"),
        model: "SAMSUNG MZQL2960HCJR-00A07".to_owned(),
        firmware_revision: "GDC5602Q".to_owned(),
        transport: Transport::Nvme as i32,
        size_bytes: 960_197_124_096,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        pci_address: "0000:65:00.0".to_owned(),
        numa_node: Some(1),
        driver: "nvme".to_owned(),
        contents_read: true,
        ..Disk::default()
    }
}

fn data_disk(dice: &mut Dice, node: u32, bay: u64) -> Disk {
    let wwn = 0x5000_c500_0000_0000 | dice.below(1 << 40);
    let letter = char::from(b'a' + u8::try_from(bay).unwrap_or(25));
    let used = dice.below(2) == 0;
    Disk {
        kernel_name: format!("sd{letter}"),
        by_path: format!("pci-0000:18:00.0-sas-phy{bay}-lun-0"),
        serial: format!("ZLW{:05X}{node:04X}{bay:X}", dice.below(1 << 20)),
        wwn: format!("naa.{wwn:016x}"),
        model: "ST8000NM001A-2KE101".to_owned(),
        vendor: "SEAGATE".to_owned(),
        transport: Transport::Sas as i32,
        rotational: true,
        size_bytes: 8 * TB,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        pci_address: "0000:18:00.0".to_owned(),
        hctl: format!("0:0:{bay}:0"),
        numa_node: Some(0),
        driver: "mpt3sas".to_owned(),
        contents_read: true,
        contents: used
            .then(|| DiskContent {
                kind: "xfs".to_owned(),
                label: format!("data{bay}"),
                uuid: Uuid::from_u64_pair(dice.number(), dice.number()).to_string(),
                role: "data".to_owned(),
                ..DiskContent::default()
            })
            .into_iter()
            .collect(),
        ..Disk::default()
    }
}

fn pci(dice: &mut Dice, slot: u32) -> PciDevice {
    let (class, vendor, device, driver) = *dice.pick(&[
        ("020000", "8086", "159b", "ice"),
        ("010802", "144d", "a80a", "nvme"),
        ("010700", "1000", "00ac", "mpt3sas"),
        ("0c0330", "8086", "a1af", "xhci_hcd"),
    ]);
    PciDevice {
        address: format!("0000:{:02x}:{:02x}.0", 0x10 + slot / 2 * 8, slot % 2),
        class: class.to_owned(),
        vendor_id: vendor.to_owned(),
        device_id: device.to_owned(),
        subsystem_vendor_id: vendor.to_owned(),
        subsystem_device_id: format!("{:04x}", dice.below(1 << 16)),
        driver: driver.to_owned(),
        modalias_modules: vec![driver.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn servers_differ_and_are_the_same_again() {
        let made: Vec<Hardware> = (0..500).map(|node| Hardware::made(9, node)).collect();
        assert_eq!(made[7].inventory, Hardware::made(9, 7).inventory);
        let marks: HashSet<String> = made
            .iter()
            .flat_map(|one| {
                let mut marks = one.fingerprint().macs;
                marks.extend([one.fingerprint().smbios_uuid, one.fingerprint().smbios_serial]);
                marks.extend(one.inventory.disks.iter().map(|disk| disk.serial.clone()));
                marks
            })
            .collect();
        let disks: usize = made.iter().map(|one| one.inventory.disks.len()).sum();
        assert_eq!(marks.len(), 500 * 6 + disks, "nothing is shared");
        let twin = made[1].clone().mistaken_for(&made[0]);
        assert_eq!(twin.fingerprint().smbios_uuid, made[0].fingerprint().smbios_uuid);
        assert_ne!(twin.fingerprint().macs, made[0].fingerprint().macs);
    }
}
