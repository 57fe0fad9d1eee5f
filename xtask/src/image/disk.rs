//! The disk around the root folder: p1 GRUB's core image for BIOS, p2 EFI system partition, p3 root, last so that it
//! can grow. Nothing is mounted: file systems are made in files and copied to their place.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{boot_sector, recipe};
use crate::tool;

const MIB: u64 = 1 << 20;
const CORE_MIB: u64 = 1;
const ESP_MIB: u64 = 64;
/// Where the root file system begins.
pub const ROOT_AT_MIB: u64 = 1 + CORE_MIB + ESP_MIB;

const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const GRUB_EFI: &str = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
const GRUB_BOOT: &str = "/usr/lib/grub/i386-pc/boot.img";
const GRUB_MODULES: &[&str] = &[
    "biosdisk",
    "part_gpt",
    "ext2",
    "search",
    "search_label",
    "search_fs_uuid",
    "configfile",
    "normal",
    "linux",
    "gzio",
    "echo",
    "test",
    "ls",
    "boot",
    "serial",
    "terminal",
    "minicmd",
];

/// Assembles the disk; answers its size in bytes.
pub fn assemble(root: &Path, root_mib: u64, work: &Path, out: &Path) -> Result<u64> {
    // One MiB at the end is for the backup partition table.
    let size = (ROOT_AT_MIB + root_mib + 1) * MIB;
    let disk = File::options().create_new(true).read(true).write(true).open(out);
    let disk = disk.with_context(|| format!("cannot create {}", out.display()))?;
    disk.set_len(size).context("cannot size the disk")?;
    partition(out, root_mib)?;
    let core = core_image(work)?;
    ensure!(
        core.len() as u64 <= CORE_MIB * MIB,
        "GRUB's core image does not fit its partition"
    );
    boot_sector::install(&disk, &fs::read(GRUB_BOOT).context(GRUB_BOOT)?, &core, MIB)?;
    copy_sparse(&esp(work)?, &disk, 2 * MIB)?;
    root_file_system(root, root_mib, out)?;
    disk.sync_all().context("cannot flush the disk image")?;
    Ok(size)
}

fn partition(disk: &Path, root_mib: u64) -> Result<()> {
    let table = recipe("partitions.sfdisk").replace("@ROOT_MIB@", &root_mib.to_string());
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start sfdisk")?;
    let mut input = sfdisk.stdin.take().context("sfdisk has no input")?;
    input
        .write_all(table.as_bytes())
        .context("cannot tell sfdisk the partitions")?;
    drop(input);
    let status = sfdisk.wait().context("cannot wait for sfdisk")?;
    ensure!(status.success(), "sfdisk failed: {status}");
    Ok(())
}

fn core_image(work: &Path) -> Result<Vec<u8>> {
    let early = work.join("early.cfg");
    let core = work.join("core.img");
    fs::write(&early, recipe("grub-early.cfg")).context("cannot write GRUB's early configuration")?;
    let mut command = Command::new("grub-mkimage");
    command
        .args(["-O", "i386-pc", "-p", "/boot/grub", "-o"])
        .arg(&core)
        .arg("-c")
        .arg(&early)
        .args(GRUB_MODULES);
    tool::run(&mut command)?;
    fs::read(&core).context("cannot read GRUB's core image")
}

fn esp(work: &Path) -> Result<PathBuf> {
    let esp = work.join("esp");
    let kib = (ESP_MIB * 1024).to_string();
    tool::run(
        Command::new("mkfs.vfat")
            .args(["-F", "32", "-n", "ESP", "-C"])
            .arg(&esp)
            .arg(kib),
    )?;
    let mtool = |name: &str| {
        let mut command = Command::new(name);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(&esp);
        command
    };
    tool::run(mtool("mmd").args(["::/EFI", "::/EFI/BOOT", "::/EFI/debian"]))?;
    let stub = work.join("stub.cfg");
    fs::write(&stub, recipe("grub-early.cfg")).context("cannot write GRUB's stub")?;
    let stub = stub.display().to_string();
    for (file, place) in [
        (SHIM, "::/EFI/BOOT/BOOTX64.EFI"),
        (SHIM, "::/EFI/debian/shimx64.efi"),
        (GRUB_EFI, "::/EFI/BOOT/grubx64.efi"),
        (GRUB_EFI, "::/EFI/debian/grubx64.efi"),
        (stub.as_str(), "::/EFI/debian/grub.cfg"),
    ] {
        tool::run(mtool("mcopy").args([file, place]))?;
    }
    Ok(esp)
}

/// Makes the file system at its place in the disk.
fn root_file_system(root: &Path, root_mib: u64, disk: &Path) -> Result<()> {
    let options = format!(
        "root_owner=0:0,lazy_itable_init=1,nodiscard,offset={}",
        ROOT_AT_MIB * MIB
    );
    let mut command = Command::new("mke2fs");
    command
        .args([
            "-q", "-F", "-t", "ext4", "-L", "rootfs", "-m", "1", "-E", &options, "-d",
        ])
        .arg(root)
        .arg(disk)
        .arg(format!("{root_mib}M"));
    tool::run(&mut command)
}

/// Copies a file into the disk at an offset and leaves zeros out.
fn copy_sparse(from: &Path, disk: &File, offset: u64) -> Result<()> {
    let mut file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    let mut block = vec![0u8; 64 << 10];
    let mut position = 0u64;
    file.seek(SeekFrom::Start(0)).context("cannot rewind")?;
    loop {
        let read = file
            .read(&mut block)
            .with_context(|| format!("cannot read {}", from.display()))?;
        if read == 0 {
            return Ok(());
        }
        if block[..read].iter().any(|byte| *byte != 0) {
            disk.write_all_at(&block[..read], offset + position)
                .context("cannot write the disk image")?;
        }
        position += read as u64;
    }
}
