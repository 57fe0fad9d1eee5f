//! What the facts of one image may take up, however many names a hostile one has.
//!
//! Lists that only tell are cut, with a note; what is judged by being whole becomes unknown.

use std::io;

use serde::Serialize;

use super::model::{Fact, Facts, Kernel};

/// Most bytes that the JSON form of [`Facts`] has. What is bounded below adds up to less.
pub const MAX_FACTS_BYTES: usize = 12 << 20;

const PACKAGES: usize = 4 << 20;
const KERNELS: usize = 2 << 20;
const COMMAND_LINES: usize = 512 << 10;
const LOADERS: usize = 512 << 10;
const FSTAB: usize = 256 << 10;
const IDENTITY: usize = 256 << 10;
const CLOUD_INIT: usize = 64 << 10;
const DISTRIBUTION: usize = 16 << 10;
/// A reason why something is unknown.
const REASON: usize = 512;
/// A name of a volume, or of the place where it is mounted.
const NAME: usize = 256;

/// Makes the facts fit.
pub(super) fn fit(facts: &mut Facts) {
    if let Fact::Known(packages) = &mut facts.packages {
        let there = packages.packages.len();
        cut_list(&mut packages.packages, PACKAGES);
        let kept = packages.packages.len();
        if kept < there {
            facts
                .notes
                .push(format!("only the first {kept} of {there} packages are listed"));
        }
    }
    if let Fact::Known(kernels) = &mut facts.kernels {
        fit_kernels(kernels);
    }
    whole(&mut facts.kernels, KERNELS, "the kernels");
    whole(&mut facts.command_lines, COMMAND_LINES, "the command lines");
    whole(&mut facts.firmware.uefi, LOADERS, "the EFI programs");
    whole(&mut facts.fstab, FSTAB, "fstab");
    whole(&mut facts.identity, IDENTITY, "what machines would share");
    whole(&mut facts.cloud_init, CLOUD_INIT, "what is known of cloud-init");
    whole(&mut facts.distribution, DISTRIBUTION, "os-release");
    reason(&mut facts.firmware.bios);
    reason(&mut facts.used_bytes);
    reason(&mut facts.architecture);
    reason(&mut facts.network);
    reason(&mut facts.guest_plugin);
    reason(&mut facts.packages);
    for volume in &mut facts.volumes {
        cut_text(&mut volume.label, NAME);
        cut_text(&mut volume.uuid, NAME);
        if let Some(path) = &mut volume.mounted_at {
            cut_text(path, NAME);
        }
        reason(&mut volume.used_bytes);
    }
}

/// The names of firmware are the longest part, and nothing is judged by them.
fn fit_kernels(kernels: &mut [Kernel]) {
    let share = KERNELS / 2 / kernels.len().max(1);
    for kernel in kernels {
        if let Fact::Known(Some(initramfs)) = &mut kernel.initramfs {
            let there = initramfs.firmware.len();
            cut_list(&mut initramfs.firmware, share);
            let kept = initramfs.firmware.len();
            if kept < there {
                let note = format!("only the first {kept} of {there} firmware files are listed");
                initramfs.notes.push(note);
            }
        }
    }
}

/// Leaves a fact only if all of it fits.
fn whole<T: Serialize>(fact: &mut Fact<T>, limit: usize, what: &str) {
    reason(fact);
    if json_bytes(fact) > limit {
        *fact = Fact::Unknown(format!("not read: {what} take up more than {limit} bytes"));
    }
}

fn reason<T>(fact: &mut Fact<T>) {
    if let Fact::Unknown(why) = fact {
        cut_text(why, REASON);
    }
}

fn cut_text(text: &mut String, limit: usize) {
    const CUT: &str = "…";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - CUT.len()));
        text.push_str(CUT);
    }
}

/// Keeps as much of the front of a list as fits.
fn cut_list<T: Serialize>(list: &mut Vec<T>, limit: usize) {
    let mut bytes = 2;
    let fitting = list.iter().take_while(|item| {
        bytes += json_bytes(item) + 1;
        bytes <= limit
    });
    let kept = fitting.count();
    list.truncate(kept);
}

