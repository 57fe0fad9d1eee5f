//! The root folder of the image, by mmdebstrap from the mirror that this machine uses itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::recipe;
use super::variant::{DEBIAN12, Release, Stack, Variant};
use crate::tool;

const UNITS: &[&str] = &["ssh.service", "serial-getty@ttyS0.service"];

/// What is in the image beside Debian's essential packages.
#[derive(Debug)]
pub struct Contents {
    /// What the system is to be.
    pub variant: Variant,
    /// Packages.
    pub packages: Vec<&'static str>,
    /// dpkg's options for what the image does without.
    pub left_out: Vec<String>,
}

impl Contents {
    /// An image of the lab: small, since it is streamed into emulated servers again and again.
    pub fn lab(variant: &Variant) -> Self {
        let own = variant.stack.packages().iter().chain(variant.root.packages());
        Self {
            variant: *variant,
            packages: lines(recipe("packages.txt")).chain(own.copied()).collect(),
            left_out: left_out(variant.release),
        }
    }

    /// A server's image: the lab's packages and more, complete with documentation.
    pub fn server(more: &'static str) -> Self {
        Self {
            variant: DEBIAN12,
            packages: lines(recipe("packages.txt")).chain(lines(more)).collect(),
            left_out: Vec::new(),
        }
    }
}

/// Builds the folder; answers the release of its kernel. `debs` keeps downloaded packages for the next build.
pub fn build(root: &Path, work: &Path, debs: &Path, contents: &Contents) -> Result<String> {
    fs::create_dir_all(debs).with_context(|| format!("cannot create {}", debs.display()))?;
    let compression = work.join("zstd");
    fs::write(&compression, "COMPRESS=zstd\n").context("cannot write the initramfs setting")?;
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .args(&contents.left_out)
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg(format!("--include={}", contents.packages.join(",")))
        .args(["--skip=download/empty", "--skip=essential/unlink"])
        .arg("--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"")
        .arg(format!(
            "--setup-hook=sync-in {} /var/cache/apt/archives",
            debs.display()
        ))
        .arg("--essential-hook=mkdir -p \"$1/etc/initramfs-tools/conf.d\"")
        .arg(format!(
            "--essential-hook=copy-in {} /etc/initramfs-tools/conf.d",
            compression.display()
        ))
        .arg(format!(
            "--customize-hook=sync-out /var/cache/apt/archives {}",
            debs.display()
        ))
        .arg(contents.variant.release.suite())
        .arg(root)
        .arg(mirror()?);
    tool::run_logged(&mut command, &work.join("mmdebstrap.log"))?;
    configure(root, &contents.variant)
}

/// Whether the mirror has a release.
pub fn on_mirror(release: Release, work: &Path) -> Result<bool> {
    let place = work.join("InRelease");
    let file = format!("{}dists/{}/InRelease", mirror()?, release.suite());
    // As the user who runs this: apt's own cannot write here.
    let mut fetch = Command::new("/usr/lib/apt/apt-helper");
    fetch
        .args(["--option=APT::Sandbox::User=root", "download-file", &file])
        .arg(&place);
    Ok(tool::run(&mut fetch).is_ok())
}

/// The lines of a list that are no comments.
fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// dpkg's options for what the lab's images do without.
fn left_out(release: Release) -> Vec<String> {
    lines(recipe("left-out.txt"))
        .map(|line| match line.strip_prefix('+') {
            Some(pattern) => format!("--dpkgopt=path-include={}", packed(release, pattern)),
            None => format!("--dpkgopt=path-exclude={}", packed(release, line)),
        })
        .collect()
}

/// A pattern of Debian 12 as it is in a later release: kernel modules are compressed, and lie where the links lead to.
fn packed(release: Release, pattern: &str) -> String {
    match release {
        Release::Bookworm => pattern.to_owned(),
        Release::Trixie => match pattern.strip_prefix("/lib/") {
            Some(below) if below.ends_with(".ko") => format!("/usr/lib/{below}*"),
            Some(below) => format!("/usr/lib/{below}"),
            None => pattern.to_owned(),
        },
    }
}

/// The mirror this machine uses for Debian itself.
fn mirror() -> Result<String> {
    let text = tool::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|").map(str::to_owned));
    match found {
        Some(uri) if uri.ends_with('/') => Ok(uri),
        Some(uri) => Ok(format!("{uri}/")),
        None => bail!(
            "apt on this machine knows no Debian mirror; add one to /etc/apt/sources.list.d and run apt-get update"
        ),
    }
}

/// What Debian's installer would have done: units, fstab, boot menu; and no identity of its own.
fn configure(root: &Path, variant: &Variant) -> Result<String> {
    let layout = Layout::of(variant);
    tool::run(
        Command::new("systemctl")
            .arg(format!("--root={}", root.display()))
            .arg("enable")
            .arg(variant.stack.unit())
            .args(UNITS),
    )?;
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let kernel = kernel_release(root)?;
    write("etc/hostname", "localhost\n")?;
    write("etc/machine-id", "")?;
    write("etc/fstab", &layout.fstab())?;
    write(
        "etc/cloud/cloud.cfg.d/90_lab.cfg",
        &recipe("cloud.cfg").replace("@RENDERER@", variant.stack.renderer()),
    )?;
    write("boot/grub/grub.cfg", &layout.grub_menu(&kernel))?;
    fs::create_dir_all(root.join("boot/efi")).context("cannot create boot/efi")?;
    remove_matching(&root.join("etc/ssh"), "ssh_host_")?;
    remove_matching(&root.join("var/cache/apt/archives"), "")?;
    remove_matching(&root.join("var/lib/apt/lists"), "")?;
    let resolv = root.join("etc/resolv.conf");
    if resolv.symlink_metadata().is_ok() {
        fs::remove_file(&resolv).context("cannot replace resolv.conf")?;
    }
    match variant.stack {
        Stack::Networkd | Stack::Netplan => {
            symlink("/run/systemd/resolve/resolv.conf", &resolv).context("cannot link resolv.conf")?;
        }
        // Both write the file themselves.
        Stack::Ifupdown => write(
            "etc/network/interfaces",
            "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n",
        )?,
        Stack::NetworkManager => {}
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).context("cannot open the root folder")?;
    Ok(kernel)
}

fn kernel_release(root: &Path) -> Result<String> {
    let mut releases: Vec<String> = fs::read_dir(root.join("boot"))
        .context("the root file system has no /boot")?
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_prefix("vmlinuz-")
                .map(str::to_owned)
        })
        .collect();
    releases.sort();
    releases
        .pop()
        .context("the root file system has no kernel in /boot")
}

fn remove_matching(folder: &Path, prefix: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        let named = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        if named && path.is_file() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_releases_pack_their_modules() {
        let module = "/lib/modules/*/kernel/drivers/net/virtio_net.ko";
        assert_eq!(packed(Release::Bookworm, module), module);
        assert_eq!(packed(Release::Trixie, module), format!("/usr{module}*"));
        assert_eq!(packed(Release::Trixie, "/usr/share/doc/*"), "/usr/share/doc/*");
    }
}
