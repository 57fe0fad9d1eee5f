//! The guest plugin in the installed system, and the traces of the installation.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::GuestPlan;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    confined::{ConfinedError, ConfinedRoot},
    profile::Profile,
    secrets::{self, GUEST},
};

/// Where the ramdisk keeps the plugin and its units.
pub const GUEST_FOLDER: &str = "/usr/lib/imprint/guest";
const BINARY: &str = "imprint-guest";
const UNITS: &str = "etc/systemd/system";
/// Digests of what is installed, in the form of sha256sum(1).
const FILES: &str = "etc/imprint/guest-files.sha256";
/// What the plugin has to tell.
const EVENTS: &str = "var/lib/imprint/events";

/// The guest plugin can't be installed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The ramdisk is not complete.
    #[error("cannot read {path} of the ramdisk")]
    Ramdisk {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing would start the plugin.
    #[error("the image has no systemd, which starts the first-boot report")]
    NoSystemd,
    /// A file of the installed system.
    #[error("the guest plugin cannot be installed")]
    File(#[from] ConfinedError),
}

/// Facts about the installation that stay in the installed system.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    /// The deployment.
    pub deployment_id: String,
    /// The image's name.
    pub image_name: String,
    /// The image's digest, hex.
    pub image_digest: String,
    /// The disk's serial number, or its name when it has none.
    pub disk: String,
    /// When the task was begun, RFC 3339.
    pub started_at: String,
    /// Now, RFC 3339.
    pub finished_at: String,
    /// Steps with their seconds.
    pub steps: Vec<(String, f64)>,
}

/// Copies the plugin and its units, and writes what it needs to know.
///
/// # Errors
/// When a file is missing in the ramdisk or can't be written.
pub fn install(
    root: &ConfinedRoot,
    profile: &Profile,
    from: &Path,
    plan: Option<&GuestPlan>,
    traces: &Traces,
) -> Result<String, GuestError> {
    let detail = match plan {
        Some(plan) => {
            if !profile.systemd {
                return Err(GuestError::NoSystemd);
            }
            let (units, digests) = copy(root, from)?;
            root.write(FILES, digests.as_bytes(), 0o644)?;
            let config = json!({
                "version": 1,
                "deployment_id": plan.deployment_id,
                "controller_url": plan.controller_url,
                "ca_pem": plan.ca_pem,
                "report_token": plan.report_token,
                "order_keys": plan.order_keys.iter().map(hex::encode).collect::<Vec<_>>(),
            });
            secrets::erase_token(root)?;
            // An image that was made of an installed system has what its plugin wanted to tell.
            root.remove_tree(EVENTS)?;
            root.write(&format!("{GUEST}/guest.json"), pretty(&config).as_bytes(), 0o600)?;
            format!("guest plugin installed with {units} unit(s)")
        }
        None => "no guest plugin in the plan".to_owned(),
    };
    let deployment = json!({
        "version": 1,
        "deployment_id": traces.deployment_id,
        "image": traces.image_name,
        "image_digest": traces.image_digest,
        "disk": traces.disk,
        "agent_version": crate::VERSION,
        "started_at": traces.started_at,
        "finished_at": traces.finished_at,
    });
    root.write(
        "etc/imprint/deployment.json",
        pretty(&deployment).as_bytes(),
        0o600,
    )?;
    let mut log = deployment;
    log["steps"] = traces
        .steps
        .iter()
        .map(|(step, seconds)| json!({ "step": step, "seconds": seconds }))
        .collect();
    root.write("var/log/imprint-install.json", pretty(&log).as_bytes(), 0o640)?;
    root.write("var/log/imprint-install.log", told(traces).as_bytes(), 0o640)?;
    Ok(detail)
}

/// The same for people.
fn told(traces: &Traces) -> String {
    let mut out = format!(
        "{} imprint-agent {} began deployment {}\n",
        traces.started_at,
        crate::VERSION,
        traces.deployment_id
    );
    out.push_str(&format!(
        "image {}, digest {}, on the disk {}\n",
        traces.image_name, traces.image_digest, traces.disk
    ));
    for (step, seconds) in &traces.steps {
        out.push_str(&format!("step {step}: {seconds:.1} s\n"));
    }
    out.push_str(&format!(
        "{} the files of the system are finished\n",
        traces.finished_at
    ));
    out
}

