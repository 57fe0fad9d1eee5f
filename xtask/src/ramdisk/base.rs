//! The part of the ramdisk that changes only with the recipe: extracted packages and the chosen kernel modules.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::modules;
use super::recipe::{Item, Recipe};
use crate::{screen, tool};

/// Part of the stamp: raise it when this builder extracts or chooses differently.
const FORMAT: u32 = 1;

/// Folders that are links into `usr` on today's Debian. Packages still carry files below both names.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Extracted packages and chosen modules.
#[derive(Debug)]
pub struct Base {
    /// All files of all packages.
    pub packages: PathBuf,
    /// `usr/lib/modules/VERSION` with the chosen modules and their indexes.
    pub modules: PathBuf,
    /// The kernel image.
    pub kernel: PathBuf,
    /// As `uname -r` prints it.
    pub kernel_version: String,
}

/// Makes the base, or takes the cached one when the recipe is the same. `more`: packages that are extracted as well.
pub fn prepare(recipe: &Recipe, more: &[Item], cache: &Path, refresh: bool) -> Result<Base> {
    let folder = cache.join("base");
    let stamp_file = folder.join("stamp");
    let wanted: Vec<&Item> = recipe.packages.iter().chain(more).collect();
    let stamp = format!("{FORMAT}\n{wanted:?}\n{:?}\n", recipe.modules);
    let cached = fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
    if !cached || refresh {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let packages = folder.join("packages");
        fs::create_dir_all(packages.join("usr"))
            .with_context(|| format!("cannot create {}", packages.display()))?;
        let archives = download(&wanted, &folder)?;
        extract(&archives, &packages)?;
        let version = kernel_version(&packages)?;
        modules::choose(&recipe.modules, &packages, &folder.join("modules"), &version)?;
        fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    }
    let packages = folder.join("packages");
    let kernel_version = kernel_version(&packages)?;
    let kernel = packages.join(format!("boot/vmlinuz-{kernel_version}"));
    Ok(Base {
        modules: folder.join("modules"),
        kernel,
        kernel_version,
        packages,
    })
}

/// Fetches the packages and all they depend on, with this host's own apt configuration (mirror, proxy, keys).
///
/// With an empty package status apt resolves every dependency; it only downloads, so nothing of the host changes.
fn download(wanted: &[&Item], folder: &Path) -> Result<Vec<PathBuf>> {
    screen::step("Fetching the ramdisk's Debian packages");
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    let status = folder.join("status");
    fs::write(&status, "")?;
    let archives = fs::canonicalize(&archives)?;
    let status = fs::canonicalize(&status)?;
    let fetch = || {
        let mut command = Command::new("apt-get");
        command.args([
            "install",
            "--yes",
            "--quiet",
            "--no-install-recommends",
            "--download-only",
        ]);
        for option in [
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache::archives={}", archives.display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            // Only this folder is written to; apt may be at work elsewhere on this machine.
            "Debug::NoLocking=1".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Keep-Downloaded-Packages=true".to_owned(),
        ] {
            command.args(["--option", &option]);
        }
        command.args(wanted.iter().map(|p| p.name.as_str()));
        tool::run(&mut command)
    };
    if fetch().is_err() {
        screen::step("The package lists seem to be old: apt-get update, then once more");
        tool::run(Command::new("apt-get").args(["update", "--quiet"]))?;
        fetch().context(
            "cannot fetch the packages of ramdisk/packages.txt and ramdisk/rescue/packages.txt; the ramdisk is built from Debian's archive, which apt must be configured for",
        )?;
    }
    let mut debs: Vec<PathBuf> = fs::read_dir(&archives)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    debs.sort();
    ensure!(
        !debs.is_empty(),
        "apt-get fetched no package into {}",
        archives.display()
    );
    Ok(debs)
}

fn extract(archives: &[PathBuf], to: &Path) -> Result<()> {
    screen::step(&format!("Extracting {} packages", archives.len()));
    for name in MERGED {
        fs::create_dir_all(to.join("usr").join(name))?;
        symlink(format!("usr/{name}"), to.join(name))?;
    }
    for archive in archives {
        extract_one(archive, to).with_context(|| format!("cannot extract {}", archive.display()))?;
    }
    Ok(())
}

/// As `dpkg-deb --extract`, but a folder of the package does not replace a link of that name.
fn extract_one(archive: &Path, to: &Path) -> Result<()> {
    let mut deb = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb (package dpkg)")?;
    let files = deb.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--keep-directory-symlink",
        "--no-same-owner",
        "--directory",
    ])
    .arg(to);
    let tar = tar.stdin(files).status().context("cannot start tar")?;
    let deb = deb.wait()?;
    ensure!(tar.success() && deb.success(), "dpkg-deb: {deb}, tar: {tar}");
    Ok(())
}

fn kernel_version(packages: &Path) -> Result<String> {
    let folder = packages.join("usr/lib/modules");
    let entries = fs::read_dir(&folder).with_context(|| format!("no kernel in {}", folder.display()))?;
    let mut versions: Vec<String> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    versions.sort();
    match versions.as_slice() {
        [version] => Ok(version.clone()),
        [] => bail!("ramdisk/packages.txt brings no kernel"),
        several => bail!(
            "ramdisk/packages.txt brings several kernels: {}",
            several.join(", ")
        ),
    }
}
