//! A server with a system is rescued: somebody is let in by ssh with a password that works once, and reads its disk. Afterwards the
//! installed system comes up as if nothing had been. A server that is not rescued listens to nobody.

mod holders;

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::deploy;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::{self, Explain as _};
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::process::{self, Answer};
use crate::story::tell;

const ANSWER: Duration = Duration::from_secs(120);
/// What is asked in the session: the disks, and a file of the installed system.
const LOOK: &str = "lsblk --noheadings --output NAME,TYPE; for part in $(lsblk --noheadings --list --paths --output NAME,TYPE | awk \
    '$2 == \"part\" { print $1 }'); do mount -o ro \"$part\" /mnt || continue; cat /mnt/etc/hostname; umount /mnt; done";

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    // The small ones are for an array; which the system goes onto is said below.
    let [first, second] = [DiskKind::Sata, DiskKind::Scsi].map(|kind| DiskSpec::new(kind).size_mib(256));
    let spec = NodeSpec::new(Firmware::Uefi, DiskSpec::new(DiskKind::Nvme));
    let mut node = lab.build(spec.and_disk(first).and_disk(second))?;
    node.power_on()?;
    tell("power on");
    let facts = lab.take_into_service(&mut node)?;
    nobody_listens(&facts)?;
    tell("the ordinary ramdisk has no ssh server");
    let order = crate::cli::Order {
        image: IMAGE.to_owned(),
        disk: Some("transport=nvme".to_owned()),
        user_data: Some(lab.key.user_data()),
        ..crate::cli::Order::default()
    };
    let begun = lab.cli.deploy(&node.mac, &order)?;
    let id = text(&begun, "id")?;
    let installed = lab.wait_deployment(&mut node, &id, "succeeded", patience::DEPLOYMENT)?;
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    let before = deploy::address(&installed)?;
    lab.key.run(&before, "sync", ANSWER)?;
    tell("a system is installed, and runs");

    let key = lab.folder().join("id_lab.pub");
    let key = key.to_str().context("a path that is no text")?;
    let begun = lab
        .cli
        .json(&["rescue", &node.mac, "--ssh-key", key, "--for", "1h", "--no-wait"])?;
    let (id, password) = (text(&begun, "id")?, text(&begun, "password")?);
    node.reset()?;
    let access = wait_access(&mut lab, &mut node, &id)?;
    let way = Way::new(lab.folder(), &access)?;
    tell(&format!("rescued: {}, host key {}", way.address, way.fingerprint));
    told_fingerprint(&way)?;

    let said = way.enter(&password, LOOK)?;
    ensure!(said.success, "the one-time password is not let in: {}", said.err);
    let hostname = installed["hostname"].as_str().unwrap_or_default();
    ensure!(
        said.out.contains("nvme0n1") && !hostname.is_empty() && said.out.contains(hostname),
        "the disk of {hostname} could not be read: {} {}",
        said.out,
        said.err
    );
    tell("let in by the one-time password; the installed system's files can be read");
    let again = way.enter(&password, "echo in")?;
    ensure!(
        again.code == Some(255) && again.err.contains("Permission denied") && !again.out.contains("in"),
        "the password works a second time: {again:?}"
    );
    let wrong = way.enter("wrong", "echo in")?;
    ensure!(wrong.code == Some(255), "a wrong password is let in: {wrong:?}");
    let by_key = way.enter_by_key(lab.folder(), "echo by key; cat /proc/cmdline")?;
    ensure!(
        by_key.success && by_key.out.contains("by key"),
        "the key is not let in: {}",
        by_key.err
    );
    let typed = way.types(lab.folder(), "tty\\necho $((6 * 7))\\nexit\\n")?;
    ensure!(
        typed.success
            && ["a rescue.", "ends by itself in", "/dev/pts/", "\n42"]
                .iter()
                .all(|part| typed.out.contains(part)),
        "there is no shell at a terminal: {typed:?}"
    );
    tell("the password is refused from then on; the key still works, also at a terminal");

    holders::are_released(&way, lab.folder(), &node.disks[1..])?;

    let renewed = lab.cli.json(&["rescue", &node.mac, "--new-password"])?;
    let second = text(&renewed, "password")?;
    ensure!(
        renewed["rescue_access"]["host_key_fingerprint"] == way.fingerprint.as_str(),
        "another host key: {renewed}"
    );
    interrupt::until("the new password to be let in", ANSWER, || {
        let said = way.enter(&second, "echo in again")?;
        Ok(said.success.then_some(()))
    })?;
    ensure!(
        !way.enter(&second, "echo in")?.success,
        "the new password works twice"
    );
    tell("a new password, which works once as well");

    let events = lab.cli.json(&["events", "--node", &node.mac])?.to_string();
    for part in [
        "node.rescue.begun",
        "node.rescue.password",
        "by the one-time password",
        "wrong passwords",
    ] {
        ensure!(events.contains(part), "no event has {part:?}");
    }
    for (place, said) in [
        ("events", events),
        ("console", node.serial()),
        ("log", lab.controller.log_tail(100_000)),
    ] {
        ensure!(
            !said.contains(&password) && !said.contains(&second) && !said.contains("$6$"),
            "the {place} has a password"
        );
    }

    lab.cli.json(&["rescue", &node.mac, "--end"])?;
    let ended = lab.wait_deployment(&mut node, &id, "succeeded", patience::SHORT)?;
    ensure!(
        ended["rescue_access"].is_null(),
        "there is still a way in: {ended}"
    );
    lab.wait_state(&mut node, "active", patience::SHORT)?;
    node.wait_serial("boots its local disk", patience::NETWORK_BOOT)?;
    let name = lab.key.run(&before, "hostname", Duration::from_secs(300));
    ensure!(
        name.explain(|| lab.picture(&node))?.trim() == hostname,
        "another system came up"
    );
    tell("ended: the installed system is up again, and the node is active");
    Ok(())
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().or_else(|| value[0][key].as_str());
    Ok(text.with_context(|| format!("there is no {key}"))?.to_owned())
}

