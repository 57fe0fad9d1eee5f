//! What the fuzzers do with bytes that hardware, firmware, disks and switches may give the agent.
//!
//! Each function takes one input and panics when a promise of `imprint-agent` does not hold for it: whatever a machine says,
//! its inventory is read, and every text and list of it is bounded. They are used twice, as those of `lib.rs`: by the
//! programs in `inventory_targets/`, and by `agent/tests/fuzz_smoke.rs`.

#[path = "sparse.rs"]
#[allow(dead_code, reason = "shared with targets that make files")]
pub mod sparse;

use std::{fs, io, os::unix::fs::symlink, path::Path};

use imprint_agent::{
    finish::{
        efi::load_option::{LoadOption, decode_order, encode_order},
        table,
    },
    inventory::{
        Live,
        bmc::{self, Ipmi},
        health::{self, Asked, NVME_LOG_BYTES, STATISTICS_BYTES},
        lldp, read, to_json, to_text,
    },
};
use imprint_proto::agent::v1::{Inventory, Transport};

/// A target: its name, which is that of its folder of seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("smbios", smbios),
    ("lldp", lldp),
    ("bmc", bmc),
    ("health", health),
    ("contents", contents),
    ("tree", tree),
    ("load_option", load_option),
];

/// Longest text that is a fact.
const MAX_TEXT: usize = 512;
/// What the JSON of a machine of one disk may have.
const MAX_JSON: usize = 1 << 20;

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder).expect("room for a folder");
    fs::write(path, bytes).expect("room for a file");
}

fn check(text: &str) {
    assert!(
        text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control),
        "{text:?}"
    );
}

/// What holds for every inventory.
fn sound(root: &Path) -> Inventory {
    let inventory = read(root, &Live::default());
    let system = inventory.system.clone().unwrap_or_default();
    for text in [
        &system.vendor,
        &system.product,
        &system.serial,
        &system.uuid,
        &system.asset_tag,
    ] {
        check(text);
    }
    let memory = inventory.memory.clone().unwrap_or_default();
    assert!(memory.modules.len() <= 256);
    for module in &memory.modules {
        check(&module.slot);
        check(&module.part);
    }
    for disk in &inventory.disks {
        check(&disk.serial);
        check(&disk.model);
        assert!(disk.logical_sector_bytes.is_power_of_two() && disk.holders.len() <= 1024);
        assert!(disk.contents.len() <= 4096, "{}", disk.contents.len());
        for content in &disk.contents {
            check(&content.label);
            check(&content.group);
            check(&content.uuid);
            assert!(!content.kind.is_empty());
        }
    }
    let json = to_json(&inventory).to_string();
    assert!(json.len() <= MAX_JSON, "{}", json.len());
    assert!(!to_text(&inventory).is_empty());
    inventory
}

/// A byte of the specification's version, then the firmware's table.
pub fn smbios(data: &[u8]) {
    let Some((version, table)) = data.split_first() else {
        return;
    };
    let root = tempfile::tempdir().expect("a temporary folder");
    let entry = [b"_SM3_\0\x18".as_slice(), &[version >> 4, version & 15]].concat();
    put(root.path(), "sys/firmware/dmi/tables/smbios_entry_point", &entry);
    put(root.path(), "sys/firmware/dmi/tables/DMI", table);
    sound(root.path());
}

/// What a switch announces, without its Ethernet header.
pub fn lldp(data: &[u8]) {
    if let Some(found) = lldp::parse(data) {
        assert!(!found.chassis.is_empty() && !found.port.is_empty());
        assert!(found.vlan.is_none_or(|vlan| (1..4095).contains(&vlan)));
        for text in [
            &found.chassis,
            &found.port,
            &found.port_description,
            &found.system_name,
        ] {
            check(text);
        }
    }
}

/// Answers of a management controller, each a byte of its length and so many bytes; of length 0 there is none.
pub fn bmc(data: &[u8]) {
    struct Answers<'a>(&'a [u8], usize);
    impl Ipmi for Answers<'_> {
        fn ask(&mut self, _function: u8, _command: u8, _data: &[u8]) -> io::Result<Vec<u8>> {
            self.1 += 1;
            let (length, rest) = self.0.split_first().ok_or(io::ErrorKind::TimedOut)?;
            let (answer, rest) = rest.split_at(rest.len().min(usize::from(*length) % bmc::MAX_ANSWER));
            self.0 = rest;
            if answer.is_empty() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            Ok(answer.to_vec())
        }
    }
    let mut answers = Answers(data, 0);
    if let Some(found) = bmc::lan(&mut answers) {
        let address = &found.address;
        assert!(
            address.is_empty() || address.parse::<std::net::IpAddr>().is_ok(),
            "{address}"
        );
        assert!(found.mac.is_empty() || found.mac.len() == 17);
        assert!(!address.is_empty() || !found.mac.is_empty());
        assert!((1..=11).contains(&found.channel.unwrap_or_default()));
    }
    assert!(answers.1 <= 11 * 5, "a controller is asked {} times", answers.1);
}

