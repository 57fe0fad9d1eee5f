use super::*;
use crate::facts::model::{
    Bios, CloudInit, CommandLine, Distribution, EfiPartition, Fact, Firmware, FstabEntry, Identity,
    Initramfs, Kernel, Loader, LoaderKind, MachineId, NetworkStack, Packages, VolumeFacts,
};
use crate::{PartitionEntry, PartitionSummary, PartitionTable};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn partition(number: u32, first_byte: u64) -> PartitionEntry {
    PartitionEntry {
        number,
        first_byte,
        size_bytes: 1 << 20,
        ..PartitionEntry::default()
    }
}

fn loader(path: &str, kind: LoaderKind) -> Loader {
    Loader {
        path: path.to_owned(),
        kind,
        architecture: Fact::Known("x86_64".to_owned()),
        signed: Fact::Known(true),
        removable_path: path.starts_with("EFI/BOOT"),
    }
}

/// Facts without any finding.
fn sound() -> Facts {
    Facts {
        version: 1,
        kind: DiskKind::System,
        disk_size_bytes: 1 << 30,
        logical_sector_bytes: 512,
        used_bytes: Fact::Known(1),
        partitions: PartitionSummary {
            table: PartitionTable::Gpt,
            partitions: vec![
                partition(1, 3 << 20),
                partition(14, 1 << 20),
                partition(15, 2 << 20),
            ],
            ..PartitionSummary::default()
        },
        volumes: vec![VolumeFacts {
            partition: Some(1),
            kind: Some("ext4".to_owned()),
            label: String::new(),
            uuid: String::new(),
            mounted_at: Some("/".to_owned()),
            size_bytes: 1 << 20,
            used_bytes: Fact::Known(1),
            unclean: false,
        }],
        firmware: Firmware {
            uefi: Fact::Known(Some(EfiPartition {
                partition: Some(15),
                loaders: vec![
                    loader("EFI/BOOT/BOOTX64.EFI", LoaderKind::Shim),
                    loader("EFI/debian/grubx64.efi", LoaderKind::Grub),
                ],
            })),
            bios: Fact::Known(Bios {
                boot_code: true,
                grub: true,
                boot_partition: Some(14),
                boot_partition_filled: true,
            }),
        },
        architecture: Fact::Known("x86_64".to_owned()),
        distribution: Fact::Known(Distribution {
            id: "debian".to_owned(),
            id_like: Vec::new(),
            version_id: None,
            pretty_name: None,
        }),
        kernels: Fact::Known(vec![Kernel {
            version: "6.1".to_owned(),
            image: Some("/boot/vmlinuz-6.1".to_owned()),
            modules: Fact::Known(true),
            builtin: Fact::Known(texts(&["nvme", "ahci"])),
            initramfs: Fact::Known(Some(Initramfs {
                path: "/boot/initrd.img-6.1".to_owned(),
                modules: texts(&["aacraid", "megaraid_sas", "mpt3sas", "smartpqi"]),
                ..Initramfs::default()
            })),
        }]),
        command_lines: Fact::Known(vec![CommandLine {
            path: "/etc/default/grub".to_owned(),
            arguments: texts(&["root=UUID=1", "console=tty0", "console=ttyS0,115200"]),
        }]),
        fstab: Fact::Known(vec![FstabEntry {
            device: "UUID=1".to_owned(),
            path: "/".to_owned(),
            kind: "ext4".to_owned(),
            options: "defaults".to_owned(),
        }]),
        cloud_init: Fact::Known(Some(CloudInit {
            version: Fact::Known("22.4".to_owned()),
            disabled_by: Vec::new(),
        })),
        network: Fact::Known(vec![NetworkStack::Netplan]),
        guest_plugin: Fact::Known(false),
        identity: Fact::Known(Identity {
            machine_id: MachineId::Empty,
            ssh_host_keys: Vec::new(),
            persistent_net_rules: Vec::new(),
            builder_leftovers: Vec::new(),
        }),
        packages: Fact::Known(Packages {
            manager: "dpkg".to_owned(),
            packages: Vec::new(),
        }),
        notes: Vec::new(),
    }
}

/// The one finding that `change` brings about.
#[track_caller]
fn only(code: &str, severity: Severity, change: impl FnOnce(&mut Facts)) {
    let mut facts = sound();
    change(&mut facts);
    let findings = lint(&facts);
    let codes: Vec<_> = findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.severity))
        .collect();
    assert_eq!(codes, [(code, severity)], "{findings:#?}");
    assert!(findings[0].what.ends_with('.') && findings[0].remedy.ends_with('.'));
}

