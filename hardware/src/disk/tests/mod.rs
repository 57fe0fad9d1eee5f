mod choosing;
mod grammar;
mod guards;
mod hints;
mod permutation;

use super::*;
use crate::facts::{Content, Disk};

fn disk(serial: &str, size_bytes: u64, transport: &str) -> Disk {
    Disk {
        kernel_name: format!("disk-{serial}"),
        serial: serial.to_owned(),
        transport: transport.to_owned(),
        model: "QEMU NVMe Ctrl".to_owned(),
        size_bytes,
        logical_sector_bytes: 512,
        contents_read: true,
        ..Disk::default()
    }
}

fn content(partition: Option<u32>, kind: &str, role: &str, name: &str) -> Content {
    Content {
        partition,
        kind: kind.to_owned(),
        label: if role == "member" { "" } else { name }.to_owned(),
        group: if role == "member" { name } else { "" }.to_owned(),
        role: role.to_owned(),
        ..Content::default()
    }
}

fn rule(text: &str) -> DiskRule {
    text.parse().unwrap()
}

fn pick<'a>(text: &str, disks: &'a [Disk]) -> Result<&'a str, ChoiceError> {
    choose(&rule(text), None, &Policy::default(), disks).map(|choice| choice.disk.serial.as_str())
}
