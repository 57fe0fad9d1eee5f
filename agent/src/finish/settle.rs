//! Waiting until the kernel shows the partitions that the table on the disk has.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    libc,
};

use super::{
    FinishError, Places, WrittenDisk,
    table::{Partition, Scheme, Table},
};
use crate::sys::reread;

const PATIENCE: Duration = Duration::from_secs(15);
/// The kernel reads the table while it is asked to; what it doesn't show then it doesn't know.
const KERNEL_KNOWS_BY: Duration = Duration::from_millis(300);
const VANISHED_FOR: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(40);

/// A partition as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNode {
    /// Its number in the table; 0 for a whole disk without a table.
    pub number: u32,
    /// Its device file.
    pub path: PathBuf,
    /// Its first byte on the disk.
    pub first_byte: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// Keeps udev's hands off the disk: it takes a shared lock before it opens one, and would re-read the table itself
/// and make partitions vanish for a moment.
///
/// # Errors
/// When the disk can't be opened.
pub fn lock(disk: &Path) -> io::Result<Option<Flock<File>>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut file = File::open(disk)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((back, _)) if Instant::now() < deadline => file = back,
            Err(_) => return Ok(None), // it only avoids retries
        }
        pause();
    }
}

/// Opens the disk for a change of its table, alone.
///
/// # Errors
/// When somebody uses it.
pub fn open_exclusive(disk: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_EXCL | libc::O_CLOEXEC)
            .open(disk)
    };
    retry_busy(open)
}

/// Makes the kernel read the table again.
///
/// # Errors
/// When a partition stays in use.
pub fn reread(disk: &File) -> io::Result<()> {
    retry_busy(|| reread::partitions(disk.as_fd()))
}

/// Waits until every partition of the table is there, as large as the table says, with its device file. A kernel
/// that was built without the table's format shows nothing by itself and is told.
///
/// # Errors
/// When it doesn't come.
pub fn wait(
    places: &Places,
    disk: &WrittenDisk,
    device: &File,
    table: &Table,
) -> Result<Vec<PartitionNode>, FinishError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let nodes =
            list(&places.sys, &places.dev, &disk.name).map_err(|source| FinishError::Settle { source })?;
        let missing: Vec<&Partition> = table
            .partitions
            .iter()
            .filter(|wanted| !is_there(wanted, &nodes, table, disk.sector_bytes))
            .collect();
        let Some(first) = missing.first() else {
            return Ok(nodes);
        };
        if began.elapsed() > PATIENCE {
            return Err(FinishError::PartitionMissing {
                number: first.number,
                seconds: PATIENCE.as_secs(),
            });
        }
        if nodes.is_empty() && !told && began.elapsed() > KERNEL_KNOWS_BY {
            told = true;
            for partition in missing {
                let (start, length) = (
                    partition.first_lba.saturating_mul(disk.sector_bytes),
                    partition.blocks.saturating_mul(disk.sector_bytes),
                );
                if let Err(error) = reread::add_partition(device.as_fd(), partition.number, start, length) {
                    tracing::warn!(partition = partition.number, %error, "the kernel does not take a partition");
                }
            }
        }
        pause();
    }
}

fn is_there(wanted: &Partition, nodes: &[PartitionNode], table: &Table, sector: u64) -> bool {
    nodes.iter().any(|node| {
        node.number == wanted.number
            && node.first_byte == wanted.first_lba.saturating_mul(sector)
            // The kernel shows an extended partition of an MBR as one of 1 KiB.
            && (table.scheme != Scheme::Gpt || node.size_bytes == wanted.blocks.saturating_mul(sector))
            && fs::metadata(&node.path).is_ok_and(|file| file.file_type().is_block_device())
    })
}

/// The kernel's partitions of a disk, by number.
fn list(sys: &Path, dev: &Path, disk: &str) -> io::Result<Vec<PartitionNode>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(sys.join("class/block").join(disk))? {
        let folder = entry?;
        // A partition may go while it is looked at.
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(folder.path().join(name))
                .ok()
                .and_then(|text| text.trim().parse().ok())
        };
        let (Some(index), Some(start), Some(size)) = (number("partition"), number("start"), number("size"))
        else {
            continue;
        };
        nodes.push(PartitionNode {
            number: u32::try_from(index).unwrap_or(0),
            path: dev.join(folder.file_name()),
            first_byte: start.saturating_mul(512),
            size_bytes: size.saturating_mul(512),
        });
    }
    nodes.sort_by_key(|node| node.number);
    Ok(nodes)
}

fn retry_busy<T>(action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry(action, PATIENCE, &[libc::EBUSY])
}

/// Does something with a partition that may be away for a moment.
///
/// # Errors
/// When it stays away, and for any other reason at once.
pub fn retry_vanished<T>(action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry(
        action,
        VANISHED_FOR,
        &[libc::ENOENT, libc::ENXIO, libc::ENODEV, libc::EBUSY],
    )
}

fn retry<T>(mut action: impl FnMut() -> io::Result<T>, patience: Duration, passing: &[i32]) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match action() {
            Err(error)
                if error.raw_os_error().is_some_and(|code| passing.contains(&code))
                    && began.elapsed() < patience =>
            {
                pause();
            }
            result => return result,
        }
    }
}

/// A short rest of a thread that holds nothing but its turn; every loop around it has a deadline.
fn pause() {
    let (_open, wake) = mpsc::channel::<()>();
    wake.recv_timeout(PAUSE).unwrap_or_default();
}
