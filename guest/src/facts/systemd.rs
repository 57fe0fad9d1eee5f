//! What systemd knows of this boot: how long its parts took, and which units have failed.
//!
//! `systemctl show` is asked: its `KEY=VALUE` lines are made for programs, it talks to systemd without a message bus, and
//! systemd has already collected what firmware and boot loader left in different places (ACPI's FPDT, EFI variables). A D-Bus
//! library would be a third of the plugin for four numbers.

use std::{path::Path, process::Stdio, time::Duration};

use imprint_proto::agent::v1::BootPhase;
use tokio::{io::AsyncReadExt as _, process::Command};

use super::bounded;

/// The system's own, below the root.
const SYSTEMCTL: &str = "usr/bin/systemctl";
/// A systemd that does not answer is no reason not to report.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_OUTPUT: u64 = 256 << 10;
const MAX_FAILED: usize = 32;
/// What of the boot is waited for in the field, and what is ours.
const UNITS: [&str; 4] = [
    "network-online.target",
    "multi-user.target",
    "imprint-network.service",
    "imprint-report.service",
];

/// What systemd said; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Read {
    pub phases: Vec<BootPhase>,
    pub failed_units: Vec<String>,
}

/// Asks the system below `root`.
pub(super) async fn read(root: &Path, uptime_ms: u64) -> Read {
    let program = root.join(SYSTEMCTL);
    if !program.exists() {
        return Read::default();
    }
    let manager = [
        "show",
        "--property=FirmwareTimestampMonotonic",
        "--property=LoaderTimestampMonotonic",
        "--property=InitRDTimestampMonotonic",
        "--property=UserspaceTimestampMonotonic",
        "--property=FinishTimestampMonotonic",
    ];
    let mut units = vec![
        "show",
        "--property=Id",
        "--property=InactiveExitTimestampMonotonic",
        "--property=ActiveEnterTimestampMonotonic",
    ];
    units.extend(UNITS);
    let failed = [
        "list-units",
        "--state=failed",
        "--plain",
        "--no-legend",
        "--no-pager",
        "--full",
    ];
    let mut phases = phases(&ask(&program, &manager).await, uptime_ms);
    phases.extend(unit_phases(&ask(&program, &units).await));
    Read {
        phases,
        failed_units: failed_units(&ask(&program, &failed).await),
    }
}

/// What it prints; empty when it fails.
async fn ask(program: &Path, arguments: &[&str]) -> String {
    let asked = async {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT).read_to_end(&mut said).await?;
        }
        child.wait().await?;
        Ok::<_, std::io::Error>(said)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(said)) => String::from_utf8_lossy(&said).into_owned(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "systemctl cannot be asked");
            String::new()
        }
        Err(_) => {
            tracing::warn!("systemctl has not answered in {} s", PATIENCE.as_secs());
            String::new()
        }
    }
}

/// Microseconds of a property; 0 is systemd's word for "not known".
fn micros(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .filter(|micros| *micros > 0)
}

fn phase(name: &str, start_us: i64, end_us: i64) -> Option<BootPhase> {
    Some(BootPhase {
        name: bounded(name),
        start_ms: start_us.div_euclid(1000),
        duration_ms: u64::try_from(end_us.checked_sub(start_us)?).ok()? / 1000,
    })
}

