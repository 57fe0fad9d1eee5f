//! The CD of the ramdisk, for servers whose network has no PXE: kernel and ramdisk, GRUB for BIOS, shim and Debian's signed
//! GRUB for UEFI, and two areas that the controller fills for each server as it hands the CD out.
//!
//! The areas are files of their own, and `media.json` beside the CD says where they are. On a CD that nobody has filled they
//! are comments, so that GRUB says what is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::tool;

/// What shim and GRUB are called on the build machine.
const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
const GRUB_EFI: &str = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
/// Of the file system that UEFI loads GRUB from.
const EFI_KIB: &str = "8192";
/// Sectors of CDs.
const SECTOR: usize = 2048;
/// Name and size of the areas: the identity initrd, and what GRUB does.
const AREAS: [(&str, usize); 2] = [("identity.img", 64 << 10), ("node.cfg", 16 << 10)];
/// Where all of it is.
const FOLDER: &str = "imprint";

/// The same for all servers: where it is, what it boots, and what is wrong with it otherwise.
const MENU: &str = "set timeout=0
source /imprint/node.cfg
echo \"Imprint: this CD was not made for a server; the controller makes one for each (imprint node set-bmc --boot cd)\"
sleep 30
exit
";
/// Wherever GRUB was loaded from, it goes on from the CD.
const EARLY: &str = "search --no-floppy --file --set=root /imprint/node.cfg
set prefix=($root)/boot/grub
source /boot/grub/grub.cfg
";
/// What GRUB for BIOS has to know; that for UEFI has all it needs.
const MODULES: [&str; 13] = [
    "biosdisk",
    "iso9660",
    "search",
    "search_fs_file",
    "normal",
    "configfile",
    "linux",
    "gzio",
    "echo",
    "test",
    "sleep",
    "serial",
    "terminal",
];

/// Makes the CD from kernel and initrds; answers it and its layout as JSON. `work` is scratch.
pub fn make(vmlinuz: &Path, initrd: &Path, rescue: &Path, work: &Path, out: &Path) -> Result<Vec<u8>> {
    let tree = work.join("tree");
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    for folder in [FOLDER, "boot/grub", "EFI/debian"] {
        fs::create_dir_all(tree.join(folder)).with_context(|| format!("cannot create {folder}"))?;
    }
    let write = |place: &str, data: &[u8]| {
        fs::write(tree.join(place), data).with_context(|| format!("cannot write {place}"))
    };
    for (name, bytes) in AREAS {
        write(&format!("{FOLDER}/{name}"), &empty(name, bytes))?;
    }
    for (from, name) in [
        (vmlinuz, "vmlinuz"),
        (initrd, "initrd.img"),
        (rescue, "rescue.img"),
    ] {
        let to = tree.join(FOLDER).join(name);
        fs::hard_link(from, &to)
            .or_else(|_| fs::copy(from, &to).map(drop))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    write("boot/grub/grub.cfg", MENU.as_bytes())?;
    // Where the signed GRUB looks, as the firmware lets it see the CD.
    write("EFI/debian/grub.cfg", EARLY.as_bytes())?;
    bios(&tree, work)?;
    uefi(&tree, work)?;
    let iso = work.join("media.iso");
    tool::run(
        Command::new("xorriso")
            .args(["-no_rc", "-as", "mkisofs", "-quiet", "-r", "-V", "IMPRINT"])
            .args([
                "-b",
                "boot/grub/bios.img",
                "-no-emul-boot",
                "-boot-load-size",
                "4",
            ])
            .args(["-boot-info-table", "--grub2-boot-info", "-eltorito-alt-boot"])
            .args(["-e", "boot/grub/efi.img", "-no-emul-boot", "-o"])
            .args([&iso, &tree])
            // The same inputs make the same CD.
            .env("SOURCE_DATE_EPOCH", "1700000000"),
    )
    .context("cannot make the CD of the ramdisk")?;
    let layout = layout(&iso)?;
    fs::rename(&iso, out).with_context(|| format!("cannot write {}", out.display()))?;
    fs::remove_dir_all(work).with_context(|| format!("cannot remove {}", work.display()))?;
    serde_json::to_vec_pretty(&layout).context("cannot encode the layout of the CD")
}

/// An area that nobody has filled: comments to GRUB.
fn empty(name: &str, bytes: usize) -> Vec<u8> {
    let line = format!("# area of {name}, for the controller to fill\n");
    line.bytes().cycle().take(bytes - 1).chain(*b"\n").collect()
}

fn bios(tree: &Path, work: &Path) -> Result<()> {
    let early = work.join("early.cfg");
    fs::write(&early, EARLY).context("cannot write GRUB's early configuration")?;
    tool::run(
        Command::new("grub-mkimage")
            .args(["-O", "i386-pc-eltorito", "-p", "/boot/grub", "-o"])
            .arg(tree.join("boot/grub/bios.img"))
            .arg("-c")
            .arg(early)
            .args(MODULES),
    )
}

fn uefi(tree: &Path, work: &Path) -> Result<()> {
    let system = tree.join("boot/grub/efi.img");
    // Its serial number would be the time.
    let mut format = Command::new("mkfs.vfat");
    format.args(["-i", "494d5052", "-n", "IMPRINT", "-C"]);
    tool::run(format.arg(&system).arg(EFI_KIB))?;
    let early = work.join("early.cfg").display().to_string();
    let mtool = |name: &str| {
        let mut command = Command::new(name);
        command
            .env("MTOOLS_SKIP_CHECK", "1")
            .env("SOURCE_DATE_EPOCH", "1700000000");
        command.arg("-i").arg(&system);
        command
    };
    tool::run(mtool("mmd").args(["::/EFI", "::/EFI/BOOT", "::/EFI/debian"]))?;
    for (file, place) in [
        (SHIM, "::/EFI/BOOT/BOOTX64.EFI"),
        (GRUB_EFI, "::/EFI/BOOT/grubx64.efi"),
        (early.as_str(), "::/EFI/debian/grub.cfg"),
    ] {
        tool::run(mtool("mcopy").args([file, place]))?;
    }
    Ok(())
}

/// Finds the areas: each is in one piece, as files on CDs are.
fn layout(iso: &Path) -> Result<Value> {
    let content = fs::read(iso).with_context(|| format!("cannot read {}", iso.display()))?;
    let mut areas = Map::new();
    for (name, bytes) in AREAS {
        let wanted = empty(name, bytes);
        let mut places = (0..content.len())
            .step_by(SECTOR)
            .filter(|at| content[*at..].starts_with(&wanted));
        let offset = places
            .next()
            .with_context(|| format!("the CD has no area for {name}"))?;
        ensure!(places.next().is_none(), "the CD has several areas for {name}");
        areas.insert(name.to_owned(), json!({ "offset": offset, "bytes": bytes }));
    }
    Ok(json!({ "version": 1, "bytes": content.len(), "areas": areas }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_that_nobody_has_filled_is_a_comment() {
        for (name, bytes) in AREAS {
            let text = String::from_utf8(empty(name, bytes)).unwrap();
            assert_eq!(text.len(), bytes);
            assert!(
                text.ends_with('\n') && text.lines().all(|line| line.is_empty() || line.starts_with('#'))
            );
        }
    }
}
