//! What goes into the initrd, and the list of it that the agent checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::RamdiskOptions;
use super::base::Base;
use super::elf;
use super::recipe::Recipe;
use super::tree::{Node, Tree};

/// Where the list is in the initrd.
pub const MANIFEST_PATH: &str = "etc/imprint/ramdisk.json";
/// The same in the initrd of rescues.
pub const RESCUE_MANIFEST_PATH: &str = "etc/imprint/rescue.json";

const AGENT: &str = "usr/bin/imprint-agent";
const GUEST_FOLDER: &str = "usr/lib/imprint/guest";

/// Where libraries are looked for, in this order.
const LIBRARY_FOLDERS: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib/systemd",
    "usr/lib64",
];

/// Written to at boot, so their size says nothing.
const CHANGED_AT_BOOT: [&str; 1] = ["etc/machine-id"];

/// Puts everything together. Later parts replace earlier ones of the same path.
pub fn collect(recipe: &Recipe, base: &Base, options: &RamdiskOptions) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "mnt",
        "root",
        "var/log",
        "etc/imprint",
    ] {
        tree.folder(folder)?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        tree.folder(&format!("usr/{name}"))?;
        tree.link(name, &format!("usr/{name}"))?;
    }
    let chosen = of_packages(recipe, base, "ramdisk/files.txt")?;
    with_libraries(&mut tree, &base.packages, chosen)?;
    folder(&mut tree, &base.modules.join("usr"), "usr")?;
    folder(&mut tree, &recipe.root, "")?;
    folder(
        &mut tree,
        &options.source_dir.join("systemd/ramdisk"),
        "etc/systemd/system",
    )?;
    folder(&mut tree, &options.source_dir.join("systemd/guest"), GUEST_FOLDER)?;
    tree.file(AGENT, &options.agent_binary)?;
    tree.file(&format!("{GUEST_FOLDER}/imprint-guest"), &options.guest_binary)?;
    for (path, target) in &recipe.links {
        tree.link(path, target)?;
    }
    Ok(tree)
}

/// What a rescue needs besides: it is unpacked over the ramdisk, and has nothing that is there already.
pub fn collect_rescue(recipe: &Recipe, base: &Base, ramdisk: &Tree) -> Result<Tree> {
    let mut tree = Tree::default();
    let chosen = of_packages(recipe, base, "ramdisk/rescue/files.txt")?;
    with_libraries(&mut tree, &base.packages, chosen)?;
    folder(&mut tree, &recipe.root, "")?;
    for (path, target) in &recipe.links {
        tree.link(path, target)?;
    }
    tree.without(ramdisk)
}

/// The paths of a recipe's list, without those that may be missing and are.
fn of_packages(recipe: &Recipe, base: &Base, list: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for item in &recipe.files {
        let path = item.name.trim_start_matches('/');
        match fs::symlink_metadata(base.packages.join(path)) {
            Ok(_) => found.push(path.to_owned()),
            Err(_) if item.optional => {}
            Err(error) => return Err(error).with_context(|| format!("{list}: {path} is in no package")),
        }
    }
    Ok(found)
}

/// The list: every file with its size, and what a machine needs.
pub fn manifest(tree: &Tree, kernel: &str, min_memory_mib: u64) -> Result<String> {
    let mut lines = Vec::new();
    for (path, node) in tree.iter() {
        if matches!(node, Node::File { .. } | Node::Made { .. }) && !CHANGED_AT_BOOT.contains(&path) {
            lines.push(format!(
                "{{\"path\":{},\"size\":{}}}",
                quoted(&format!("/{path}"))?,
                node.size()?
            ));
        }
    }
    Ok(format!(
        "{{\"version\":1,\"kernel\":{},\"min_memory_mib\":{min_memory_mib},\"files\":[\n{}\n]}}\n",
        quoted(kernel)?,
        lines.join(",\n")
    ))
}

