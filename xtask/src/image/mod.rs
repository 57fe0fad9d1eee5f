//! The lab's operating system image: a real Debian 12 with cloud-init and sshd on a GPT disk that boots under BIOS and
//! UEFI. It is assembled from a root folder without loop devices, mounts or grub-install, so it can be built anywhere
//! and nothing has to be undone when the build is interrupted. The result is cached by a hash of its recipe.

mod boot_sector;
mod disk;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use rootfs::Contents;

use crate::screen;

/// Size of the lab's root file system: the disk has 1 GiB with it, the least that an import takes for a system disk.
const LAB_ROOT_MIB: u64 = 957;

/// Everything that decides what the image contains. A change of any of these files makes a new image.
const RECIPE: &[(&str, &str)] = &[
    ("cloud.cfg", include_str!("../../image/cloud.cfg")),
    ("fstab", include_str!("../../image/fstab")),
    ("grub.cfg", include_str!("../../image/grub.cfg")),
    ("grub-early.cfg", include_str!("../../image/grub-early.cfg")),
    ("left-out.txt", include_str!("../../image/left-out.txt")),
    ("packages.txt", include_str!("../../image/packages.txt")),
    ("partitions.sfdisk", include_str!("../../image/partitions.sfdisk")),
    ("rootfs.rs", include_str!("rootfs.rs")),
    ("disk.rs", include_str!("disk.rs")),
    ("boot_sector.rs", include_str!("boot_sector.rs")),
];

/// A file of the recipe.
fn recipe(name: &str) -> &'static str {
    RECIPE
        .iter()
        .find(|(file, _)| *file == name)
        .map(|(_, text)| *text)
        .expect("names are constants of RECIPE")
}

/// Builds the image unless the cache has it; answers where it is.
pub fn build(cache: &Path) -> Result<PathBuf> {
    let id = recipe_id();
    let image = cache.join(format!("debian12-{id}.raw"));
    if image.exists() && facts_path(&image).exists() {
        return Ok(image);
    }
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let work = cache.join(format!("building-{id}"));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let built = assemble(cache, &work, &image);
    let cleared = fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()));
    built?;
    cleared?;
    remove_others(cache, &image)?;
    Ok(image)
}

/// Images of earlier recipes, which nothing would ever remove.
fn remove_others(cache: &Path, image: &Path) -> Result<()> {
    let keep = image.file_stem();
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let path = entry
            .with_context(|| format!("cannot list {}", cache.display()))?
            .path();
        let is_image = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("debian12-"));
        if is_image && path.file_stem() != keep {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn assemble(cache: &Path, work: &Path, image: &Path) -> Result<()> {
    screen::step("Debian 12 image: root file system (about 2 minutes, kept for the next time)");
    let root = work.join("root");
    let kernel = rootfs::build(&root, work, &cache.join("debs"), &Contents::lab())?;
    screen::step("Debian 12 image: disk");
    let unfinished = work.join("disk.raw");
    let size = disk::assemble(&root, LAB_ROOT_MIB, work, &unfinished)?;
    fs::rename(&unfinished, image).with_context(|| format!("cannot place {}", image.display()))?;
    let facts = format!(
        "{{\"recipe\":\"{}\",\"os\":\"debian\",\"os_version\":\"12\",\"kernel\":\"{kernel}\",\
         \"disk_size_bytes\":{size},\"user\":\"none\",\"boot\":[\"bios\",\"uefi\"]}}\n",
        recipe_id()
    );
    fs::write(facts_path(image), facts).context("cannot write the image's facts")
}

/// Builds another root folder than the lab's; `debs` keeps downloaded packages.
pub fn build_root(root: &Path, work: &Path, debs: &Path, contents: &Contents) -> Result<()> {
    rootfs::build(root, work, debs, contents).map(drop)
}

/// Puts a root folder onto a disk of its own; answers the disk's size.
pub fn assemble_disk(root: &Path, root_mib: u64, work: &Path, out: &Path) -> Result<u64> {
    disk::assemble(root, root_mib, work, out)
}

/// Where the root file system of such a disk begins.
pub const ROOT_OFFSET: u64 = disk::ROOT_AT_MIB << 20;

fn facts_path(image: &Path) -> PathBuf {
    image.with_extension("json")
}

fn recipe_id() -> String {
    let size = LAB_ROOT_MIB.to_string();
    let files = RECIPE.iter().flat_map(|(name, text)| [*name, *text]);
    fingerprint(files.chain(["root MiB", &size]))
}

/// FNV-1a over the files of a recipe: a name for a cache entry, nothing that has to withstand an attack.
pub fn fingerprint<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in texts.flat_map(str::bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}