fn known<T>(fact: &mut Fact<T>) -> &mut T {
    match fact {
        Fact::Known(value) => value,
        Fact::Unknown(why) => panic!("{why}"),
    }
}

fn efi(facts: &mut Facts) -> &mut EfiPartition {
    known(&mut facts.firmware.uefi).as_mut().unwrap()
}

fn initramfs(facts: &mut Facts) -> &mut Initramfs {
    known(&mut known(&mut facts.kernels)[0].initramfs)
        .as_mut()
        .unwrap()
}

#[test]
fn a_sound_image_has_no_findings() {
    assert_eq!(lint(&sound()), []);
}

#[test]
fn the_worst_comes_first() {
    let mut facts = sound();
    facts.partitions.table = PartitionTable::Mbr;
    efi(&mut facts).loaders.clear();
    let severities: Vec<_> = lint(&facts).iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning]);
}

#[test]
fn no_gpt() {
    only("no_gpt", Severity::Warning, |facts| {
        facts.partitions.table = PartitionTable::Mbr;
    });
    only("no_gpt", Severity::Warning, |facts| {
        facts.partitions.table = PartitionTable::None;
    });
}

#[test]
fn odd_partition_table() {
    only("odd_partition_table", Severity::Warning, |facts| {
        facts.partitions.notes = texts(&["the protective MBR is odd: it does not begin at sector 1"]);
    });
}

#[test]
fn root_not_last() {
    only("root_not_last", Severity::Warning, |facts| {
        facts.partitions.partitions[2].first_byte = 9 << 20;
    });
}

#[test]
fn no_efi_partition() {
    only("no_efi_partition", Severity::Warning, |facts| {
        facts.firmware.uefi = Fact::Known(None);
    });
}

#[test]
fn no_boot_loader() {
    only("no_boot_loader", Severity::Error, |facts| {
        facts.firmware.uefi = Fact::Known(None);
        known(&mut facts.firmware.bios).boot_code = false;
    });
    only("no_boot_loader", Severity::Error, |facts| {
        facts.firmware.uefi = Fact::Known(None);
        known(&mut facts.firmware.bios).boot_partition_filled = false;
    });
}

#[test]
fn no_bios_boot() {
    only("no_bios_boot", Severity::Info, |facts| {
        known(&mut facts.firmware.bios).boot_partition_filled = false;
    });
}

#[test]
fn no_removable_loader() {
    only("no_removable_loader", Severity::Error, |facts| {
        efi(facts).loaders.remove(0);
    });
    only("no_removable_loader", Severity::Error, |facts| {
        efi(facts).loaders[0].path = "EFI/BOOT/BOOTIA32.EFI".to_owned();
    });
}

#[test]
fn loader_of_other_architecture() {
    only("loader_of_other_architecture", Severity::Error, |facts| {
        efi(facts).loaders[0].architecture = Fact::Known("i386".to_owned());
    });
}

#[test]
fn no_signed_loader() {
    only("no_signed_loader", Severity::Info, |facts| {
        efi(facts).loaders[0].signed = Fact::Known(false);
    });
}

#[test]
fn no_kernel() {
    only("no_kernel", Severity::Error, |facts| {
        known(&mut facts.kernels).clear();
    });
    // A unified kernel image needs none.
    let mut facts = sound();
    known(&mut facts.kernels).clear();
    efi(&mut facts)
        .loaders
        .push(loader("EFI/Linux/a.efi", LoaderKind::UnifiedKernel));
    assert_eq!(lint(&facts), []);
}

#[test]
fn kernel_without_modules() {
    only("kernel_without_modules", Severity::Warning, |facts| {
        known(&mut facts.kernels)[0].modules = Fact::Known(false);
    });
}

#[test]
fn kernel_without_initramfs() {
    only("kernel_without_initramfs", Severity::Warning, |facts| {
        known(&mut facts.kernels)[0].initramfs = Fact::Known(None);
    });
}

#[test]
fn initramfs_without_storage() {
    only("initramfs_without_storage", Severity::Error, |facts| {
        initramfs(facts).modules = texts(&["virtio_blk"]);
        known(&mut facts.kernels)[0].builtin = Fact::Known(Vec::new());
    });
    // Without the list of what is built in, nothing can be said.
    let mut facts = sound();
    initramfs(&mut facts).modules.clear();
    known(&mut facts.kernels)[0].builtin = Fact::Unknown("gone".to_owned());
    assert_eq!(lint(&facts), []);
}

#[test]
fn initramfs_lacks_storage() {
    only("initramfs_lacks_storage", Severity::Warning, |facts| {
        initramfs(facts).modules.retain(|module| module != "mpt3sas");
    });
}

