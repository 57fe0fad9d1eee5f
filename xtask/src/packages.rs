//! Installs the Debian packages that are missing, by name and told on screen.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{screen, tool};

const LIST: &str = include_str!("../packages.txt");

/// Built from one source as qemu-system-x86 and tied to its version: a newer one that is already there (from
/// backports, say) makes the installation of qemu-system-x86 impossible.
const QEMU_FAMILY: &[&str] = &[
    "qemu-utils",
    "qemu-block-extra",
    "qemu-system-common",
    "qemu-system-data",
];

/// Installs what is missing; does nothing, and needs no network, when all is there.
pub fn install_missing() -> Result<()> {
    install_missing_of(LIST)
}

/// The same for another list: one package a line, then anything.
pub fn install_missing_of(list: &'static str) -> Result<()> {
    let missing = missing(list)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "these Debian packages are missing and only root can install them: {}",
            missing.join(" ")
        );
    }
    screen::step(&format!("Installing Debian packages: {}", missing.join(" ")));
    if missing.iter().any(|name| candidate(name).is_none()) {
        update()?;
    }
    if install(&missing).is_err() {
        screen::step("The package lists seem to be old: apt-get update, then once more");
        update()?;
        install(&missing)?;
    }
    Ok(())
}

/// Installs cargo-nextest, which runs the unit and integration tests.
pub fn install_nextest() -> Result<()> {
    if tool::run(Command::new("cargo").args(["nextest", "--version"])).is_ok() {
        return Ok(());
    }
    screen::step("Installing cargo-nextest (cargo install cargo-nextest --locked)");
    tool::run_visible(Command::new("cargo").args(["install", "cargo-nextest", "--locked"]))
}

/// The names of a list: one package a line, then anything.
pub fn names(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter_map(|line| {
        line.split_whitespace()
            .next()
            .filter(|name| !name.starts_with('#'))
    })
}

fn missing(list: &'static str) -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for name in names(list) {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${db:Status-Status}", name]);
        let answer = query
            .output()
            .context("cannot start dpkg-query: this needs Debian or a system like it")?;
        if answer.stdout != b"installed" {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Fetches the lists of packages anew.
pub fn update() -> Result<()> {
    tool::run_visible(apt_get().args(["update", "--quiet"]))
}

fn install(missing: &[&str]) -> Result<()> {
    let mut arguments: Vec<String> = missing.iter().map(|name| (*name).to_owned()).collect();
    if missing.contains(&"qemu-system-x86") {
        let wanted = candidate("qemu-system-x86");
        for name in QEMU_FAMILY {
            if let (Some(wanted), Some(installed)) = (&wanted, installed(name))
                && *wanted != installed
            {
                arguments.retain(|argument| argument != name);
                arguments.push(format!("{name}={wanted}"));
            }
        }
    }
    let mut command = apt_get();
    command
        .args([
            "install",
            "--yes",
            "--no-install-recommends",
            "--allow-downgrades",
        ])
        .args(&arguments);
    command.args(["--option=Dpkg::Use-Pty=0", "--quiet=2"]);
    tool::run_visible(&mut command)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null());
    command
}

/// The version apt would install.
fn candidate(name: &str) -> Option<String> {
    policy(name, "Candidate:")
}

fn installed(name: &str) -> Option<String> {
    policy(name, "Installed:")
}

fn policy(name: &str, label: &str) -> Option<String> {
    let text = tool::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["policy", name]),
    )
    .ok()?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))?
        .trim();
    (version != "(none)" && !version.is_empty()).then(|| version.to_owned())
}
