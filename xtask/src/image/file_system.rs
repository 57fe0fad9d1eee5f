//! The root folder as a file system at its place in the disk. ext4 is made where it belongs, without a mount. XFS and btrfs
//! are filled through a mount that nobody else sees, in a mount namespace that goes with the shell. A logical volume needs no
//! device mapper: LVM's own tools write its metadata through a loop device, and the file system is made where the volume lies.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::disk::copy_sparse;
use super::layout::{self, BOOT_UUID, Layout, MIB, ROOT_UUID, SUBVOLUMES};
use super::variant::{Root, Variant};
use crate::tool;

/// What makes the file systems of some variants, and is not needed otherwise: one package a line, then anything.
pub fn packages(root: Root) -> &'static str {
    match root {
        Root::Ext4 => "",
        Root::Xfs => "xfsprogs",
        Root::Btrfs => "btrfs-progs",
        Root::Lvm => "lvm2",
    }
}

/// Makes the file systems of `/boot`, if it has one, and of the root.
pub fn make(root: &Path, variant: &Variant, work: &Path, out: &Path, disk: &File) -> Result<()> {
    let layout = Layout::of(variant);
    if let Some((start, mib)) = layout.boot() {
        let boot = set_apart(root, "boot", work)?;
        let names = ["-L", layout.boot_label(), "-U", BOOT_UUID];
        ext4(&boot, out, start, mib * 1024, &names)?;
    }
    let (start, mib) = (layout.root_at(), variant.root_mib);
    let label = layout.root_label();
    let by_uuid = ["-L", label, "-U", ROOT_UUID];
    let names = if variant.by_uuid {
        &by_uuid[..]
    } else {
        &by_uuid[..2]
    };
    match variant.root {
        Root::Ext4 => ext4(root, out, start, mib * 1024, names),
        Root::Lvm => {
            let volume = logical_volume(out, start, mib, work)?;
            ext4(root, out, volume.start, volume.bytes / 1024, names)
        }
        Root::Xfs => {
            let file = empty_file(work, mib)?;
            let uuid = format!("uuid={ROOT_UUID}");
            tool::run(
                Command::new("mkfs.xfs")
                    .args(["-q", "-L", label, "-m", &uuid])
                    .arg(&file),
            )?;
            fill(&file, root, work, "cp -a \"$root/.\" .")?;
            copy_sparse(&file, disk, start)
        }
        Root::Btrfs => {
            let file = empty_file(work, mib)?;
            tool::run(
                Command::new("mkfs.btrfs")
                    .args(["-q", "-L", label, "-U", ROOT_UUID])
                    .arg(&file),
            )?;
            let mut script = String::new();
            for (name, place) in SUBVOLUMES.iter().rev() {
                // From the innermost out: what was moved is not copied with the root again.
                script.push_str(&format!(
                    "btrfs subvolume create {name} >/dev/null\ncp -a \"$root{place}/.\" {name}\n\
                     if test {place} != /; then find \"$root{place}\" -mindepth 1 -delete; fi\n"
                ));
            }
            fill(&file, root, work, &script)?;
            copy_sparse(&file, disk, start)
        }
    }
}

/// Moves what is in a folder of the root to a place of its own; the folder stays as a place to mount it.
fn set_apart(root: &Path, name: &str, work: &Path) -> Result<PathBuf> {
    let (from, to) = (root.join(name), work.join(name));
    fs::rename(&from, &to).with_context(|| format!("cannot set {name} apart"))?;
    fs::create_dir(&from).with_context(|| format!("cannot create {name}"))?;
    Ok(to)
}

/// Makes an ext4 at its place in the disk.
fn ext4(content: &Path, disk: &Path, start: u64, kib: u64, names: &[&str]) -> Result<()> {
    let options = format!("root_owner=0:0,lazy_itable_init=1,nodiscard,offset={start}");
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-m", "1", "-E", &options])
        .args(names)
        .arg("-d")
        .arg(content)
        .arg(disk)
        .arg(format!("{kib}k"));
    tool::run(&mut command)
}