/// As systemd-analyze(1) reckons them: firmware and loader count back from the kernel's start, the others from there on.
fn phases(text: &str, uptime_ms: u64) -> Vec<BootPhase> {
    let at =
        |key: &str| micros(text, &format!("{key}TimestampMonotonic")).and_then(|us| i64::try_from(us).ok());
    let now = i64::try_from(uptime_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    let (firmware, loader, initrd, userspace) = (at("Firmware"), at("Loader"), at("InitRD"), at("Userspace"));
    let finished = at("Finish").unwrap_or(now);
    [
        firmware
            .zip(loader)
            .and_then(|(from, to)| phase("firmware", -from, -to)),
        loader.and_then(|from| phase("loader", -from, 0)),
        initrd.or(userspace).and_then(|to| phase("kernel", 0, to)),
        initrd
            .zip(userspace)
            .and_then(|(from, to)| phase("initrd", from, to)),
        userspace.and_then(|from| phase("userspace", from, finished)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Blocks of lines with an empty one between them, one for each unit.
fn unit_phases(text: &str) -> Vec<BootPhase> {
    text.split("\n\n")
        .filter_map(|block| {
            let id = block.lines().find_map(|line| line.strip_prefix("Id="))?;
            let from = micros(block, "InactiveExitTimestampMonotonic");
            let to = micros(block, "ActiveEnterTimestampMonotonic")?;
            phase(
                id,
                i64::try_from(from.unwrap_or(to)).ok()?,
                i64::try_from(to).ok()?,
            )
        })
        .take(UNITS.len())
        .collect()
}

fn failed_units(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.contains('.')))
        .map(bounded)
        .take(MAX_FAILED)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn named(phases: &[BootPhase]) -> Vec<(&str, i64, u64)> {
        phases
            .iter()
            .map(|phase| (phase.name.as_str(), phase.start_ms, phase.duration_ms))
            .collect()
    }

    #[test]
    fn the_parts_of_a_boot_are_those_of_systemd_analyze() {
        let whole = "FirmwareTimestampMonotonic=9000000\nLoaderTimestampMonotonic=2500000\n\
            InitRDTimestampMonotonic=1200000\nUserspaceTimestampMonotonic=4200999\nFinishTimestampMonotonic=30000000\n";
        assert_eq!(
            named(&phases(whole, 99_000)),
            [
                ("firmware", -9000, 6500),
                ("loader", -2500, 2500),
                ("kernel", 0, 1200),
                ("initrd", 1200, 3000),
                ("userspace", 4200, 25_799),
            ]
        );
        // A BIOS, no initrd, and the boot goes on.
        let little = "FirmwareTimestampMonotonic=0\nLoaderTimestampMonotonic=0\nInitRDTimestampMonotonic=0\n\
            UserspaceTimestampMonotonic=2000000\nFinishTimestampMonotonic=0\n";
        assert_eq!(
            named(&phases(little, 5000)),
            [("kernel", 0, 2000), ("userspace", 2000, 3000)]
        );
        assert_eq!(named(&phases("", 5000)), []);
        assert_eq!(
            named(&phases("UserspaceTimestampMonotonic=18446744073709551615\n", 1)),
            []
        );
    }

    #[test]
    fn units_that_have_not_begun_take_no_time() {
        let text = "Id=network-online.target\nInactiveExitTimestampMonotonic=7000000\nActiveEnterTimestampMonotonic=7000000\n\n\
            Id=imprint-network.service\nInactiveExitTimestampMonotonic=6000000\nActiveEnterTimestampMonotonic=6120000\n\n\
            Id=multi-user.target\nInactiveExitTimestampMonotonic=0\nActiveEnterTimestampMonotonic=0\n";
        assert_eq!(
            named(&unit_phases(text)),
            [
                ("network-online.target", 7000, 0),
                ("imprint-network.service", 6000, 120)
            ]
        );
    }

    #[test]
    fn failed_units_are_named_with_and_without_a_bullet() {
        assert_eq!(
            failed_units("a.service loaded failed failed What it is\n● b@c.mount loaded failed failed B\n\n"),
            ["a.service", "b@c.mount"]
        );
        assert_eq!(failed_units(&"x.service loaded\n".repeat(100)).len(), MAX_FAILED);
    }

    #[tokio::test]
    async fn the_program_of_the_system_below_the_root_is_asked() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path(), 5000).await, Read::default());
        let program = root.path().join(SYSTEMCTL);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let script = "#!/bin/sh\ncase \"$1\" in list-units) echo x.service loaded failed failed X;;\n\
            *) echo UserspaceTimestampMonotonic=2000000;; esac\n";
        // By another process: a program that is open for writing anywhere in this one cannot be started.
        let wrote = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$0\" > \"$1\"", script])
            .arg(&program)
            .status()
            .unwrap();
        assert!(wrote.success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let read = read(root.path(), 5000).await;
        assert_eq!(
            named(&read.phases),
            [("kernel", 0, 2000), ("userspace", 2000, 3000)]
        );
        assert_eq!(read.failed_units, ["x.service"]);
    }
}
