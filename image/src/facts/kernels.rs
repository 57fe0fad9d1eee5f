//! The kernels of an image, their modules and their initramfs.

use std::collections::BTreeMap;

use super::fault::Fault;
use super::initramfs::{self, module_name};
use super::model::{Fact, Initramfs, Kernel};
use super::parts;
use super::tree::Tree;
use super::volume::Kind;

const IMAGE_PREFIXES: [&str; 5] = ["vmlinuz-", "vmlinux-", "Image-", "kernel-", "linux-"];
const MAX_KERNELS: usize = 32;
/// The list of what is built in has some hundred lines.
const MAX_BUILTIN_BYTES: u64 = 1 << 20;

/// Where kernels and modules are in a tree: a whole system, or a boot partition alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub boot: &'static str,
    /// Nothing when the root file system is not there to be read.
    pub modules: Option<&'static str>,
}

/// Reads what is there. `plain_left` bounds what all initramfs decompress to.
pub(super) fn read(tree: &Tree<'_>, places: Places, plain_left: &mut u64) -> Result<Vec<Kernel>, Fault> {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    let boot = tree.list(places.boot)?;
    for entry in &boot {
        let version = IMAGE_PREFIXES
            .iter()
            .find_map(|prefix| entry.name.strip_prefix(prefix));
        // Debug symbols and signatures lie beside kernels under similar names.
        let kernel = version.filter(|version| !version.is_empty() && !version.ends_with(".hmac"));
        if let Some(version) = kernel
            && matches!(entry.kind, Kind::File | Kind::Link)
        {
            let path = format!("{}/{}", places.boot, entry.name);
            found.entry(version.to_owned()).or_default().get_or_insert(path);
        }
    }
    if let Some(folder) = places.modules {
        for entry in tree.list(folder)? {
            if entry.kind == Kind::Directory {
                found.entry(entry.name).or_default();
            }
        }
    }
    if found.len() > MAX_KERNELS {
        return Err(Fault::limit(format!("more than {MAX_KERNELS} kernels")));
    }
    let names: Vec<&str> = boot.iter().map(|entry| entry.name.as_str()).collect();
    let kernels = found.into_iter().map(|(version, image)| {
        let folder = places.modules.map(|folder| format!("{folder}/{version}"));
        Kernel {
            modules: below(&folder, |folder| tree.exists(folder)),
            builtin: below(&folder, |folder| builtin(tree, folder)),
            initramfs: match initramfs_of(&names, &version) {
                Some(name) => of(tree, &format!("{}/{name}", places.boot), plain_left),
                None => Fact::Known(None),
            },
            version,
            image,
        }
    });
    Ok(kernels.collect())
}

/// What is read of the folder with the modules of a kernel.
fn below<T>(folder: &Option<String>, read: impl Fn(&str) -> Result<T, Fault>) -> Fact<T> {
    match folder {
        Some(folder) => parts::fact(read(folder)),
        None => Fact::Unknown("the root file system cannot be read".to_owned()),
    }
}

/// The names of the modules that are part of the kernel itself.
fn builtin(tree: &Tree<'_>, folder: &str) -> Result<Vec<String>, Fault> {
    let list = tree.text(&format!("{folder}/modules.builtin"), MAX_BUILTIN_BYTES)?;
    let mut names: Vec<String> = list.lines().filter_map(module_name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// How the families call the initramfs of a version.
fn initramfs_of<'a>(names: &[&'a str], version: &str) -> Option<&'a str> {
    let candidates = [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initrd-{version}"),
        format!("initramfs-{version}"),
        format!("initrd-{version}.img"),
    ];
    candidates
        .iter()
        .find_map(|candidate| names.iter().copied().find(|name| name == candidate))
}

fn of(tree: &Tree<'_>, path: &str, plain_left: &mut u64) -> Fact<Option<Initramfs>> {
    let mut read = || {
        let mut file = tree.open(path)?;
        let size_bytes = file.size();
        let found = initramfs::read(&mut file, plain_left)?;
        Ok::<_, Fault>(Initramfs {
            path: path.to_owned(),
            size_bytes,
            ..found
        })
    };
    match read() {
        Ok(initramfs) => Fact::Known(Some(initramfs)),
        Err(fault) => Fact::Unknown(format!("{path}: {}", fault.reason())),
    }
}
