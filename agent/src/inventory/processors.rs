//! Processors.

use std::{collections::BTreeSet, path::Path};

use imprint_proto::agent::v1::Cpu;

use super::{smbios::Smbios, sysfs};

const MAX_FLAGS: usize = 512;
/// Two kilobytes for each of some thousand threads.
const MAX_CPUINFO: u64 = 16 << 20;

/// Counts sockets, cores and threads in /proc/cpuinfo; maker and model stand there or, of ARM, in SMBIOS.
pub(super) fn read(root: &Path, smbios: &Smbios) -> Cpu {
    let text = cpuinfo(root);
    let (mut threads, mut sockets, mut cores) = (0_u32, BTreeSet::new(), BTreeSet::new());
    let mut first = None;
    for block in text.split("\n\n") {
        let Some(processor) = field(block, &["processor"]) else {
            continue;
        };
        first.get_or_insert(block);
        threads += 1;
        // Without topology (arm64, some virtual machines) each thread is a core of one socket.
        let socket = field(block, &["physical id"]).unwrap_or_default();
        cores.insert((socket, field(block, &["core id"]).unwrap_or(processor)));
        sockets.insert(socket);
    }
    let first = first.unwrap_or_default();
    let told = |keys: &[&str], otherwise: &String| {
        field(first, keys)
            .map(sysfs::clean)
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| otherwise.clone())
    };
    let [vendor, model] = &smbios.processor;
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let has_topology = sockets.iter().any(|socket| !socket.is_empty());
    Cpu {
        architecture: std::env::consts::ARCH.to_owned(),
        model: told(&["model name"], model),
        vendor: told(&["vendor_id"], vendor),
        sockets: if has_topology {
            count(sockets.len())
        } else {
            smbios.sockets.max(count(sockets.len()))
        },
        cores: count(cores.len()),
        threads,
        flags: flags(first),
        numa_nodes: numa_nodes(root),
    }
}

/// Whether the processor says that a hypervisor makes it. ARM has no such word: taken as virtual, which claims less.
pub(super) fn is_virtual_machine(root: &Path) -> bool {
    let text = cpuinfo(root);
    match field(&text, &["flags"]) {
        Some(flags) => flags.split_whitespace().any(|flag| flag == "hypervisor"),
        None => true,
    }
}

fn cpuinfo(root: &Path) -> String {
    let bytes = sysfs::bytes_up_to(root.join("proc/cpuinfo"), MAX_CPUINFO).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn field<'t>(block: &'t str, keys: &[&str]) -> Option<&'t str> {
    let mut lines = block.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| keys.contains(&key.trim()))
        .map(|(_, value)| value.trim())
}

fn flags(block: &str) -> Vec<String> {
    let flags = field(block, &["flags", "Features"]).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().take(MAX_FLAGS).collect();
    flags.into_iter().map(sysfs::clean).collect()
}

fn numa_nodes(root: &Path) -> u32 {
    let nodes = sysfs::names(root.join("sys/devices/system/node"));
    let is_node = |name: &&String| {
        name.strip_prefix("node")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    };
    u32::try_from(nodes.iter().filter(is_node).count()).unwrap_or(u32::MAX)
}