/// No address of the server has an ssh server.
fn nobody_listens(facts: &Value) -> Result<()> {
    let nics = facts["inventory"]["nics"]
        .as_array()
        .context("no network cards")?;
    let addresses: Vec<IpAddr> = nics
        .iter()
        .flat_map(|nic| nic["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str()?.split('/').next()?.parse().ok())
        .filter(IpAddr::is_ipv4)
        .collect();
    ensure!(!addresses.is_empty(), "the server has no address: {nics:?}");
    for address in addresses {
        let there = SocketAddr::new(address, 22);
        let opened = TcpStream::connect_timeout(&there, Duration::from_secs(10));
        ensure!(opened.is_err(), "something listens at {there}");
    }
    Ok(())
}

fn wait_access(lab: &mut Lab, node: &mut Node, id: &str) -> Result<Value> {
    let found = interrupt::until("a way into the rescued server", patience::NETWORK_BOOT, || {
        lab.controller.expect_running()?;
        node.expect_no_panic()?;
        let rescue = lab.deployment(id)?;
        ensure!(
            rescue["state"] == "running",
            "the rescue is {}: {}",
            rescue["state"],
            rescue["problem"]
        );
        let access = &rescue["rescue_access"];
        Ok((!access.is_null()).then(|| access.clone()))
    });
    found.explain(|| lab.picture(node))
}

/// How the operator gets in.
struct Way {
    address: String,
    fingerprint: String,
    known_hosts: PathBuf,
    asks: PathBuf,
}

impl Way {
    fn new(folder: &Path, access: &Value) -> Result<Self> {
        let address = access["addresses"][0].as_str();
        let address = address.context("the rescue has no address")?.to_owned();
        let known_hosts = folder.join("known_hosts");
        let key = access["host_key"]
            .as_str()
            .context("the rescue has no host key")?;
        fs::write(&known_hosts, format!("{address} {key}\n")).context("cannot write known_hosts")?;
        // ssh reads a password from a program, never from an argument.
        let asks = folder.join("askpass");
        fs::write(&asks, "#!/bin/sh\nprintf '%s\\n' \"$LAB_PASSWORD\"\n").context("cannot write askpass")?;
        fs::set_permissions(&asks, fs::Permissions::from_mode(0o700))
            .context("cannot make askpass a program")?;
        Ok(Self {
            fingerprint: text(access, "host_key_fingerprint")?,
            address,
            known_hosts,
            asks,
        })
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts.display());
        ssh.args([
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ConnectTimeout=20",
        ])
        .args([
            "-o",
            "NumberOfPasswordPrompts=1",
            "-o",
            "HostKeyAlgorithms=ssh-ed25519",
            "-o",
        ])
        .arg(known_hosts);
        ssh
    }

    fn enter(&self, password: &str, command: &str) -> Result<Answer> {
        let mut ssh = self.ssh();
        ssh.args([
            "-o",
            "PreferredAuthentications=password",
            "-o",
            "PubkeyAuthentication=no",
        ])
        .arg(format!("root@{}", self.address))
        .arg(command)
        .env("SSH_ASKPASS", &self.asks)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("LAB_PASSWORD", password);
        process::ask(&mut ssh, ANSWER)
    }

    fn by_key(&self, folder: &Path) -> Command {
        let mut ssh = self.ssh();
        ssh.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(folder.join("id_lab"))
            .arg(format!("root@{}", self.address));
        ssh
    }

    fn enter_by_key(&self, folder: &Path, command: &str) -> Result<Answer> {
        process::ask(self.by_key(folder).arg(command), ANSWER)
    }

    /// Types into the login shell at a terminal.
    fn types(&self, folder: &Path, lines: &str) -> Result<Answer> {
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf \"$0\" | \"$@\""]).arg(lines);
        let ssh = self.by_key(folder);
        shell.arg(ssh.get_program()).arg("-tt").args(ssh.get_args());
        process::ask(&mut shell, ANSWER)
    }
}

/// ssh's own tool shows the fingerprint that the controller shows.
fn told_fingerprint(way: &Way) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-l", "-E", "sha256", "-f"]).arg(&way.known_hosts);
    let told = process::run(&mut keygen, Duration::from_secs(10))?;
    ensure!(
        told.split_whitespace().nth(1) == Some(way.fingerprint.as_str()),
        "ssh-keygen says {told}, the controller {}",
        way.fingerprint
    );
    Ok(())
}
