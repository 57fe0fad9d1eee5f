//! What each system is told so that it reads its files again.

use std::{path::Path, process::Command};

use imprint_network::{Format, Network};

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
        status: std::process::ExitStatus,
    },
}

/// The commands for a system. `network_manager`: it is what reads ifcfg files here.
#[must_use]
pub fn plan(system: Format, network: &Network, network_manager: bool) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let by_name = |prefix: &str| {
        let mut plan = vec![words("nmcli connection reload")];
        // Members come up with their bond or bridge.
        let links = network.bottom_up();
        plan.extend(
            links
                .into_iter()
                .filter(|(name, _)| network.master(name).is_none())
                .map(|(name, _)| words(&format!("nmcli --wait 60 connection up id {prefix}{name}"))),
        );
        plan
    };
    match system {
        Format::Netplan => vec![words("netplan apply")],
        // A reload alone leaves alone what was changed behind its back.
        Format::Networkd => vec![words("systemctl restart systemd-networkd.service")],
        Format::NetworkManager => by_name("imprint-"),
        Format::Ifcfg if network_manager => by_name(""),
        Format::Ifcfg => vec![words("systemctl restart network.service")],
        Format::Ifupdown => vec![words("systemctl restart networking.service")],
        Format::Wicked => vec![words("wicked ifreload all")],
        Format::CloudInit => Vec::new(),
    }
}

/// Runs them, one after the other.
///
/// # Errors
/// When one fails; those after it are not run.
pub fn run(system: Format, network: &Network, root: &Path) -> Result<(), BringUpError> {
    const MANAGER: &str = "etc/systemd/system/multi-user.target.wants/NetworkManager.service";
    let network_manager = root.join(MANAGER).is_symlink();
    for words in plan(system, network, network_manager) {
        start(&words)?;
    }
    Ok(())
}

/// Has systemd read again which services there are.
///
/// # Errors
/// When that fails.
pub fn reload_units() -> Result<(), BringUpError> {
    start(&["systemctl".to_owned(), "daemon-reload".to_owned()])
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
    use super::*;

    #[test]
    fn members_come_up_with_what_they_are_members_of() {
        let text = "version: 2\nbonds: {bond0: {interfaces: [a, b]}}\nvlans: {v: {id: 5, link: bond0}}\n";
        let network = imprint_network::read(text.as_bytes()).unwrap().network;
        let lines = |system, manager| -> Vec<String> {
            plan(system, &network, manager)
                .iter()
                .map(|words| words.join(" "))
                .collect()
        };
        assert_eq!(
            lines(Format::NetworkManager, true),
            [
                "nmcli connection reload",
                "nmcli --wait 60 connection up id imprint-bond0",
                "nmcli --wait 60 connection up id imprint-v",
            ]
        );
        assert_eq!(
            lines(Format::Ifcfg, true)[1],
            "nmcli --wait 60 connection up id bond0"
        );
        for system in Format::ALL {
            assert_eq!(lines(system, false).is_empty(), system == Format::CloudInit);
        }
    }
}
