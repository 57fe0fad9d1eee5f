//! What each system is told so that it reads its files again.
//!
//! | | has its files read again | brings the network up anew |
//! |---|---|---|
//! | systemd-networkd | `networkctl reload` | a restart: a reload leaves alone what was changed behind its back |
//! | NetworkManager | `nmcli connection reload` | `nmcli connection up` for each connection, those that rest on others last |
//! | netplan | `netplan generate`, then the one it writes for | the same |
//! | ifupdown | nothing: it reads them when it is called | `ifdown --force`, then a restart of `networking` |
//! | ifcfg | as NetworkManager, where that reads them | the same, else a restart of `network` |
//! | wicked | `wicked ifreload all` | the same |
//!
//! Whatever it is, its service is started first: somebody may have stopped it.

use std::{
    path::Path,
    process::{Command, ExitStatus},
};

use imprint_network::{File, Format};
use tracing::{info, warn};

use super::keyfiles;

/// A program of the system failed.
#[derive(Debug, thiserror::Error)]
pub enum BringUpError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a fault.
    #[error("{program} ended with {status}")]
    Failed {
        /// The program with its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The network is as it is to be, and only the files were not: it goes on running.
    Reread,
    /// The network is brought up anew; connections may break for a moment.
    Anew,
    /// The same, after it has not helped: services are started again that else would go on running.
    Again,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Whether it matters that it fails.
    pub matters: bool,
}

/// What brings the network up in the end, as far as that shows in files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// NetworkManager does: behind netplan, or for ifcfg files.
    pub network_manager: bool,
    /// Identifiers of NetworkManager's connections, those that rest on others last.
    pub connections: Vec<String>,
}

impl Behind {
    /// What is behind a system whose files are these.
    #[must_use]
    pub fn find(root: &Path, system: Format, files: &[File]) -> Self {
        const MANAGER: &str = "etc/systemd/system/multi-user.target.wants/NetworkManager.service";
        let made = || keyfiles::below(root, "run/NetworkManager/system-connections", "netplan-");
        match system {
            Format::NetworkManager => Self {
                network_manager: true,
                connections: keyfiles::connections(files),
            },
            Format::Netplan => {
                let connections = keyfiles::connections(&made());
                Self {
                    network_manager: !connections.is_empty(),
                    connections,
                }
            }
            Format::Ifcfg => Self {
                network_manager: root.join(MANAGER).is_symlink(),
                connections: keyfiles::ifcfg_names(files),
            },
            _ => Self::default(),
        }
    }
}

/// The service that brings a system's network up.
#[must_use]
pub fn service(system: Format, behind: &Behind) -> Option<&'static str> {
    match system {
        _ if behind.network_manager => Some("NetworkManager.service"),
        Format::Netplan | Format::Networkd => Some("systemd-networkd.service"),
        Format::NetworkManager => Some("NetworkManager.service"),
        Format::Ifupdown => Some("networking.service"),
        Format::Ifcfg => Some("network.service"),
        Format::Wicked => Some("wicked.service"),
        Format::CloudInit => None,
    }
}

/// The commands for a system.
#[must_use]
pub fn plan(system: Format, behind: &Behind, how: How) -> Vec<Step> {
    let mut plan = Vec::new();
    let mut add = |line: &str| plan.push(Step::new(line));
    let Some(service) = service(system, behind) else {
        return plan;
    };
    match (system, how) {
        (Format::Netplan, _) => add("netplan generate"),
        // What it was made of may not be there any more, and then taking it down fails: with that it would still count as
        // brought up, and nothing would be done.
        (Format::Ifupdown, How::Anew | How::Again) => {
            // Outside of what this service is confined to: its hooks and DHCP clients write where they like.
            let words = "systemd-run --quiet --wait --collect --property=RuntimeMaxSec=30 \
                ifdown --all --force --ignore-errors --exclude=lo";
            plan.push(Step {
                matters: false,
                ..Step::new(words)
            });
            return with(plan, &format!("systemctl restart {service}"));
        }
        _ => {}
    }
    if behind.network_manager {
        let verb = if how == How::Again { "restart" } else { "start" };
        add(&format!("systemctl {verb} {service}"));
        // It has its name on the bus before it has anything behind it.
        plan.push(Step {
            matters: false,
            ..Step::new("nm-online -s -q --timeout=10")
        });
        plan.push(Step::new("nmcli connection reload"));
        if how != How::Reread {
            for connection in &behind.connections {
                let mut words = Step::new("nmcli --wait 20 connection up").words;
                words.extend(connection.split(' ').map(str::to_owned));
                plan.push(Step { words, matters: true });
            }
        }
        return plan;
    }
    match (system, how) {
        (Format::Netplan | Format::Networkd, How::Reread) => {
            add(&format!("systemctl start {service}"));
            add("networkctl reload");
        }
        (Format::Wicked, _) => {
            add(&format!("systemctl start {service}"));
            add("wicked ifreload all");
        }
        (_, How::Reread) => add(&format!("systemctl start {service}")),
        _ => add(&format!("systemctl restart {service}")),
    }
    plan
}

