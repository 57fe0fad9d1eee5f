//! The programs in Python that tests ask: packages of PyPI in a place of their own, `target/python-tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{screen, tool};

const LIST: &str = include_str!("../python-tools.txt");

/// Installs what is missing; does nothing, and needs no network, when all of the list is there.
pub fn install(source: &Path) -> Result<PathBuf> {
    let folder = source.join("target/python-tools");
    // Says of which list the place is complete.
    let mark = folder.join("complete");
    if fs::read_to_string(&mark).is_ok_and(|text| text == LIST) {
        return Ok(folder);
    }
    screen::step("Installing the Python packages of xtask/python-tools.txt, aside");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove the old programs")?;
    }
    // Debian's own Python, so that the place does not depend on what is first in the path.
    tool::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(source.join("xtask/python-tools.txt"));
    tool::run(&mut pip).context("cannot install the packages of xtask/python-tools.txt")?;
    fs::write(&mark, LIST).context("cannot note that the programs are complete")?;
    Ok(folder)
}
