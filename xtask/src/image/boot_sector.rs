//! GRUB for BIOS, put in place the way grub-bios-setup does it: boot.img into the first sector, the core image behind
//! it in its own partition, and the two places that say where the core image lies.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

const SECTOR: usize = 512;
/// Boot code ends where the disk signature and the partition table begin.
const BOOT_CODE: usize = 440;
/// Where boot.img keeps the first sector of the core image.
const KERNEL_SECTOR: usize = 0x5c;
/// A jump in boot.img that grub-bios-setup blanks so that the BIOS's drive number is trusted.
const BOOT_DRIVE_CHECK: usize = 0x66;
/// The block list at the end of the core image's first sector.
const BLOCK_LIST: usize = 0x1f4;
/// Memory segment the rest of the core image is loaded to.
const LOAD_SEGMENT: u16 = 0x820;

/// Writes boot code and core image; the core image lies at `core_offset`.
pub fn install(disk: &File, boot: &[u8], core: &[u8], core_offset: u64) -> Result<()> {
    ensure!(boot.len() == SECTOR, "GRUB's boot.img is not one sector long");
    ensure!(core.len() > SECTOR, "GRUB's core image is too short");
    let first = core_offset / SECTOR as u64;
    let rest = u16::try_from(core.len().div_ceil(SECTOR) - 1).context("GRUB's core image is too long")?;

    let mut boot = boot.to_vec();
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&first.to_le_bytes());
    boot[BOOT_DRIVE_CHECK..BOOT_DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    disk.write_all_at(&boot[..BOOT_CODE], 0)
        .context("cannot write the boot code")?;
    disk.write_all_at(&[0x55, 0xaa], 510)
        .context("cannot write the boot signature")?;

    let mut core = core.to_vec();
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(first + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    core[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&LOAD_SEGMENT.to_le_bytes());
    disk.write_all_at(&core, core_offset)
        .context("cannot write the core image")
}