fn empty_file(work: &Path, mib: u64) -> Result<PathBuf> {
    let path = work.join("root.file-system");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.set_len(mib * MIB).context("cannot size the file system")?;
    Ok(path)
}

/// Runs a script in the mounted file system; `$root` is the folder that it is filled from.
fn fill(file: &Path, root: &Path, work: &Path, script: &str) -> Result<()> {
    let place = work.join("mounted");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let script =
        format!("set -eu\nroot=$1\nmount -o loop \"$2\" \"$3\"\ncd \"$3\"\n{script}\ncd /\numount \"$3\"\n");
    let mut shell = Command::new("unshare");
    shell
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .arg(root)
        .arg(file)
        .arg(&place);
    tool::run(&mut shell)
}

/// Where a logical volume lies in the disk.
struct Volume {
    start: u64,
    bytes: u64,
}

/// Writes the metadata of a volume group with one volume that takes all of it.
fn logical_volume(disk: &Path, start: u64, mib: u64, work: &Path) -> Result<Volume> {
    let looped = Loop::attach(disk, start, mib * MIB)?;
    let system = work.join("lvm");
    fs::create_dir_all(&system).context("cannot create LVM's folder")?;
    // Nothing but the loop device is looked at, and no udev or device mapper is asked.
    let settings = format!(
        "devices {{ filter=[ \"a|^{device}$|\", \"r|.*|\" ] obtain_device_list_from_udev=0 use_devicesfile=0 \
         hints=\"none\" }}\n\
         global {{ locking_type=1 locking_dir=\"{system}\" event_activation=0 use_lvmpolld=0 }}\n\
         activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}\nbackup {{ backup=0 archive=0 }}\n",
        device = looped.device,
        system = system.display()
    );
    fs::write(system.join("lvm.conf"), settings).context("cannot write LVM's settings")?;
    let lvm = |arguments: &[&str]| {
        let mut command = Command::new("lvm");
        command
            .env("LVM_SYSTEM_DIR", &system)
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .args(arguments);
        tool::output(&mut command)
    };
    let device = looped.device.as_str();
    lvm(&["pvcreate", "--driverloaded", "n", "--yes", device])?;
    lvm(&["vgcreate", "--driverloaded", "n", layout::GROUP, device])?;
    lvm(&[
        "lvcreate",
        "--driverloaded",
        "n",
        "--activate",
        "n",
        "--zero",
        "n",
        "--wipesignatures",
        "n",
        "--extents",
        "100%FREE",
        "--name",
        layout::VOLUME,
        layout::GROUP,
    ])?;
    let said = lvm(&[
        "pvs",
        "--driverloaded",
        "n",
        "--segments",
        "--noheadings",
        "--nosuffix",
        "--units",
        "b",
        "--options",
        "pe_start,pvseg_start,vg_extent_size,seg_size,lv_name",
        device,
    ])?;
    let fields: Vec<&str> = said.split_whitespace().collect();
    let [first, extent, extent_size, bytes, name] = fields[..] else {
        bail!("LVM tells of more than one segment: {said}");
    };
    if name != layout::VOLUME {
        bail!("LVM tells of another volume: {said}");
    }
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("LVM said {text}"));
    Ok(Volume {
        start: start + number(first)? + number(extent)? * number(extent_size)?,
        bytes: number(bytes)?,
    })
}

/// A part of a file as a block device, until it is dropped.
struct Loop {
    device: String,
}

impl Loop {
    fn attach(file: &Path, start: u64, bytes: u64) -> Result<Self> {
        let said = tool::output(
            Command::new("losetup")
                .args(["--find", "--show", "--offset", &start.to_string()])
                .args(["--sizelimit", &bytes.to_string()])
                .arg(file),
        )?;
        Ok(Self {
            device: said.trim().to_owned(),
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = tool::run(Command::new("losetup").args(["--detach", &self.device])) {
            eprintln!("image: {error:#}");
        }
    }
}
