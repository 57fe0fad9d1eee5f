//! File systems of the image: told apart by their magic, mounted, grown while mounted.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::FileExt as _},
    path::Path,
};

use crate::sys::grow;

/// What can be mounted and edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT, of an EFI system partition.
    Vfat,
}

impl FileSystem {
    /// Name for mount(2).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
        }
    }

    /// Options that keep a read-only mount from writing (a journal is not replayed), and that let a copy be mounted
    /// whose UUID another disk has too.
    #[must_use]
    pub fn options(self, read_only: bool) -> &'static str {
        match (self, read_only) {
            (Self::Ext4, true) => "noload",
            (Self::Xfs, true) => "norecovery,nouuid",
            (Self::Xfs, false) => "nouuid",
            (Self::Btrfs, true) => "rescue=nologreplay",
            (Self::Ext4 | Self::Btrfs | Self::Vfat, _) => "",
        }
    }
}

/// Tells the file system of a device by its superblock.
///
/// # Errors
/// When the device can't be read.
pub fn probe(device: &File) -> io::Result<Option<FileSystem>> {
    let mut head = [0; 4096];
    if !read_at(device, &mut head, 0)? {
        return Ok(None);
    }
    if head[..4] == *b"XFSB" {
        return Ok(Some(FileSystem::Xfs));
    }
    if head[1024 + 56..1024 + 58] == [0x53, 0xef] {
        return Ok(Some(FileSystem::Ext4));
    }
    if head[510..512] == [0x55, 0xaa] && (head[54..57] == *b"FAT" || head[82..85] == *b"FAT") {
        return Ok(Some(FileSystem::Vfat));
    }
    let mut btrfs = [0; 8];
    Ok((read_at(device, &mut btrfs, (64 << 10) + 64)? && btrfs == *b"_BHRfS_M").then_some(FileSystem::Btrfs))
}

/// Grows a mounted file system to the size of its device.
///
/// # Errors
/// When the kernel refuses; the file system is as it was.
pub fn grow_mounted(
    system: FileSystem,
    device: &File,
    size_bytes: u64,
    mount_point: &Path,
) -> io::Result<()> {
    let root = File::open(mount_point)?;
    match system {
        FileSystem::Ext4 => {
            let mut shift = [0; 4];
            device.read_exact_at(&mut shift, 1024 + 24)?;
            let shift = u32::from_le_bytes(shift);
            let block = 1024_u64.checked_shl(shift).filter(|block| *block <= 65536);
            let block = block.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the block size is out of range")
            })?;
            grow::ext4(root.as_fd(), size_bytes / block)
        }
        FileSystem::Xfs => {
            let mut head = [0; 128];
            device.read_exact_at(&mut head, 0)?;
            let block = u64::from(u32::from_be_bytes([head[4], head[5], head[6], head[7]])).max(512);
            grow::xfs(root.as_fd(), size_bytes / block, u32::from(head[127]))
        }
        FileSystem::Btrfs => grow::btrfs(root.as_fd()),
        FileSystem::Vfat => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// False when the device ends before.
fn read_at(device: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match device.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
