//! The programs that tests of rendered networks ask: Debian's packages, unpacked into `target` and not installed. Installed,
//! they would take over the network of the machine that runs the tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{packages, screen, tool};

const LIST: &str = include_str!("../network-tools.txt");

/// Unpacks what is missing; does nothing, and needs no network, when all of the list is there.
pub fn unpack(source: &Path) -> Result<PathBuf> {
    let folder = source.join("target/network-tools");
    // Says of which list the folder is complete.
    let mark = folder.join("complete");
    if fs::read_to_string(&mark).is_ok_and(|text| text == LIST) {
        return Ok(folder);
    }
    let wanted: Vec<&str> = packages::names(LIST).collect();
    screen::step(&format!(
        "Unpacking {} Debian packages for tests of networks",
        wanted.len()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the old programs")?;
    }
    let archives = folder.join("archives");
    fs::create_dir_all(&archives).context("cannot make the folder of the programs")?;
    // apt-get gives its rights away for a download, and the other user cannot write here.
    let fetch = |names: &[&str]| {
        tool::run(
            Command::new("apt-get")
                .args(["download", "--quiet=2", "--option=APT::Sandbox::User=root"])
                .args(names)
                .current_dir(&archives),
        )
    };
    if fetch(&wanted).is_err() {
        packages::update()?;
        fetch(&wanted).context("cannot fetch the packages of xtask/network-tools.txt")?;
    }
    let found: BTreeSet<PathBuf> = fs::read_dir(&archives)
        .context("cannot list the packages")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .context("cannot list the packages")?;
    for archive in &found {
        tool::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(archive)
                .arg(&folder),
        )?;
    }
    fs::remove_dir_all(&archives).context("cannot remove the packages")?;
    fs::write(&mark, LIST).context("cannot note that the programs are complete")?;
    Ok(folder)
}