/// A JSON string. Paths of this ramdisk are plain ASCII; what is not is refused rather than escaped.
fn quoted(text: &str) -> Result<String> {
    if text
        .bytes()
        .all(|b| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\')
    {
        Ok(format!("\"{text}\""))
    } else {
        bail!("{text:?} is no plain ASCII name")
    }
}

/// Takes files and links over, with whatever libraries, interpreters and link targets they need.
fn with_libraries(tree: &mut Tree, packages: &Path, paths: Vec<String>) -> Result<()> {
    let mut queue = paths;
    let mut seen = BTreeSet::new();
    while let Some(path) = queue.pop() {
        let path = merged(&path);
        if !seen.insert(path.clone()) {
            continue;
        }
        let source = packages.join(&path);
        let metadata = fs::symlink_metadata(&source)
            .with_context(|| format!("{path} is in no package of the recipe"))?;
        if metadata.is_symlink() {
            let target = fs::read_link(&source)?.to_string_lossy().into_owned();
            queue.push(resolve(&path, &target));
            tree.link(&path, &target)?;
        } else if metadata.is_dir() {
            for entry in fs::read_dir(&source)? {
                queue.push(format!("{path}/{}", entry?.file_name().to_string_lossy()));
            }
        } else {
            let content = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
            let needs = elf::needs(&content).with_context(|| format!("cannot read {path}"))?;
            queue.extend(needs.interpreter);
            for library in needs.libraries {
                queue.push(find_library(packages, &library).with_context(|| format!("{path} cannot run"))?);
            }
            tree.file(&path, &source)?;
        }
    }
    Ok(())
}

fn find_library(packages: &Path, name: &str) -> Result<String> {
    let candidates = LIBRARY_FOLDERS.iter().map(|folder| format!("{folder}/{name}"));
    let found = candidates
        .into_iter()
        .find(|path| fs::symlink_metadata(packages.join(path)).is_ok());
    found.with_context(|| format!("no package of the recipe has the library {name}"))
}

/// The path with the folders that are links into `usr` resolved.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split('/').next() {
        Some("bin" | "sbin" | "lib" | "lib64") => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

/// The path a link at `path` leads to.
fn resolve(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// All files below a folder of this machine.
fn folder(tree: &mut Tree, from: &Path, to: &str) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(from)
        .with_context(|| format!("cannot read {}", from.display()))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    for source in entries {
        let name = source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = if to.is_empty() {
            name
        } else {
            format!("{to}/{name}")
        };
        if source.is_dir() {
            folder(tree, &source, &path)?;
        } else {
            tree.file(&path, &source)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_the_kernel_goes() {
        assert_eq!(resolve("usr/lib/libx.so.1", "libx.so.1.2"), "usr/lib/libx.so.1.2");
        assert_eq!(resolve("usr/sbin/modprobe", "../bin/kmod"), "usr/bin/kmod");
        assert_eq!(
            resolve("usr/lib/systemd/systemd-udevd", "/bin/udevadm"),
            "/bin/udevadm"
        );
        assert_eq!(merged("/bin/udevadm"), "usr/bin/udevadm");
        assert_eq!(merged("etc/passwd"), "etc/passwd");
    }

    #[test]
    fn the_list_names_every_file_that_stays_as_it_is() {
        let mut tree = Tree::default();
        tree.file_with("etc/machine-id", Vec::new(), 0o644).unwrap();
        tree.file_with("etc/os-release", b"ID=x\n".to_vec(), 0o644)
            .unwrap();
        tree.link("init", "usr/lib/systemd/systemd").unwrap();
        assert_eq!(
            manifest(&tree, "6.1.0-1-amd64", 512).unwrap(),
            "{\"version\":1,\"kernel\":\"6.1.0-1-amd64\",\"min_memory_mib\":512,\"files\":[\n\
             {\"path\":\"/etc/os-release\",\"size\":5}\n]}\n"
        );
        tree.file_with("etc/quo\"te", Vec::new(), 0o644).unwrap();
        assert!(manifest(&tree, "x", 512).is_err());
    }
}