fn with(mut plan: Vec<Step>, line: &str) -> Vec<Step> {
    plan.push(Step::new(line));
    plan
}

/// The commands before the network is started for the first time: what was written wrongly at boot is written again, and what
/// would not have been started is. `units`: links of services were made again.
#[must_use]
pub fn plan_at_boot(system: Format, behind: &Behind, units: bool) -> Vec<Step> {
    let mut plan = Vec::new();
    if system == Format::Netplan {
        plan.push(Step::new("netplan generate"));
    }
    // netplan's generator, which runs before everything, switches services on, unless its files are broken.
    if units || system == Format::Netplan {
        plan.push(Step::new("systemctl daemon-reload"));
        let service = service(system, behind);
        plan.extend(service.map(|service| Step::new(&format!("systemctl --no-block start {service}"))));
    }
    plan
}

impl Step {
    fn new(line: &str) -> Self {
        Self {
            words: line.split(' ').map(str::to_owned).collect(),
            matters: true,
        }
    }
}

/// Runs commands one after the other; also those after one that has failed, since they may help nevertheless.
///
/// # Errors
/// How the first one failed that matters.
pub fn run(plan: &[Step]) -> Result<(), BringUpError> {
    let mut first = Ok(());
    for step in plan {
        match start(&step.words) {
            Ok(()) => info!("done: {}", step.words.join(" ")),
            Err(failure) if !step.matters => info!("{}", crate::chain(&failure)),
            Err(failure) => {
                warn!("{}", crate::chain(&failure));
                first = first.and(Err(failure));
            }
        }
    }
    first
}

/// Has systemd read again which services there are.
///
/// # Errors
/// When that fails.
pub fn reload_units() -> Result<(), BringUpError> {
    start(&Step::new("systemctl daemon-reload").words)
}

fn start(words: &[String]) -> Result<(), BringUpError> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|source| BringUpError::Start {
            program: program.clone(),
            source,
        })?;
    if status.success() {
        return Ok(());
    }
    Err(BringUpError::Failed {
        program: words.join(" "),
        status,
    })
}

#[cfg(test)]
mod tests {
    use imprint_network::{read, render};

    use super::*;

    fn files(system: Format) -> Vec<File> {
        let text = "version: 2\nethernets: {a: {match: {macaddress: '52:54:00:00:00:01'}}, b: {match: {macaddress: '52:54:00:00:00:02'}}}\n\
            bonds: {bond0: {interfaces: [a, b]}}\nvlans: {a5: {id: 5, link: bond0}}\n";
        render(&read(text.as_bytes()).unwrap().network, system).files
    }

    fn lines(plan: &[Step]) -> Vec<String> {
        plan.iter().map(|step| step.words.join(" ")).collect()
    }

