//! Processors.

use std::{collections::BTreeSet, path::Path};

use imprint_proto::agent::v1::Cpu;

use super::{sysfs, unknown_cpu};

/// Counts sockets, cores and threads in /proc/cpuinfo, and takes the model's name from there.
pub fn read(root: &Path) -> Cpu {
    let Some(text) = sysfs::text(root.join("proc/cpuinfo")) else {
        return unknown_cpu();
    };
    let (mut threads, mut sockets, mut cores) = (0_u32, BTreeSet::new(), BTreeSet::new());
    let mut model = String::new();
    for block in text.split("\n\n") {
        let field = |name: &str| {
            block
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| sysfs::clean(value))
        };
        let Some(processor) = field("processor") else {
            continue;
        };
        threads += 1;
        // Without topology (arm64, some virtual machines) each thread is a core of one socket.
        let socket = field("physical id").unwrap_or_default();
        cores.insert((socket.clone(), field("core id").unwrap_or(processor)));
        sockets.insert(socket);
        if model.is_empty() {
            model = field("model name").unwrap_or_default();
        }
    }
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    Cpu {
        model,
        sockets: count(sockets.len()),
        cores: count(cores.len()),
        threads,
        ..unknown_cpu()
    }
}