/// Copies the plugin and its units; the number of units and the digests of all.
fn copy(root: &ConfinedRoot, from: &Path) -> Result<(usize, String), GuestError> {
    let read = |path: PathBuf| fs::read(&path).map_err(|source| GuestError::Ramdisk { path, source });
    let mut digests = String::new();
    let mut put = |path: String, bytes: &[u8], mode| {
        let _ = writeln!(digests, "{}  /{path}", hex::encode(Sha256::digest(bytes)));
        root.write(&path, bytes, mode)
    };
    let binary = format!("opt/imprint/{BINARY}");
    put(binary.clone(), &read(from.join(BINARY))?, 0o755)?;
    // With the label that /opt gives its files, systemd would not start it in a domain of its own.
    root.label_like(&binary, &["usr/bin/env", "usr/bin/bash"])?;
    let list = |source| GuestError::Ramdisk {
        path: from.to_path_buf(),
        source,
    };
    let mut units = 0;
    for entry in fs::read_dir(from).map_err(list)? {
        let name = entry.map_err(list)?.file_name();
        let Some(name) = name.to_str().filter(|name| {
            [".service", ".timer", ".path"]
                .iter()
                .any(|end| name.ends_with(end))
        }) else {
            continue;
        };
        let text = read(from.join(name))?;
        put(format!("{UNITS}/{name}"), &text, 0o644)?;
        for target in wanted_by(&String::from_utf8_lossy(&text)) {
            root.link(&format!("{UNITS}/{target}.wants/{name}"), &format!("../{name}"))?;
        }
        units += 1;
    }
    Ok((units, digests))
}

/// The targets of a unit's `WantedBy=` lines.
fn wanted_by(unit: &str) -> Vec<&str> {
    let lines = unit
        .lines()
        .filter_map(|line| line.trim().strip_prefix("WantedBy="));
    lines
        .flat_map(str::split_whitespace)
        .filter(|target| !target.contains('/'))
        .collect()
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn traces() -> Traces {
        Traces {
            deployment_id: "D".into(),
            image_name: "debian-12".into(),
            image_digest: "ab".into(),
            disk: "S1".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: "2026-01-01T00:00:09Z".into(),
            steps: vec![("write".into(), 7.5)],
        }
    }

    #[test]
    fn installs_the_plugin_and_the_traces() {
        let (ramdisk, installed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(ramdisk.path().join(BINARY), "ELF").unwrap();
        let unit =
            "[Service]\nExecStart=/opt/imprint/imprint-guest report\n[Install]\nWantedBy=multi-user.target\n";
        fs::write(ramdisk.path().join("imprint-report.service"), unit).unwrap();
        let root = ConfinedRoot::open(installed.path()).unwrap();
        let plan = GuestPlan {
            report_token: "secret".into(),
            order_keys: vec![vec![7; 32]],
            ..GuestPlan::default()
        };
        let profile = Profile {
            systemd: true,
            ..Profile::default()
        };
        for _ in 0..2 {
            install(&root, &profile, ramdisk.path(), Some(&plan), &traces()).unwrap();
        }
        let mode = |path: &str| fs::metadata(installed.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("opt/imprint/imprint-guest"), 0o755);
        assert_eq!(mode("etc/imprint/guest.json"), 0o600);
        assert_eq!(mode("etc/imprint/deployment.json"), 0o600);
        let files = fs::read_to_string(installed.path().join(FILES)).unwrap();
        let binary = hex::encode(Sha256::digest("ELF"));
        assert!(
            files.lines().count() == 2 && files.starts_with(&format!("{binary}  /opt/imprint/{BINARY}\n")),
            "{files}"
        );
        let config = fs::read_to_string(installed.path().join("etc/imprint/guest.json")).unwrap();
        assert!(config.contains(&"07".repeat(32)), "{config}");
        let link = installed
            .path()
            .join("etc/systemd/system/multi-user.target.wants/imprint-report.service");
        assert_eq!(
            fs::read_to_string(link).unwrap(),
            unit,
            "the link leads to the unit"
        );
        let log = fs::read_to_string(installed.path().join("var/log/imprint-install.json")).unwrap();
        assert!(
            log.contains("\"seconds\": 7.5") && !log.contains("secret"),
            "{log}"
        );
        let log = fs::read_to_string(installed.path().join("var/log/imprint-install.log")).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert!(
            lines[0].starts_with("2026-01-01T00:00:00Z") && lines[0].ends_with("deployment D"),
            "{log}"
        );
        assert_eq!(
            lines[1..3],
            ["image debian-12, digest ab, on the disk S1", "step write: 7.5 s"]
        );
        assert!(
            lines[3].starts_with("2026-01-01T00:00:09Z") && !log.contains("secret"),
            "{log}"
        );
        assert_eq!(mode("var/log/imprint-install.log"), 0o640);
    }

    #[test]
    fn an_image_that_cannot_report_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = ConfinedRoot::open(folder.path()).unwrap();
        let result = install(
            &root,
            &Profile::default(),
            folder.path(),
            Some(&GuestPlan::default()),
            &traces(),
        );
        assert!(matches!(result, Err(GuestError::NoSystemd)));
        let profile = Profile {
            systemd: true,
            ..Profile::default()
        };
        let result = install(
            &root,
            &profile,
            folder.path(),
            Some(&GuestPlan::default()),
            &traces(),
        );
        assert!(matches!(result, Err(GuestError::Ramdisk { .. })));
    }
}
