//! Findings about the system that was installed.

use super::Report;
use crate::facts::model::{Fact, Facts, MachineId, VolumeFacts};

pub(super) fn check(facts: &Facts, report: &mut Report) {
    unknown(facts, report);
    fstab(facts, report);
    identity(facts, report);
    cloud_init(facts, report);
    if facts.network.known().is_some_and(Vec::is_empty) {
        report.warning(
            "no_network_stack",
            "Nothing that configures the network was found.",
            "Install netplan, NetworkManager, ifupdown or wicked, or enable systemd-networkd.",
        );
    }
}

fn unknown(facts: &Facts, report: &mut Report) {
    if let Fact::Unknown(why) = &facts.distribution {
        report.info(
            "system_not_read",
            format!("The operating system could not be looked at: {why}."),
            "Nothing, if the image is known to work. Otherwise check by hand what this report cannot.",
        );
    }
    windows(facts, report);
    unclean(facts, report);
    for kernel in facts.kernels.known().into_iter().flatten() {
        if let Fact::Unknown(why) = &kernel.initramfs {
            report.info(
                "initramfs_not_read",
                format!(
                    "The initramfs of kernel {} could not be read: {why}.",
                    kernel.version
                ),
                "Check by hand that it has the drivers of the machines.",
            );
        }
    }
}

/// Nothing is read of NTFS, so nothing is known of a Windows either.
fn windows(facts: &Facts, report: &mut Report) {
    if facts.distribution.known().is_some() {
        return;
    }
    let is_ntfs = |volume: &&VolumeFacts| volume.kind.as_deref() == Some("ntfs");
    for volume in facts.volumes.iter().filter(is_ntfs).take(1) {
        let place = match volume.partition {
            Some(number) => format!("Partition {number}"),
            None => "The disk".to_owned(),
        };
        report.info(
            "windows_not_read",
            format!(
                "{place} is NTFS, which is not read: if it holds Windows, neither its version nor whether cloudbase-init \
                 is installed is known."
            ),
            "Say what it is (`--os windows --os-version 2022`), and install cloudbase-init before the disk is taken as an \
             image: it does what cloud-init does elsewhere.",
        );
    }
}

/// File systems that were in use, whether they could be read all the same or not.
pub(super) fn unclean(facts: &Facts, report: &mut Report) {
    for volume in &facts.volumes {
        let what = match &volume.used_bytes {
            Fact::Unknown(why) if why.contains("not unmounted cleanly") => {
                format!("A file system was in use when the image was made: {why}.")
            }
            _ if volume.unclean => format!(
                "The file system of {} was in use when the image was made; what its journal holds is not in its place \
                 yet.",
                match volume.partition {
                    Some(number) => format!("partition {number}"),
                    None => "the disk".to_owned(),
                }
            ),
            _ => continue,
        };
        report.warning(
            "unclean_file_system",
            what,
            "Shut the machine down before its disk is taken as an image, or run a file system check on the image.",
        );
    }
}

fn fstab(facts: &Facts, report: &mut Report) {
    for entry in facts.fstab.known().into_iter().flatten() {
        let device = &entry.device;
        if !is_device_name(device) {
            continue;
        }
        if entry.kind == "swap" {
            report.warning(
                "swap_by_device_name",
                format!("/etc/fstab names swap space as {device}: device names differ between machines."),
                "Name it by UUID, or take it out.",
            );
        } else {
            report.error(
                "fstab_by_device_name",
                format!(
                    "/etc/fstab mounts {device} at {}: device names differ between machines.",
                    entry.path
                ),
                "Name the file system by UUID or label.",
            );
        }
    }
}

/// Whether this is a name that the kernel gives out in the order in which it finds disks.
pub(super) fn is_device_name(device: &str) -> bool {
    const PREFIXES: [&str; 6] = ["sd", "hd", "vd", "xvd", "nvme", "mmcblk"];
    device
        .strip_prefix("/dev/")
        .is_some_and(|name| !name.contains('/') && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

fn identity(facts: &Facts, report: &mut Report) {
    let Some(identity) = facts.identity.known() else {
        return;
    };
    if identity.machine_id == MachineId::Set {
        report.warning(
            "machine_id_left",
            "/etc/machine-id holds an id that every machine made from the image would share.",
            "Empty the file (`truncate -s 0 /etc/machine-id`). Imprint does so on the machines that it installs.",
        );
    }
    if !identity.ssh_host_keys.is_empty() {
        report.error(
            "ssh_host_keys_left",
            format!(
                "The image holds ssh host keys, which are no secret any more: {}.",
                identity.ssh_host_keys.join(", ")
            ),
            "Remove them; the first start makes new ones. Imprint does so on the machines that it installs.",
        );
    }
    if !identity.persistent_net_rules.is_empty() {
        report.warning(
            "persistent_net_rules",
            format!(
                "udev rules bind interface names to the machine that the image was made on: {}.",
                identity.persistent_net_rules.join(", ")
            ),
            "Remove them.",
        );
    }
    if !identity.builder_leftovers.is_empty() {
        report.info(
            "builder_leftovers",
            format!(
                "The image's builder left configuration behind that can get in the way of cloud-init: {}.",
                identity.builder_leftovers.join(", ")
            ),
            "Remove it, unless it is meant to be there.",
        );
    }
}

fn cloud_init(facts: &Facts, report: &mut Report) {
    match facts.cloud_init.known() {
        None => {}
        Some(None) => report.warning(
            "no_cloud_init",
            "The image has no cloud-init: host name, keys, network and user data of a deployment reach nobody.",
            "Install cloud-init.",
        ),
        Some(Some(cloud_init)) if !cloud_init.disabled_by.is_empty() => report.warning(
            "cloud_init_disabled",
            format!("cloud-init is switched off by {}.", cloud_init.disabled_by.join(", ")),
            "Remove what switches it off.",
        ),
        Some(Some(_)) => {}
    }
}
