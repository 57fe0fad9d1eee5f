//! The guest plugin of a system that was just installed: its session, its files, a password.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::interrupt;
use crate::lab::Lab;
use crate::node::Node;
use crate::ssh::USER;
use crate::story::tell;

/// What a plugin at rest may take (issue: under 10 MiB).
const MAX_RSS_KIB: u64 = 10 << 10;

pub fn check(lab: &Lab, node: &Node, address: &str) -> Result<()> {
    let ask = |command: &str| lab.key.run(address, command, Duration::from_secs(30));
    let guest = wait_connected(lab, node)?;
    ensure!(
        guest["drift"].as_array().is_some_and(Vec::is_empty),
        "files of the plugin are not as installed: {}",
        guest["drift"]
    );
    ask("sudo sha256sum --check --quiet /etc/imprint/guest-files.sha256")?;
    let rss = ask(
        "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(systemctl show --value --property MainPID imprint-guest)/status",
    )?;
    let rss_kib: u64 = rss.trim().parse().context("the plugin has no VmRSS")?;
    ensure!(rss_kib < MAX_RSS_KIB, "the plugin takes {rss_kib} KiB at rest");

    let answer = lab
        .cli
        .json(&["guest", "reset-password", &node.mac, "--user", USER])?;
    let password = answer["password"].as_str().context("no password was made")?;
    // The system's own crypt(3) compares: the hash is one that it takes, of this password.
    let compare = format!(
        "sudo perl -e '$h = (getpwnam(\"{USER}\"))[1]; print $h eq crypt(\"{password}\", $h) ? \"same\" : \"other\"'"
    );
    let compared = ask(&compare)?;
    ensure!(compared.trim() == "same", "the password is not what was printed");
    let mode = ask("stat -c '%a %U %G' /etc/shadow")?;
    ensure!(mode.trim() == "640 root shadow", "/etc/shadow is {mode}");
    let refused = lab
        .cli
        .ask(&["guest", "reset-password", &node.mac, "--user", "nobody-here"])?;
    ensure!(
        !refused.success && refused.err.contains("no user nobody-here"),
        "a password for nobody: {}",
        refused.err
    );
    tell(&format!(
        "the plugin takes {rss_kib} KiB and has set a password that its system accepts"
    ));
    Ok(())
}

pub fn wait_connected(lab: &Lab, node: &Node) -> Result<serde_json::Value> {
    interrupt::until(
        "the guest plugin to open a session",
        Duration::from_secs(60),
        || {
            let guest = lab.cli.find(&format!("nodes/{}/guest", node.mac))?;
            Ok(guest.filter(|guest| guest["connected"] == true))
        },
    )
}
