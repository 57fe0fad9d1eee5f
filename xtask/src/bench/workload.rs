//! The images that are written: real Debian systems, made once and kept in `target/bench-cache`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::image::{self, Contents};
use crate::screen::step;

const PACKAGES: &str = include_str!("../../bench/image-packages.txt");
/// Root file system of an image with 10 GiB in all.
const ROOT_MIB: u64 = 10 * 1024 - 67;
/// Files of the large image: what a disk then has as data is a little more.
const LARGE_BYTES: u64 = 4500 << 20;

/// Which image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Image {
    /// The lab's.
    Small,
    /// A Debian server.
    Server,
    /// The server with files of this machine, until there are 4 GiB.
    Large,
}

impl Image {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Server => "server",
            Self::Large => "large",
        }
    }

    /// What is in it, in words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Small => "the lab's Debian 12",
            Self::Server => "a Debian 12 server, GPT and ext4, 10 GiB",
            Self::Large => "a Debian 12 server with programs, libraries and sources, GPT and ext4, 10 GiB",
        }
    }
}

/// The raw image, and the folder where its forms are kept.
#[derive(Debug)]
pub struct Workload {
    /// Which.
    pub image: Image,
    /// The raw disk.
    pub raw: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Served files.
    pub folder: PathBuf,
}

/// Makes the image unless it is there.
pub fn prepare(source: &Path, image: Image) -> Result<Workload> {
    let cache = source.join("target/bench-cache");
    let folder = match image {
        Image::Small => {
            let raw = image::build(&source.join("target/lab-cache"))?;
            let name = raw.file_stem().context("the image has no name")?;
            let folder = cache.join(name);
            make_folder(&folder)?;
            let link = folder.join("disk.raw");
            if !link.exists() {
                symlink(&raw, &link).context("cannot link the image")?;
            }
            folder
        }
        Image::Server | Image::Large => debian(&cache, image)?,
    };
    let raw = folder
        .join("disk.raw")
        .canonicalize()
        .context("the image is gone")?;
    let bytes = fs::metadata(&raw).context("the image is gone")?.len();
    Ok(Workload {
        image,
        raw,
        bytes,
        folder,
    })
}

fn debian(cache: &Path, image: Image) -> Result<PathBuf> {
    let recipe = [
        PACKAGES,
        include_str!("workload.rs"),
        include_str!("../image/disk.rs"),
        include_str!("../image/rootfs.rs"),
        include_str!("../image/layout.rs"),
    ];
    let id = image::fingerprint(recipe.into_iter());
    let folder = cache.join(format!("{}-{id}", image.name()));
    let raw = folder.join("disk.raw");
    if raw.exists() {
        return Ok(folder);
    }
    remove_others(cache, image.name())?;
    let work = cache.join("building");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    make_folder(&work)?;
    make_folder(&folder)?;
    let root = work.join("root");
    step("Debian server: root file system (some minutes, kept for the next time)");
    image::build_root(&root, &work, &cache.join("debs"), &Contents::server(PACKAGES))?;
    if image == Image::Large {
        step("Debian server: programs, libraries and sources of this machine");
        let filled = fill(&root)?;
        if filled < LARGE_BYTES {
            bail!(
                "this machine has only {filled} bytes of programs, libraries and sources to put into the image"
            );
        }
    }
    step("Debian server: disk");
    let unfinished = work.join("disk.raw");
    image::assemble_disk(&root, ROOT_MIB, &work, &unfinished)?;
    fs::rename(&unfinished, &raw).context("cannot place the image")?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    Ok(folder)
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Images of earlier recipes with all their forms; nothing else would remove them.
fn remove_others(cache: &Path, name: &str) -> Result<()> {
    make_folder(cache)?;
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let path = entry.context("cannot list the cache")?.path();
        let old = path.file_name().is_some_and(|file| {
            file.to_string_lossy()
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
        });
        if old {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Copies files of this machine into the root folder until it is large enough; answers how much is in it then.
fn fill(root: &Path) -> Result<u64> {
    let mut bytes = size_of(root)?;
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let sources = ["/usr/share", "/usr/lib", "/usr/src", "/usr/local", "/usr/bin"]
        .map(PathBuf::from)
        .into_iter()
        .chain([".rustup/toolchains", ".cargo/registry/src"].map(|folder| home.join(folder)));
    for source in sources.filter(|source| source.is_dir()) {
        let name = source.to_string_lossy().replace('/', "-");
        copy(
            &source,
            &root.join("srv").join(name.trim_start_matches('-')),
            &mut bytes,
        )?;
        if bytes >= LARGE_BYTES {
            break;
        }
    }
    Ok(bytes)
}

/// Copies regular files, in order of their names, until there are enough bytes. What cannot be read is left out.
fn copy(from: &Path, to: &Path, bytes: &mut u64) -> Result<()> {
    make_folder(to)?;
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *bytes >= LARGE_BYTES {
            return Ok(());
        }
        let Ok(facts) = entry.metadata() else { continue };
        let place = to.join(entry.file_name());
        if facts.is_dir() {
            copy(&entry.path(), &place, bytes)?;
        } else if facts.is_file() {
            // Files of a living machine come and go.
            if fs::copy(entry.path(), &place).is_ok() {
                *bytes += facts.len();
            }
        }
    }
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let facts = entry.metadata().context("cannot look at a file")?;
        bytes += if facts.is_dir() {
            size_of(&entry.path())?
        } else {
            facts.len()
        };
    }
    Ok(bytes)
}
