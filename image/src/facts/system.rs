//! What is installed in the root file system: architecture, cloud-init, network, plugin, identity.

use super::configuration::MAX_TEXT_BYTES;
use super::executable::read_elf;
use super::fault::Fault;
use super::model::{CloudInit, CommandLine, Fact, Identity, MachineId, NetworkStack, Packages};
use super::parts::fact;
use super::tree::Tree;
use super::volume::Kind;

/// Programs that every system has one of.
const PROGRAMS: [&str; 5] = [
    "/bin/sh",
    "/usr/bin/env",
    "/usr/bin/bash",
    "/usr/lib/systemd/systemd",
    "/bin/busybox",
];

/// What image builders leave behind, and what keeps cloud-init from its work.
const LEFTOVERS: [&str; 7] = [
    "/etc/cloud/cloud.cfg.d/90_dpkg.cfg",
    "/etc/cloud/cloud.cfg.d/99-installer.cfg",
    "/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
    "/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/netplan/00-installer-config.yaml",
    "/etc/network/interfaces.d/50-cloud-init",
];

/// The machine that the system's programs are made for.
pub(super) fn architecture(tree: &Tree<'_>) -> Result<String, Fault> {
    let mut first = None;
    for path in PROGRAMS {
        match tree.open(path).and_then(|mut file| read_elf(&mut file)) {
            Ok(machine) => return Ok(machine.to_owned()),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    Err(first.unwrap_or_else(|| Fault::NotFound("program that every system has".to_owned())))
}

/// cloud-init, its version, and what disables it.
pub(super) fn cloud_init(
    tree: &Tree<'_>,
    packages: Option<&Packages>,
    command_lines: Option<&Vec<CommandLine>>,
) -> Result<Option<CloudInit>, Fault> {
    let package = packages.and_then(|found| {
        found
            .packages
            .iter()
            .find(|package| package.name == "cloud-init" || package.name == "cloud-init-base")
    });
    if package.is_none() && !tree.exists("/usr/bin/cloud-init")? {
        return Ok(None);
    }
    let version = match package {
        Some(package) => Fact::Known(package.version.clone()),
        None => fact(version_by_files(tree)),
    };
    let mut disabled_by = Vec::new();
    for path in ["/etc/cloud/cloud-init.disabled"] {
        if tree.exists(path)? {
            disabled_by.push(path.to_owned());
        }
    }
    for unit in [
        "cloud-init.service",
        "cloud-init-local.service",
        "cloud-init.target",
    ] {
        let path = format!("/etc/systemd/system/{unit}");
        if tree.link(&path)?.as_deref() == Some("/dev/null") {
            disabled_by.push(path);
        }
    }
    for line in command_lines.into_iter().flatten() {
        let disables = |argument: &String| argument == "cloud-init=disabled";
        if line.arguments.iter().any(disables) && !disabled_by.contains(&line.path) {
            disabled_by.push(line.path.clone());
        }
    }
    Ok(Some(CloudInit { version, disabled_by }))
}

/// The version that cloud-init's own Python package states.
fn version_by_files(tree: &Tree<'_>) -> Result<String, Fault> {
    let mut folders = vec!["/usr/lib/python3/dist-packages".to_owned()];
    for base in ["/usr/lib", "/usr/local/lib"] {
        for name in tree.names(base, |name| name.starts_with("python3."))? {
            folders.push(format!("{base}/{name}/site-packages"));
        }
    }
    for folder in folders {
        let Some(text) = tree.text_if_there(&format!("{folder}/cloudinit/version.py"), MAX_TEXT_BYTES)?
        else {
            continue;
        };
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix("__VERSION__ = "))
            .map(|version| version.trim().trim_matches(['"', '\'']).to_owned());
        return version
            .ok_or_else(|| Fault::damaged(format!("{folder}/cloudinit/version.py has no version")));
    }
    Err(Fault::NotFound(
        "package of cloud-init that names its version".to_owned(),
    ))
}

/// Everything that configures the network: programs that are there, and units that are enabled.
pub(super) fn network(tree: &Tree<'_>) -> Result<Vec<NetworkStack>, Fault> {
    let any = |paths: &[&str]| {
        for path in paths {
            if tree.exists(path)? {
                return Ok(true);
            }
        }
        Ok::<_, Fault>(false)
    };
    let mut found = Vec::new();
    let stacks: [(NetworkStack, &[&str]); 6] = [
        (NetworkStack::Netplan, &["/usr/sbin/netplan", "/usr/bin/netplan"]),
        (
            // Every systemd brings networkd; it configures something only where it is enabled.
            NetworkStack::Networkd,
            &[
                "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
                "/etc/systemd/system/dbus-org.freedesktop.network1.service",
                "/etc/systemd/system/sockets.target.wants/systemd-networkd.socket",
            ],
        ),
        (
            NetworkStack::NetworkManager,
            &["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"],
        ),
        (NetworkStack::Ifupdown, &["/usr/sbin/ifup", "/sbin/ifup"]),
        (NetworkStack::Wicked, &["/usr/sbin/wicked", "/sbin/wicked"]),
        (
            NetworkStack::Sysconfig,
            &["/etc/sysconfig/network-scripts/ifup-eth"],
        ),
    ];
    for (stack, paths) in stacks {
        if any(paths)? {
            found.push(stack);
        }
    }
    // Red Hat's and SUSE's own `ifup` are not ifupdown.
    if found.contains(&NetworkStack::Ifupdown) && !tree.exists("/etc/network")? {
        found.retain(|stack| *stack != NetworkStack::Ifupdown);
    }
    Ok(found)
}

/// What machines made from the image would share.
pub(super) fn identity(tree: &Tree<'_>) -> Result<Identity, Fault> {
    let machine_id = match tree.text_if_there("/etc/machine-id", MAX_TEXT_BYTES)? {
        None => MachineId::Absent,
        Some(text) => match text.trim() {
            "" => MachineId::Empty,
            "uninitialized" => MachineId::Uninitialized,
            _ => MachineId::Set,
        },
    };
    let prefixed = |folder: &str, names: Vec<String>| -> Vec<String> {
        names.iter().map(|name| format!("{folder}/{name}")).collect()
    };
    let keys = tree.names("/etc/ssh", |name| {
        name.starts_with("ssh_host_") && name.ends_with("_key")
    })?;
    let rules = tree.list("/etc/udev/rules.d")?;
    // A link to nothing is how such rules are switched off.
    let rules = rules
        .into_iter()
        .filter(|entry| entry.kind == Kind::File && entry.name.ends_with("-persistent-net.rules"))
        .map(|entry| entry.name)
        .collect();
    let mut builder_leftovers = Vec::new();
    for path in LEFTOVERS {
        if tree.exists(path)? {
            builder_leftovers.push(path.to_owned());
        }
    }
    Ok(Identity {
        machine_id,
        ssh_host_keys: prefixed("/etc/ssh", keys),
        persistent_net_rules: prefixed("/etc/udev/rules.d", rules),
        builder_leftovers,
    })
}