    /// Every system, and how much is to be done.
    #[test]
    fn each_system_is_told_in_its_own_words() {
        let root = tempfile::tempdir().unwrap();
        let cases: [(Format, How, &[&str]); 11] = [
            (
                Format::Networkd,
                How::Reread,
                &["systemctl start systemd-networkd.service", "networkctl reload"],
            ),
            (
                Format::Networkd,
                How::Anew,
                &["systemctl restart systemd-networkd.service"],
            ),
            (
                Format::Netplan,
                How::Reread,
                &[
                    "netplan generate",
                    "systemctl start systemd-networkd.service",
                    "networkctl reload",
                ],
            ),
            (
                Format::Netplan,
                How::Anew,
                &["netplan generate", "systemctl restart systemd-networkd.service"],
            ),
            (
                Format::NetworkManager,
                How::Reread,
                &[
                    "systemctl start NetworkManager.service",
                    "nm-online -s -q --timeout=10",
                    "nmcli connection reload",
                ],
            ),
            (
                Format::NetworkManager,
                How::Anew,
                &[
                    "systemctl start NetworkManager.service",
                    "nm-online -s -q --timeout=10",
                    "nmcli connection reload",
                    "nmcli --wait 20 connection up uuid BOND",
                    "nmcli --wait 20 connection up uuid VLAN",
                ],
            ),
            (
                Format::NetworkManager,
                How::Again,
                &[
                    "systemctl restart NetworkManager.service",
                    "nm-online -s -q --timeout=10",
                    "nmcli connection reload",
                    "nmcli --wait 20 connection up uuid BOND",
                    "nmcli --wait 20 connection up uuid VLAN",
                ],
            ),
            (
                Format::Ifupdown,
                How::Reread,
                &["systemctl start networking.service"],
            ),
            (
                Format::Ifupdown,
                How::Anew,
                &[
                    "systemd-run --quiet --wait --collect --property=RuntimeMaxSec=30 ifdown --all --force --ignore-errors --exclude=lo",
                    "systemctl restart networking.service",
                ],
            ),
            (Format::Ifcfg, How::Anew, &["systemctl restart network.service"]),
            (
                Format::Wicked,
                How::Anew,
                &["systemctl start wicked.service", "wicked ifreload all"],
            ),
        ];
        let written = files(Format::NetworkManager);
        let uuid = |name: &str| {
            let path = format!("imprint-{name}.nmconnection");
            let file = written.iter().find(|file| file.path.ends_with(&path)).unwrap();
            let line = file.content.lines().find(|line| line.starts_with("uuid="));
            line.unwrap()["uuid=".len()..].to_owned()
        };
        let (bond, vlan) = (uuid("bond0"), uuid("a5"));
        for (system, how, expected) in cases {
            let behind = Behind::find(root.path(), system, &files(system));
            let said: Vec<String> = lines(&plan(system, &behind, how))
                .iter()
                .map(|line| line.replace(&bond, "BOND").replace(&vlan, "VLAN"))
                .collect();
            assert_eq!(said, expected, "{system:?} {how:?}");
        }
        assert_eq!(plan(Format::CloudInit, &Behind::default(), How::Anew), []);
    }

    #[test]
    fn network_manager_may_be_behind_another() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run/NetworkManager/system-connections");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "[connection]\nid=netplan-lan0\ntype=ethernet\n";
        std::fs::write(folder.join("netplan-lan0.nmconnection"), text).unwrap();
        let behind = Behind::find(root.path(), Format::Netplan, &[]);
        assert_eq!(
            lines(&plan(Format::Netplan, &behind, How::Anew)),
            [
                "netplan generate",
                "systemctl start NetworkManager.service",
                "nm-online -s -q --timeout=10",
                "nmcli connection reload",
                "nmcli --wait 20 connection up id netplan-lan0",
            ]
        );
        let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/usr/lib/x", wants.join("NetworkManager.service")).unwrap();
        let behind = Behind::find(root.path(), Format::Ifcfg, &files(Format::Ifcfg));
        assert_eq!(
            behind.connections,
            ["id bond0", "id a5"],
            "members come up with what they are members of"
        );
    }

    #[test]
    fn at_boot_only_what_the_boot_did_not_do_is_done() {
        let behind = Behind::default();
        assert_eq!(plan_at_boot(Format::Networkd, &behind, false), []);
        assert_eq!(
            lines(&plan_at_boot(Format::Ifupdown, &behind, true)),
            [
                "systemctl daemon-reload",
                "systemctl --no-block start networking.service"
            ]
        );
        assert_eq!(lines(&plan_at_boot(Format::Netplan, &behind, false)).len(), 3);
    }

    #[test]
    fn all_commands_are_tried_and_the_first_failure_is_told() {
        let plan = [
            Step {
                matters: false,
                ..Step::new("false")
            },
            Step::new("test -e /nothing-of-this-name"),
            Step::new("/nothing-of-this-name"),
        ];
        let told = run(&plan).unwrap_err().to_string();
        assert!(told.starts_with("test -e /nothing-of-this-name ended"), "{told}");
        run(&plan[..1]).unwrap();
    }
}
