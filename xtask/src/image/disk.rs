//! The disk around the root folder: partition table, GRUB for BIOS, EFI system partition, file systems. What needs no mount is
//! made in files and copied to its place.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::layout::{CORE_AT, CORE_MIB, ESP_AT, ESP_MIB, Layout, MIB};
use super::variant::Variant;
use super::{boot_sector, file_system};
use crate::tool;

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

/// Assembles the disk; answers its size in bytes. The root folder may not be as it was afterwards.
pub fn assemble(root: &Path, variant: &Variant, work: &Path, out: &Path) -> Result<u64> {
    let layout = Layout::of(variant);
    let size = layout.size();
    let disk = File::options().create_new(true).read(true).write(true).open(out);
    let disk = disk.with_context(|| format!("cannot create {}", out.display()))?;
    disk.set_len(size).context("cannot size the disk")?;
    partition(out, &layout)?;
    let core = core_image(&layout, work)?;
    ensure!(
        core.len() as u64 <= CORE_MIB * MIB,
        "GRUB's core image does not fit its partition"
    );
    boot_sector::install(&disk, &fs::read(GRUB_BOOT).context(GRUB_BOOT)?, &core, CORE_AT)?;
    copy_sparse(&esp(&layout, work)?, &disk, ESP_AT)?;
    file_system::make(root, variant, work, out, &disk)?;
    disk.sync_all().context("cannot flush the disk image")?;
    Ok(size)
}

fn partition(disk: &Path, layout: &Layout) -> Result<()> {
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(disk)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start sfdisk")?;
    let mut input = sfdisk.stdin.take().context("sfdisk has no input")?;
    input
        .write_all(layout.partitions().as_bytes())
        .context("cannot tell sfdisk the partitions")?;
    drop(input);
    let status = sfdisk.wait().context("cannot wait for sfdisk")?;
    ensure!(status.success(), "sfdisk failed: {status}");
    Ok(())
}

fn core_image(layout: &Layout, work: &Path) -> Result<Vec<u8>> {
    let early = work.join("early.cfg");
    let core = work.join("core.img");
    fs::write(&early, layout.grub_early()).context("cannot write GRUB's early configuration")?;
    let mut command = Command::new("grub-mkimage");
    command
        .args(["-O", "i386-pc", "-p", "/boot/grub", "-o"])
        .arg(&core)
        .arg("-c")
        .arg(&early)
        .args(GRUB_MODULES)
        .args(layout.grub_modules());
    tool::run(&mut command)?;
    fs::read(&core).context("cannot read GRUB's core image")
}

fn esp(layout: &Layout, work: &Path) -> Result<PathBuf> {
    let esp = work.join("esp");
    let kib = (ESP_MIB * 1024).to_string();
    tool::run(
        Command::new("mkfs.vfat")
            .args(["-F", "32"])
            .args(layout.esp_names())
            .arg("-C")
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
    fs::write(&stub, layout.grub_early()).context("cannot write GRUB's stub")?;
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

/// Copies a file into the disk at an offset and leaves zeros out.
pub fn copy_sparse(from: &Path, disk: &File, offset: u64) -> Result<()> {
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