fn json_bytes<T: Serialize>(value: &T) -> usize {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("facts have a JSON form, and counting never fails");
    count.0
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::model::{
        CloudInit, CommandLine, Distribution, EfiPartition, FstabEntry, Identity, Initramfs, Loader,
        LoaderKind, MachineId, Package, Packages, VolumeFacts,
    };
    use crate::facts::{DiskKind, tests::fixture::System};
    use crate::partition::{MAX_NOTES, MAX_PARTITIONS, MAX_TEXT_BYTES};
    use crate::{PartitionEntry, PartitionSummary};

    /// A text whose JSON form is as long as can be: six bytes for one.
    fn text(bytes: usize) -> String {
        "\u{1}".repeat(bytes)
    }

    /// Facts with as much in them as the readers let through, and more.
    fn hostile() -> Facts {
        let mut facts = crate::facts::read(&System::sound().disk(), None).unwrap();
        let partition = PartitionEntry {
            number: u32::MAX,
            first_byte: u64::MAX,
            size_bytes: u64::MAX,
            type_id: text(36),
            name: text(MAX_TEXT_BYTES),
            unique_id: text(36),
        };
        facts.partitions = PartitionSummary {
            partitions: vec![partition; MAX_PARTITIONS],
            notes: vec![text(MAX_TEXT_BYTES); MAX_NOTES],
            ..facts.partitions
        };
        let volume = VolumeFacts {
            partition: Some(u32::MAX),
            kind: Some("linux_raid".to_owned()),
            label: text(256),
            uuid: text(36),
            mounted_at: Some(text(1 << 12)),
            size_bytes: u64::MAX,
            used_bytes: Fact::Unknown(text(1 << 12)),
            unclean: true,
        };
        facts.volumes = vec![volume; MAX_PARTITIONS];
        let package = Package {
            name: text(100),
            version: text(100),
            architecture: text(100),
        };
        facts.packages = Fact::Known(Packages {
            manager: "dpkg".to_owned(),
            packages: vec![package; 20_000],
        });
        let initramfs = Initramfs {
            path: text(300),
            modules: vec![text(20); 1000],
            firmware: vec![text(100); 10_000],
            ..Initramfs::default()
        };
        let kernel = Kernel {
            version: text(255),
            image: Some(text(300)),
            modules: Fact::Known(true),
            builtin: Fact::Known(vec![text(10); 100]),
            initramfs: Fact::Known(Some(initramfs)),
        };
        facts.kernels = Fact::Known(vec![kernel; 6]);
        let line = CommandLine {
            path: text(300),
            arguments: vec![text(8000)],
        };
        facts.command_lines = Fact::Known(vec![line; 1000]);
        let loader = Loader {
            path: text(1000),
            kind: LoaderKind::Other,
            architecture: Fact::Unknown(text(1000)),
            signed: Fact::Unknown(text(1000)),
            removable_path: false,
        };
        facts.firmware.uefi = Fact::Known(Some(EfiPartition {
            partition: None,
            loaders: vec![loader; 256],
        }));
        let entry = FstabEntry {
            device: text(300),
            path: text(300),
            kind: text(300),
            options: text(300),
        };
        facts.fstab = Fact::Known(vec![entry; 1000]);
        facts.identity = Fact::Known(Identity {
            machine_id: MachineId::Set,
            ssh_host_keys: vec![text(255); 1000],
            persistent_net_rules: vec![text(255); 1000],
            builder_leftovers: Vec::new(),
        });
        facts.cloud_init = Fact::Known(Some(CloudInit {
            version: Fact::Known(text(1 << 14)),
            disabled_by: Vec::new(),
        }));
        facts.distribution = Fact::Known(Distribution {
            id: text(1 << 14),
            id_like: Vec::new(),
            version_id: None,
            pretty_name: None,
        });
        facts.architecture = Fact::Unknown(text(1 << 12));
        facts.network = Fact::Unknown(text(1 << 12));
        facts.guest_plugin = Fact::Unknown(text(1 << 12));
        facts.used_bytes = Fact::Unknown(text(1 << 12));
        facts.kind = DiskKind::System;
        facts
    }

    #[test]
    fn facts_have_an_upper_bound() {
        let mut facts = hostile();
        assert!(
            json_bytes(&facts) > 4 * MAX_FACTS_BYTES,
            "there is too much of it"
        );
        fit(&mut facts);
        let bytes = json_bytes(&facts);
        assert!(bytes <= MAX_FACTS_BYTES, "{bytes}");
        // Each at its limit on its own: together they may come to no more.
        let limits =
            PACKAGES + KERNELS + COMMAND_LINES + LOADERS + FSTAB + IDENTITY + CLOUD_INIT + DISTRIBUTION;
        let rest = MAX_PARTITIONS * (6 * (2 * NAME + 36 + REASON) + 300)
            + MAX_PARTITIONS * (6 * (MAX_TEXT_BYTES + 72) + 150)
            + MAX_NOTES * 6 * MAX_TEXT_BYTES
            + 16 * 6 * REASON;
        assert!(limits + rest <= MAX_FACTS_BYTES, "{}", limits + rest);

        let packages = &facts.packages.known().unwrap().packages;
        assert!(packages.len() > 1000 && packages.len() < 20_000);
        assert!(facts.notes[0].starts_with("only the first "), "{:?}", facts.notes);
        let kernels = facts.kernels.known().unwrap();
        let initramfs = kernels[0].initramfs.known().unwrap().as_ref().unwrap();
        assert_eq!(initramfs.modules.len(), 1000, "what is judged stays whole");
        assert!(initramfs.firmware.len() < 10_000 && initramfs.notes.len() == 1);
        assert!(matches!(&facts.fstab, Fact::Unknown(why) if why.contains("fstab take up more than")));
        assert!(facts.volumes[0].used_bytes.known().is_none());
    }

    #[test]
    fn usual_facts_are_not_touched() {
        let facts = crate::facts::read(&System::sound().disk(), None).unwrap();
        let mut fitted = facts.clone();
        fit(&mut fitted);
        assert_eq!(fitted, facts);
        assert!(facts.notes.is_empty());
    }
}
