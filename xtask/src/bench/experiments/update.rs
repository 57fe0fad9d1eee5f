//! An image upgraded in place: the same file system with some programs and libraries replaced, as a package manager
//! does it. debugfs changes the file system in the image, so nothing is mounted.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::lab::Lab;
use crate::image::ROOT_OFFSET;
use crate::tool;

/// Folders whose files are replaced.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/lib/x86_64-linux-gnu"];
/// One file of so many.
const ONE_OF: usize = 6;
const SMALLEST: u64 = 32 << 10;

/// The newer image.
#[derive(Debug)]
pub(super) struct Update {
    /// The raw disk.
    pub(super) raw: PathBuf,
    /// The same below the served folder.
    pub(super) path: String,
    /// Frame bytes of all its chunks.
    pub(super) fetch_bytes: u64,
    /// Frame bytes of those that the older image has not at the same place.
    pub(super) changed_bytes: u64,
}

/// Makes it unless it is there.
pub(super) fn prepare(lab: &Lab) -> Result<Update> {
    let folder = lab.forms.folder();
    let raw = folder.join("updated.raw");
    let facts = folder.join("updated.json");
    if !facts.exists() {
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]);
        tool::run(copy.arg(&lab.workload.raw).arg(&raw))?;
        replace_files(&raw, &lab.work.join("update"))?;
        let mut publish = lab.tools.yardstick("publish");
        publish.arg(&raw).arg(folder.join("store"));
        let text = tool::output(&mut publish)?;
        fs::write(&facts, text).context("cannot keep the artifact's facts")?;
    }
    let text = fs::read_to_string(&facts).context("cannot read the artifact's facts")?;
    let known: Value = serde_json::from_str(&text).context("the artifact's facts are damaged")?;
    let digest = known["image_digest"]
        .as_str()
        .context("the artifact has no digest")?;
    let path = format!("store/manifests/{digest}");
    let manifest = folder.join(&path);
    let mut changed = lab.tools.yardstick("changed");
    changed.arg(lab.forms.manifest()).arg(&manifest);
    let changed: Value = serde_json::from_str(&tool::output(&mut changed)?).context("no answer")?;
    Ok(Update {
        raw,
        path,
        fetch_bytes: known["fetch_bytes"].as_u64().unwrap_or_default(),
        changed_bytes: changed["frame_bytes"].as_u64().unwrap_or_default(),
    })
}

fn replace_files(raw: &Path, work: &Path) -> Result<()> {
    if work.exists() {
        fs::remove_dir_all(work).context("cannot clear the place for files")?;
    }
    fs::create_dir_all(work).context("cannot make a place for files")?;
    let file_system = format!("{}?offset={ROOT_OFFSET}", raw.display());
    let mut chosen = Vec::new();
    for folder in FOLDERS {
        let mut list = Command::new("debugfs");
        list.args(["-R", &format!("ls -p {folder}"), &file_system]);
        chosen.extend(
            files(folder, &tool::output(&mut list)?)
                .into_iter()
                .step_by(ONE_OF),
        );
    }
    ensure!(!chosen.is_empty(), "the image has no programs to replace");
    let (mut take, mut put) = (String::new(), String::new());
    for (number, path) in chosen.iter().enumerate() {
        let file = work.join(number.to_string());
        writeln!(take, "dump {path} {}", file.display()).context("no memory")?;
        writeln!(put, "rm {path}\nwrite {} {path}", file.display()).context("no memory")?;
    }
    script(&file_system, work, &take, false)?;
    for number in 0..chosen.len() {
        let file = work.join(number.to_string());
        let old = fs::read(&file).with_context(|| format!("debugfs has not given {}", file.display()))?;
        // Everything moves by a few bytes, as in a program that was built again.
        let new = [b"a newer version ".as_slice(), &old].concat();
        fs::write(&file, new).context("cannot change a file")?;
    }
    script(&file_system, work, &put, true)?;
    fs::remove_dir_all(work).context("cannot clear the place for files")
}

fn script(file_system: &str, work: &Path, commands: &str, write: bool) -> Result<()> {
    let file = work.join("commands");
    fs::write(&file, commands).context("cannot write commands for debugfs")?;
    let mut debugfs = Command::new("debugfs");
    if write {
        debugfs.arg("-w");
    }
    tool::run(debugfs.arg("-f").arg(&file).arg(file_system))
}

/// Regular files of some size in debugfs' parseable listing: `/inode/mode/uid/gid/name/size/`.
fn files(folder: &str, listing: &str) -> Vec<String> {
    let regular = |line: &str| -> Option<String> {
        let fields: Vec<&str> = line.split('/').collect();
        let (mode, name, size) = (fields.get(2)?, fields.get(5)?, fields.get(6)?);
        let large = size.parse::<u64>().ok()? >= SMALLEST;
        let simple = !name.contains([' ', '"']);
        (mode.starts_with("100") && large && simple).then(|| format!("{folder}/{name}"))
    };
    listing.lines().filter_map(regular).collect()
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn only_regular_files_of_some_size_are_replaced() {
        let listing = "/12/040755/0/0/./0/\n/13/100755/0/0/bash/1265648/\n/14/100755/0/0/true/35664/\n\
                       /15/120777/0/0/sh/4/\n/16/100755/0/0/tiny/100/\n\n";
        assert_eq!(files("/usr/bin", listing), ["/usr/bin/bash", "/usr/bin/true"]);
    }
}
