//! The real programs read what is written for them, and the kernel has then what the network says.
//!
//! The programs come from Debian's packages, unpacked and not installed (`cargo xtask test` does it), in
//! `target/network-tools`. Without them the tests say so and pass, except where `CI` is set.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod apply;
mod oracle;
mod programs;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use imprint_network::{Format, Network, read, render};

/// A case of the golden files.
fn case(name: &str) -> Network {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{name}.yaml"));
    read(&fs::read(path).unwrap()).unwrap().network
}

/// All of them, by name.
fn cases() -> Vec<(String, Network)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let names: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names
        .into_iter()
        .map(|name| (name.clone(), case(&name)))
        .collect()
}

/// Writes a network below a root.
fn write(network: &Network, format: Format, root: &Path) {
    for file in render(network, format).files {
        let path = root.join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, file.content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).unwrap();
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn netplan_generates() {
    let Some(programs) = programs::find() else { return };
    for (name, network) in cases() {
        for format in [Format::Netplan, Format::CloudInit] {
            let root = tempfile::tempdir().unwrap();
            if format == Format::Netplan {
                write(&network, format, root.path());
            } else {
                // cloud-init hands version 2 to netplan as it is.
                let inner = &render(&network, format).files[0].content;
                let text = inner
                    .lines()
                    .map(|line| format!("  {line}\n"))
                    .collect::<String>();
                let path = root.path().join("etc/netplan/50-cloud-init.yaml");
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, format!("network:\n{text}")).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            }
            let output = programs
                .command("usr/libexec/netplan/generate")
                .arg("--root-dir")
                .arg(root.path())
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{name}: {}",
                text(&output)
            );
            let made = fs::read_dir(root.path().join("run/systemd/network")).unwrap();
            let made = made
                .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("network".as_ref()))
                .count();
            assert_eq!(made, network.links.len(), "{name}");
        }
    }
}

#[test]
fn network_manager_reads_every_key() {
    let Some(programs) = programs::find() else { return };
    for (name, network) in cases() {
        for file in render(&network, Format::NetworkManager).files {
            if !file.path.ends_with(".nmconnection") {
                continue;
            }
            let output = programs
                .command("usr/bin/nmcli")
                .args(["--offline", "connection", "modify"])
                .stdin(programs::given(&file.content))
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{name}: {}",
                text(&output)
            );
            // What it understood it writes again, except what is its default.
            let understood = keys(&String::from_utf8_lossy(&output.stdout));
            let lost: Vec<String> = keys(&file.content)
                .difference(&understood)
                .filter(|key| !["connection.autoconnect=true", "bridge.stp=true"].contains(&key.as_str()))
                .cloned()
                .collect();
            assert!(
                lost.is_empty(),
                "{name}, {}: not understood: {lost:?}\n{}",
                file.path,
                text(&output)
            );
        }
    }
}

/// "section.key=value" of each line.
fn keys(text: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if line.contains('=') && !line.starts_with('#') {
            keys.insert(format!(
                "{section}.{}",
                line.trim_end_matches(';').to_ascii_lowercase()
            ));
        }
    }
    keys
}

#[test]
fn ifupdown_plans() {
    let Some(programs) = programs::find() else { return };
    for (name, network) in cases() {
        let root = tempfile::tempdir().unwrap();
        write(&network, Format::Ifupdown, root.path());
        let interfaces = root.path().join("etc/network/interfaces");
        for allow in ["auto", "hotplug"] {
            let output = programs
                .command("sbin/ifup")
                .args(["--no-act", "--force", "--all", "--no-loopback", "--allow", allow])
                .arg("--interfaces")
                .arg(&interfaces)
                .arg("--state-dir")
                .arg(root.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{name}: {}", text(&output));
            let plan = text(&output);
            // What it would do is what was written, in its order.
            let written = fs::read_to_string(&interfaces).unwrap();
            let optional = |line: &&str| written.contains(&format!("allow-hotplug {line}"));
            let mut block = "";
            for line in written.lines() {
                if let Some(device) = line.strip_prefix("iface ") {
                    block = device.split(' ').next().unwrap();
                }
                let command = line
                    .trim()
                    .strip_prefix("pre-up ")
                    .or(line.trim().strip_prefix("up "));
                if let Some(command) = command
                    && optional(&block) == (allow == "hotplug")
                {
                    assert!(plan.contains(command), "{name}: {command} is missing:\n{plan}");
                }
            }
        }
    }
}