/// A byte of which pages there are, then the pages of NVMe and ATA.
pub fn health(data: &[u8]) {
    struct Pages<'a>(u8, &'a [u8]);
    impl Pages<'_> {
        fn page<const N: usize>(&self, number: u8) -> io::Result<[u8; N]> {
            if self.0 & (1 << (number % 8)) != 0 {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let mut page = [0; N];
            let at = usize::from(number % 8) * N;
            let bytes = self.1.get(at..).unwrap_or_default();
            let length = bytes.len().min(N);
            page[..length].copy_from_slice(&bytes[..length]);
            Ok(page)
        }
    }
    impl Asked for Pages<'_> {
        fn nvme_log(&self) -> io::Result<[u8; NVME_LOG_BYTES]> {
            self.page(0)
        }
        fn ata_fails(&self) -> io::Result<bool> {
            Ok(self.0 & 4 != 0)
        }
        fn ata_statistics(&self, page: u8) -> io::Result<[u8; STATISTICS_BYTES]> {
            self.page(page)
        }
    }
    let Some((which, pages)) = data.split_first() else {
        return;
    };
    for transport in [Transport::Nvme, Transport::Sata, Transport::Sas] {
        let Ok(Some(found)) = health::of(transport, &Pages(*which, pages)) else {
            continue;
        };
        assert!(found.reasons.len() <= 8);
        found.reasons.iter().for_each(|reason| check(reason));
        assert!(
            found
                .temperature_celsius
                .is_none_or(|celsius| (-273..=65_262).contains(&celsius))
        );
    }
}

fn machine_with_disk(root: &Path, size: u64, sector: &[u8]) {
    let folder = "sys/devices/pci0000:00/0000:00:02.0/host0/target0:0:0/0:0:0:0/block/sda";
    put(
        root,
        &format!("{folder}/size"),
        (size / 512).to_string().as_bytes(),
    );
    put(root, &format!("{folder}/queue/logical_block_size"), sector);
    fs::create_dir_all(root.join("sys/block")).expect("room for a folder");
    let target = format!("../../{folder}");
    symlink(target, root.join("sys/block/sda")).expect("room for a link");
}

/// A byte that says how large sectors are, then a disk, folded: what is on it is found without reading behind its end.
pub fn contents(data: &[u8]) {
    let Some((sector, data)) = data.split_first() else {
        return;
    };
    let disk = sparse::unfold(data);
    let sector: u32 = if sector % 2 == 0 { 512 } else { 4096 };
    let root = tempfile::tempdir().expect("a temporary folder");
    let size = u64::try_from(disk.len()).expect("a short file");
    machine_with_disk(root.path(), size, sector.to_string().as_bytes());
    let path = root.path().join("dev/sda");
    fs::create_dir_all(root.path().join("dev")).expect("room for a folder");
    write_sparse(&path, &disk);
    let inventory = sound(root.path());
    // A drive without a medium is no disk.
    assert_eq!(inventory.disks.len(), usize::from(size >= 512));
    assert!(inventory.disks.iter().all(|disk| disk.contents_read));
    let mut device = fs::File::open(path).expect("it is there");
    if let Ok(found) = table::read(&mut device, sector.into()) {
        for partition in &found.partitions {
            assert!(partition.number > 0 && partition.first_lba.checked_add(partition.blocks).is_some());
        }
    }
}

fn write_sparse(path: &Path, disk: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::create(path).expect("room for a file");
    file.set_len(u64::try_from(disk.len()).expect("a short file"))
        .expect("a file can be made longer");
    for (number, page) in (0..).zip(disk.chunks(4096)) {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, number * 4096).expect("room for it");
        }
    }
}

/// Files of the kernel that are parsed: pieces of the input, each after two bytes of its length, in this order.
pub fn tree(data: &[u8]) {
    const DISK: &str = "sys/devices/pci0000:00/0000:00:02.0/host0/target0:0:0/0:0:0:0";
    const FILES: [&str; 24] = [
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/mountinfo",
        "proc/swaps",
        "block/queue/logical_block_size",
        "block/size",
        "vpd_pg80",
        "wwid",
        "model",
        "vendor",
        "block/serial",
        "sys/class/net/eth0/address",
        "sys/class/net/eth0/speed",
        "sys/class/net/eth0/carrier",
        "sys/bus/pci/devices/0000:00:03.0/class",
        "sys/bus/pci/devices/0000:00:03.0/vendor",
        "sys/bus/pci/devices/0000:00:03.0/modalias",
        "lib/modules/6.1/modules.alias",
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        "sys/class/dmi/id/chassis_type",
        "sys/class/dmi/id/product_uuid",
        "sys/class/dmi/id/bios_date",
        "sys/class/tpm/tpm0/tpm_version_major",
        "sys/firmware/acpi/tables/TPM2",
    ];
    let root = tempfile::tempdir().expect("a temporary folder");
    machine_with_disk(root.path(), 1 << 20, b"512");
    put(root.path(), "proc/sys/kernel/osrelease", b"6.1");
    put(root.path(), "dev/sda", &[0x55, 0xaa].repeat(4096));
    let mut rest = data;
    for file in FILES {
        let Some((length, behind)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let (bytes, behind) = behind.split_at(behind.len().min(u16::from_le_bytes(*length).into()));
        rest = behind;
        if let Some(name) = file.strip_prefix("block/") {
            put(root.path(), &format!("{DISK}/block/sda/{name}"), bytes);
        } else if file.contains('/') {
            put(root.path(), file, bytes);
        } else {
            put(root.path(), &format!("{DISK}/{file}"), bytes);
        }
    }
    let _ = fs::remove_file(root.path().join(DISK).join("block/sda/device"));
    symlink("../..", root.path().join(DISK).join("block/sda/device")).expect("room for a link");
    sound(root.path());
}

/// A boot entry of the firmware, and an order of them: what is read is written again as it was.
pub fn load_option(data: &[u8]) {
    if let Ok(option) = LoadOption::decode(data) {
        let again = LoadOption::decode(&option.encode());
        assert_eq!(again.expect("what was read is read again"), option);
    }
    let order = decode_order(data);
    assert_eq!(encode_order(&order), data[..order.len() * 2]);
}
