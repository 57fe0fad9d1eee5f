//! What the report says about the running system. Everything is read from files; what cannot be read stays empty,
//! because an incomplete report is worth more than none.

mod addresses;
mod cloud_init;
mod os_release;
mod root_device;

use std::{fs, path::Path};

use imprint_proto::agent::v1::FirstBootReport;

/// Reads all facts below `root` (`/` but in tests). Addresses are those of the running kernel, whatever `root` is.
pub fn gather(root: &Path, deployment_id: &str) -> FirstBootReport {
    FirstBootReport {
        deployment_id: deployment_id.to_owned(),
        hostname: line(root, "proc/sys/kernel/hostname"),
        machine_id: line(root, "etc/machine-id"),
        os_name: os_release::pretty_name(&text(root, "etc/os-release")).unwrap_or_default(),
        kernel_release: line(root, "proc/sys/kernel/osrelease"),
        boot_mode: if root.join("sys/firmware/efi").is_dir() {
            "uefi"
        } else {
            "bios"
        }
        .to_owned(),
        addresses: addresses::read(),
        root_device: root_device::read(root),
        boot_id: boot_id(root),
        uptime_seconds: uptime(&line(root, "proc/uptime")),
        cloud_init_status: cloud_init::read(root),
        guest_version: env!("CARGO_PKG_VERSION").to_owned(),
        csr_der: Vec::new(),
    }
}

/// The kernel's random boot id.
pub fn boot_id(root: &Path) -> String {
    line(root, "proc/sys/kernel/random/boot_id")
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

fn line(root: &Path, path: &str) -> String {
    text(root, path)
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn uptime(line: &str) -> u64 {
    line.split(['.', ' '])
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_files_becomes_a_report() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("proc/sys/kernel/hostname", "web-07\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            (
                "etc/os-release",
                "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            ),
            ("proc/sys/kernel/osrelease", "6.1.0-40-cloud-amd64\n"),
            (
                "proc/sys/kernel/random/boot_id",
                "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\n",
            ),
            ("proc/uptime", "41.73 60.11\n"),
            (
                "proc/self/mountinfo",
                "22 1 259:3 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p3 rw\n",
            ),
            (
                "run/cloud-init/result.json",
                r#"{"v1":{"datasource":"DataSourceNoCloud","errors":[]}}"#,
            ),
            ("sys/firmware/efi/fw_platform_size", "64\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let report = gather(root.path(), "01DEPLOY");
        assert_eq!(report.deployment_id, "01DEPLOY");
        assert_eq!(report.hostname, "web-07");
        assert_eq!(report.machine_id, "0123456789abcdef0123456789abcdef");
        assert_eq!(report.os_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(report.kernel_release, "6.1.0-40-cloud-amd64");
        assert_eq!(report.boot_mode, "uefi");
        assert_eq!(report.root_device, "/dev/nvme0n1p3 ext4");
        assert_eq!(report.boot_id, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
        assert_eq!(report.uptime_seconds, 41);
        assert_eq!(report.cloud_init_status, "done");
        assert_eq!(report.guest_version, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn an_empty_tree_gives_empty_facts_and_no_failure() {
        let root = tempfile::tempdir().unwrap();
        let report = gather(root.path(), "d");
        assert_eq!(
            (report.hostname.as_str(), report.boot_mode.as_str()),
            ("", "bios")
        );
        assert_eq!(
            (report.cloud_init_status.as_str(), report.root_device.as_str()),
            ("absent", "")
        );
    }
}