#[test]
fn initramfs_not_read() {
    only("initramfs_not_read", Severity::Info, |facts| {
        known(&mut facts.kernels)[0].initramfs = Fact::Unknown("there is no reader for lzo".to_owned());
    });
}

#[test]
fn no_serial_console() {
    only("no_serial_console", Severity::Warning, |facts| {
        known(&mut facts.command_lines)[0].arguments.pop();
    });
}

#[test]
fn root_by_device_name() {
    only("root_by_device_name", Severity::Error, |facts| {
        known(&mut facts.command_lines)[0].arguments[0] = "root=/dev/sda1".to_owned();
    });
    // What device mapper names is the same everywhere.
    let mut facts = sound();
    known(&mut facts.command_lines)[0].arguments[0] = "root=/dev/mapper/vg-root".to_owned();
    assert_eq!(lint(&facts), []);
}

#[test]
fn fstab_by_device_name() {
    for device in ["/dev/sda1", "/dev/vda1", "/dev/nvme0n1p1"] {
        only("fstab_by_device_name", Severity::Error, |facts| {
            known(&mut facts.fstab)[0].device = device.to_owned();
        });
    }
    for device in ["/dev/mapper/vg-root", "/dev/disk/by-uuid/1", "LABEL=root"] {
        let mut facts = sound();
        known(&mut facts.fstab)[0].device = device.to_owned();
        assert_eq!(lint(&facts), [], "{device}");
    }
}

#[test]
fn swap_by_device_name() {
    only("swap_by_device_name", Severity::Warning, |facts| {
        known(&mut facts.fstab)[0].device = "/dev/sda2".to_owned();
        known(&mut facts.fstab)[0].kind = "swap".to_owned();
    });
}

#[test]
fn machine_id_left() {
    only("machine_id_left", Severity::Warning, |facts| {
        known(&mut facts.identity).machine_id = MachineId::Set;
    });
    for fine in [MachineId::Absent, MachineId::Uninitialized] {
        let mut facts = sound();
        known(&mut facts.identity).machine_id = fine;
        assert_eq!(lint(&facts), []);
    }
}

#[test]
fn ssh_host_keys_left() {
    only("ssh_host_keys_left", Severity::Error, |facts| {
        known(&mut facts.identity).ssh_host_keys = texts(&["/etc/ssh/ssh_host_rsa_key"]);
    });
}

#[test]
fn persistent_net_rules() {
    only("persistent_net_rules", Severity::Warning, |facts| {
        known(&mut facts.identity).persistent_net_rules =
            texts(&["/etc/udev/rules.d/70-persistent-net.rules"]);
    });
}

#[test]
fn builder_leftovers() {
    only("builder_leftovers", Severity::Info, |facts| {
        known(&mut facts.identity).builder_leftovers = texts(&["/etc/netplan/50-cloud-init.yaml"]);
    });
}

#[test]
fn no_cloud_init() {
    only("no_cloud_init", Severity::Warning, |facts| {
        facts.cloud_init = Fact::Known(None);
    });
}

#[test]
fn cloud_init_disabled() {
    only("cloud_init_disabled", Severity::Warning, |facts| {
        known(&mut facts.cloud_init).as_mut().unwrap().disabled_by =
            texts(&["/etc/cloud/cloud-init.disabled"]);
    });
}

#[test]
fn no_network_stack() {
    only("no_network_stack", Severity::Warning, |facts| {
        facts.network = Fact::Known(Vec::new());
    });
}

#[test]
fn unclean_file_system() {
    only("unclean_file_system", Severity::Warning, |facts| {
        let why = "partition 1 (ext4): cannot be read: it was not unmounted cleanly, and its journal holds something";
        facts.volumes[0].used_bytes = Fact::Unknown(why.to_owned());
    });
    only("unclean_file_system", Severity::Warning, |facts| {
        facts.volumes[0].unclean = true;
    });
}

#[test]
fn a_disk_of_data_need_not_boot() {
    let mut facts = sound();
    facts.kind = DiskKind::Data;
    facts.partitions.table = PartitionTable::None;
    facts.firmware.uefi = Fact::Known(None);
    facts.distribution = Fact::Unknown("it is a disk of data".to_owned());
    facts.cloud_init = Fact::Known(None);
    assert_eq!(lint(&facts), []);
    facts.volumes[0].unclean = true;
    facts.partitions.notes = texts(&["something is odd"]);
    let codes: Vec<_> = lint(&facts).into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["odd_partition_table", "unclean_file_system"]);
}

#[test]
fn system_not_read() {
    only("system_not_read", Severity::Info, |facts| {
        facts.distribution = Fact::Unknown("there is no reader for xfs".to_owned());
    });
}
