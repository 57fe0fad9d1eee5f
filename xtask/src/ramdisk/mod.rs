//! Builds the ramdisk: Debian's kernel and an initrd with systemd and the agent, from the recipe in `ramdisk/`.
//!
//! ```text
//! packages.txt --apt-get--> extracted packages   \  cached until the recipe changes
//! modules.txt  --depmod---> chosen modules       /
//! files.txt + libraries they need + ramdisk/root + agent + guest --cpio--> zstd --> initrd.img
//! the same of ramdisk/rescue, without what is in initrd.img ------cpio--> zstd --> rescue.img
//! ```
//!
//! Nothing of the packages is ever run. Order, owners and times in the archive are fixed, so the same inputs make the
//! same bytes.

mod base;
mod contents;
mod cpio;
mod elf;
mod media;
mod modules;
mod pack;
mod recipe;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::screen;

/// Kernel and initrd together stay below this: every machine downloads them before anything else.
const MAX_BYTES: u64 = 64_000_000;
/// The initrd of rescues: it is rarely loaded, but over the same networks.
const MAX_RESCUE_BYTES: u64 = 24_000_000;
/// Kernel, systemd and its services, and the agent with its buffers, beside the unpacked files.
const WORKING_MEMORY_MIB: u64 = 320;

/// What to build and where.
#[derive(Debug, Clone)]
pub struct RamdiskOptions {
    /// Root of the sources: `ramdisk/` and `systemd/` are below it.
    pub source_dir: PathBuf,
    /// Gets `vmlinuz`, `initrd.img`, `rescue.img` and `ramdisk.json`; `media.iso` and `media.json` for servers that start from a CD.
    pub out_dir: PathBuf,
    /// Keeps extracted packages between builds.
    pub cache_dir: PathBuf,
    /// The static `imprint-agent`.
    pub agent_binary: PathBuf,
    /// The static `imprint-guest`, which the agent puts into installed systems.
    pub guest_binary: PathBuf,
    /// Compression level of zstd, 1 to 19.
    pub level: u8,
    /// Fetch the packages anew, for the archive's security updates.
    pub refresh: bool,
}

impl RamdiskOptions {
    /// The usual places below a source folder.
    pub fn new(source_dir: &Path, agent_binary: PathBuf, guest_binary: PathBuf) -> Self {
        Self {
            source_dir: source_dir.to_owned(),
            out_dir: source_dir.join("target/ramdisk"),
            cache_dir: source_dir.join("target/ramdisk-cache"),
            agent_binary,
            guest_binary,
            level: 10,
            refresh: false,
        }
    }
}

/// A ramdisk that was built.
#[derive(Debug, Clone)]
pub struct RamdiskFiles {
    /// The kernel.
    pub vmlinuz: PathBuf,
    /// The initrd.
    pub initrd: PathBuf,
    /// What a machine that is rescued loads besides.
    pub rescue: PathBuf,
    /// The list of its contents, as it is inside it too.
    pub manifest: PathBuf,
    /// As `uname -r` prints it.
    pub kernel_version: String,
    /// Kernel and initrd.
    pub bytes: u64,
    /// RAM that a machine needs for it.
    pub min_memory_mib: u64,
}

/// Builds kernel and initrd.
pub fn build(options: &RamdiskOptions) -> Result<RamdiskFiles> {
    let (recipe, rescue) = recipe::Recipe::read(&options.source_dir.join("ramdisk"))?;
    let base = base::prepare(&recipe, &rescue.packages, &options.cache_dir, options.refresh)?;
    screen::step("Packing the ramdisk");
    fs::create_dir_all(&options.out_dir)
        .with_context(|| format!("cannot create {}", options.out_dir.display()))?;
    let mut tree = contents::collect(&recipe, &base, options)?;
    let mut rescue = contents::collect_rescue(&rescue, &base, &tree)?;

    let unpacked_mib = tree.bytes()?.div_ceil(1 << 20);
    let min_memory_mib = needed_memory_mib(unpacked_mib);
    let both_mib = unpacked_mib + rescue.bytes()?.div_ceil(1 << 20);
    let list = contents::manifest(&rescue, &base.kernel_version, needed_memory_mib(both_mib))?;
    rescue.file_with(contents::RESCUE_MANIFEST_PATH, list.into_bytes(), 0o644)?;
    let json = contents::manifest(&tree, &base.kernel_version, min_memory_mib)?;
    tree.file_with(contents::MANIFEST_PATH, json.clone().into_bytes(), 0o644)?;

    let files = RamdiskFiles {
        vmlinuz: options.out_dir.join("vmlinuz"),
        initrd: options.out_dir.join("initrd.img"),
        rescue: options.out_dir.join("rescue.img"),
        manifest: options.out_dir.join("ramdisk.json"),
        kernel_version: base.kernel_version.clone(),
        bytes: 0,
        min_memory_mib,
    };
    pack::pack(&tree, contents::MANIFEST_PATH, &files.initrd, options.level)?;
    pack::pack(
        &rescue,
        contents::RESCUE_MANIFEST_PATH,
        &files.rescue,
        options.level,
    )?;
    let rescue_bytes = fs::metadata(&files.rescue)?.len();
    ensure!(
        rescue_bytes < MAX_RESCUE_BYTES,
        "rescue.img has {rescue_bytes} bytes, more than the {MAX_RESCUE_BYTES} allowed; was a large package added to ramdisk/rescue/packages.txt?"
    );
    replace(&files.vmlinuz, |to| fs::copy(&base.kernel, to).map(drop))?;
    replace(&files.manifest, |to| fs::write(to, &json))?;
    let work = options.cache_dir.join("media");
    let layout = media::make(
        &files.vmlinuz,
        &files.initrd,
        &files.rescue,
        &work,
        &options.out_dir.join("media.iso"),
    )?;
    replace(&options.out_dir.join("media.json"), |to| fs::write(to, &layout))?;
    let bytes = fs::metadata(&files.vmlinuz)?.len() + fs::metadata(&files.initrd)?.len();
    ensure!(
        bytes < MAX_BYTES,
        "kernel and initrd have {bytes} bytes, more than the {MAX_BYTES} allowed; is the agent a debug build that was not stripped, or was a large package added to ramdisk/packages.txt?"
    );
    screen::step(&format!(
        "Ramdisk: kernel {}, {} MiB ({unpacked_mib} MiB unpacked), for machines with {min_memory_mib} MiB of RAM or more; for rescues {} MiB more, and {} MiB of RAM",
        base.kernel_version,
        bytes.div_ceil(1 << 20),
        rescue_bytes.div_ceil(1 << 20),
        needed_memory_mib(both_mib)
    ));
    Ok(RamdiskFiles { bytes, ..files })
}

/// The packed initrd is in RAM beside its unpacked files until unpacking ends. Its size is not known before it is packed, but it
/// is never larger than half of them.
fn needed_memory_mib(unpacked_mib: u64) -> u64 {
    (unpacked_mib + unpacked_mib / 2 + WORKING_MEMORY_MIB).next_multiple_of(64)
}

/// Writes a file under a temporary name first: a controller may be serving the old one.
fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let new = path.with_extension("new");
    write(&new)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
