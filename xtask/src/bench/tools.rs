//! Everybody who takes part, installed if need be: Debian packages, Imprint's own release build, and foreign tools in
//! `target/bench-tools`. A foreign tool that cannot be had is left out of the session, by name and with the reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::screen::step;
use crate::{binaries, packages, tool};

const PACKAGES: &str = include_str!("../../bench/packages.txt");
/// Drives ironic-python-agent's own code for a deployment of one image.
const IRONIC_DRIVER: &str = include_str!("../../bench/ironic.py");

/// Programs by path.
#[derive(Debug)]
pub struct Tools {
    /// Imprint's agent, optimised.
    pub agent: PathBuf,
    /// The web server.
    pub nginx: PathBuf,
    yardstick: PathBuf,
    peers: BTreeMap<&'static str, Peer>,
}

/// A foreign tool.
#[derive(Debug)]
pub enum Peer {
    /// Here.
    At(PathBuf),
    /// Not to be had, and why.
    Missing(String),
}

impl Tools {
    /// Installs and builds; `peers` are the foreign tools that are wanted, `agent` is used instead of these sources'.
    pub fn prepare(source: &Path, peers: &[&'static str], agent: Option<&Path>) -> Result<Self> {
        packages::install_missing()?;
        // Each peer says by itself what it lacks.
        if let Err(error) = packages::install_missing_of(PACKAGES) {
            eprintln!("some packages cannot be installed: {error:#}");
        }
        let folder = source.join("target/bench-tools");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let agent = match agent {
            Some(given) => given
                .canonicalize()
                .with_context(|| format!("cannot find {}", given.display()))?,
            None => binaries::build_shipped_agent(source)?,
        };
        let yardstick = binaries::build_yardstick(source)?;
        let mut found = BTreeMap::new();
        for name in peers {
            let peer = match peer(name, &folder) {
                Ok(path) => Peer::At(path),
                Err(error) => {
                    eprintln!("{name} is left out: {error:#}");
                    Peer::Missing(format!("{error:#}"))
                }
            };
            found.insert(*name, peer);
        }
        Ok(Self {
            agent,
            yardstick,
            nginx: nginx(&folder)?,
            peers: found,
        })
    }

    /// One of the yardstick's commands.
    pub fn yardstick(&self, command: &str) -> Command {
        let mut yardstick = Command::new(&self.yardstick);
        yardstick.arg(command);
        yardstick
    }

    /// Where a foreign tool is, or why it is not there.
    pub fn peer(&self, name: &str) -> Result<&Path, String> {
        match self.peers.get(name) {
            Some(Peer::At(path)) => Ok(path),
            Some(Peer::Missing(reason)) => Err(reason.clone()),
            None => Err("it was not asked for".to_owned()),
        }
    }

    /// Whether this agent's `write` knows an option.
    pub fn agent_knows(&self, option: &str) -> Result<bool> {
        let help = tool::output(Command::new(&self.agent).args(["write", "--help"]))?;
        Ok(help.contains(option))
    }
}

fn peer(name: &str, folder: &Path) -> Result<PathBuf> {
    match name {
        "coreos-installer" => coreos_installer(folder),
        "ironic" => ironic(folder),
        program => on_path(program).with_context(|| format!("{program} is not installed")),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Debian's nginx. Its package would start a server on port 80, so it is only unpacked.
fn nginx(folder: &Path) -> Result<PathBuf> {
    if let Some(installed) = on_path("nginx") {
        return Ok(installed);
    }
    let unpacked = folder.join("nginx");
    let program = unpacked.join("usr/sbin/nginx");
    if program.is_file() {
        return Ok(program);
    }
    step("Fetching Debian's nginx, aside: it shall not start by itself");
    let download = || {
        tool::run(
            Command::new("apt-get")
                .args(["download", "nginx"])
                .current_dir(folder),
        )
    };
    if download().is_err() {
        tool::run_visible(Command::new("apt-get").args(["update", "--quiet"]))?;
        download()?;
    }
    let package = newest_package(folder, "nginx_")?;
    tool::run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&package)
            .arg(&unpacked),
    )?;
    Ok(program)
}

fn newest_package(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with(prefix) && name.ends_with(".deb"))
        })
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("apt-get download left no {prefix}*.deb"))
}

fn coreos_installer(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("bin/coreos-installer");
    if !program.is_file() {
        step("Building coreos-installer (cargo install coreos-installer --locked)");
        let mut cargo = binaries::cargo(Path::new("/"));
        // Not in the sources' folder: their settings are for Imprint alone.
        cargo
            .args(["install", "--locked", "--root"])
            .arg(folder)
            .arg("coreos-installer");
        tool::run_logged(&mut cargo, &folder.join("coreos-installer.log"))?;
    }
    Ok(program)
}

/// Answers the Python that can run the driver beside it.
fn ironic(folder: &Path) -> Result<PathBuf> {
    let place = folder.join("ironic");
    let python = place.join("bin/python");
    let done = place.join("installed");
    if !done.is_file() {
        step("Installing ironic-python-agent (pip install ironic-python-agent)");
        // Debian's own Python, so that the place does not depend on what is first in the path.
        tool::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&place))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "ironic-python-agent"]);
        tool::run_logged(&mut pip, &folder.join("ironic.log"))?;
        fs::write(&done, "").context("cannot note the installation")?;
    }
    fs::write(place.join("driver.py"), IRONIC_DRIVER).context("cannot write the driver")?;
    Ok(python)
}
