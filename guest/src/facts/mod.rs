//! What the report says about the running system. Nearly everything is read from files; what cannot be read stays empty,
//! because an incomplete report is worth more than none.

mod addresses;
mod boot_entry;
mod cloud_init;
mod os_release;
mod root_device;
mod systemd;

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use imprint_proto::agent::v1::{BootPhase, FirstBootReport};

use crate::{
    chain,
    network::{self, NetworkError, state::StateError},
};

/// How much of others' words goes into the report at once.
const MAX_TEXT: usize = 512;
/// Parts of the boot, and differences of the network, that are told.
const MAX_LIST: usize = 32;

/// Reads all facts below `root` (`/` but in tests). Addresses are those of the running kernel, whatever `root` is. A report
/// with `waiting_for` is too early to end a deployment.
pub async fn gather(root: &Path, deployment_id: &str) -> FirstBootReport {
    let uptime_ms = uptime_ms(&line(root, "proc/uptime"));
    let mut cloud_init = cloud_init::read(root);
    let systemd = systemd::read(root, uptime_ms).await;
    if let Some(unit) = systemd
        .failed_units
        .iter()
        .find(|unit| unit.starts_with("cloud-"))
    {
        cloud_init.died(unit);
    }
    let mut boot_phases = systemd.phases;
    boot_phases.extend(stages(
        &cloud_init.stages,
        unix_ms().saturating_sub_unsigned(uptime_ms),
    ));
    boot_phases.sort_by_key(|phase| phase.start_ms);
    boot_phases.truncate(MAX_LIST);
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
        uptime_seconds: uptime_ms / 1000,
        cloud_init_status: cloud_init.summary(),
        guest_version: env!("CARGO_PKG_VERSION").to_owned(),
        csr_der: Vec::new(),
        waiting_for: cloud_init.waiting_for().unwrap_or_default(),
        waited_seconds: 0,
        boot_entry: boot_entry::read(root),
        boot_phases,
        network_differences: network_differences(root).await,
        failed_units: systemd.failed_units,
        cloud_init: Some(cloud_init.told),
    }
}

/// What the system waits for, as a report would say now. Reads two files.
#[must_use]
pub fn waiting_for(root: &Path) -> String {
    cloud_init::read(root).waiting_for().unwrap_or_default()
}

/// cloud-init stamps its stages by the clock; `kernel_start_ms` is when the kernel started by the same.
fn stages(stages: &[cloud_init::Stage], kernel_start_ms: i64) -> impl Iterator<Item = BootPhase> {
    let ms =
        |seconds: f64| std::time::Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_millis());
    stages.iter().map(move |stage| {
        let (start, finished) = (ms(stage.start), ms(stage.finished));
        BootPhase {
            name: format!("cloud-init: {}", stage.name),
            start_ms: i64::try_from(start)
                .unwrap_or(i64::MAX)
                .saturating_sub(kernel_start_ms),
            duration_ms: u64::try_from(finished.saturating_sub(start)).unwrap_or(u64::MAX),
        }
    })
}

async fn network_differences(root: &Path) -> Vec<String> {
    let status = match network::status(root).await {
        Ok(status) => status,
        // Installed without network data.
        Err(NetworkError::State(StateError::None)) => return Vec::new(),
        Err(error) => return vec![bounded(&chain(&error))],
    };
    let files = status.files.iter().map(ToString::to_string);
    let kernel = status.kernel.iter().map(ToString::to_string);
    files
        .chain(status.services.iter().cloned())
        .chain(kernel)
        .map(|text| bounded(&text))
        .take(MAX_LIST)
        .collect()
}

/// The kernel's random boot id.
pub fn boot_id(root: &Path) -> String {
    line(root, "proc/sys/kernel/random/boot_id")
}

/// One line of bounded length.
fn bounded(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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

/// /proc/uptime counts in hundredths of a second.
fn uptime_ms(line: &str) -> u64 {
    let (seconds, rest) = line
        .split(' ')
        .next()
        .and_then(|uptime| uptime.split_once('.'))
        .unwrap_or((line, ""));
    let hundredths: u64 = rest.get(..2).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    seconds.parse::<u64>().map_or(0, |seconds| {
        seconds.saturating_mul(1000).saturating_add(hundredths * 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tree_of_files_becomes_a_report() {
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
            (
                "run/cloud-init/status.json",
                r#"{"v1":{"stage":null,"init":{"start":1000000000.25,"finished":1000000002.5}}}"#,
            ),
            ("sys/firmware/efi/fw_platform_size", "64\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let report = gather(root.path(), "01DEPLOY").await;
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
        assert_eq!(report.waiting_for, "");
        assert_eq!(report.network_differences, [""; 0]);
        assert_eq!(report.boot_phases[0].name, "cloud-init: init");
        assert_eq!(report.boot_phases[0].duration_ms, 2250);
        assert_eq!(report.guest_version, env!("CARGO_PKG_VERSION"));
    }

    #[tokio::test]
    async fn an_empty_tree_gives_empty_facts_and_no_failure() {
        let root = tempfile::tempdir().unwrap();
        let report = gather(root.path(), "d").await;
        assert_eq!(
            (report.hostname.as_str(), report.boot_mode.as_str()),
            ("", "bios")
        );
        assert_eq!(
            (report.cloud_init_status.as_str(), report.root_device.as_str()),
            ("absent", "")
        );
        assert!(report.failed_units.is_empty() && report.boot_phases.is_empty());
    }

    #[test]
    fn uptime_is_read_to_the_hundredth() {
        for (line, expected) in [
            ("41.73 60.11", 41_730),
            ("7.5 1", 7000),
            ("9", 9000),
            ("", 0),
            ("x.1", 0),
        ] {
            assert_eq!(uptime_ms(line), expected, "{line}");
        }
    }
}
