//! A disk that is to be wiped: its bytes, what it can do by itself, and where a system would see it.

use std::{
    fs::{self, File},
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use imprint_proto::agent::v1::{DiskContent, Transport};
use nix::libc;

use super::{
    ata::{Ata, AtaPort},
    fault::WipeFault,
    firmware::Firmware,
    nvme::{Nvme, NvmePort},
};
use crate::{
    inventory,
    sys::{self, ata, nvme::Admin},
    target::{self, OpenError, Target},
};

/// A disk, claimed.
#[derive(Debug)]
pub struct Device {
    /// Its bytes.
    pub target: Arc<dyn Target>,
    /// Unset for one that can't erase itself.
    pub firmware: Option<Box<dyn Firmware>>,
    /// Its device file; unset for a disk of a test.
    pub path: Option<PathBuf>,
}

impl Device {
    /// Claims the disk or file at `path`. Only NVMe and SATA disks are asked what they can do by themselves.
    ///
    /// # Errors
    /// When it is in use, read-only, or nothing that can be wiped.
    pub fn open(path: &Path, transport: Transport) -> Result<Self, WipeFault> {
        // A disk that is gone must not become a file.
        fs::metadata(path).map_err(|source| OpenError::Open {
            path: path.to_owned(),
            source,
        })?;
        let target = target::open(path, None, None)?;
        let port = Port(Arc::clone(&target));
        let firmware: Option<Box<dyn Firmware>> = match transport {
            Transport::Nvme => Some(Box::new(Nvme(port))),
            Transport::Sata => Some(Box::new(Ata(port))),
            _ => None,
        };
        Ok(Device {
            target,
            firmware,
            path: Some(path.to_owned()),
        })
    }

    /// Drops what the kernel remembers of the content: the disk has changed it by itself.
    pub(super) fn forget_cache(&self) {
        if let Some(direct) = self.target.direct()
            && let Err(error) = sys::block::flush_page_cache(direct.file)
            && error.raw_os_error() != Some(libc::ENOTTY)
        {
            tracing::warn!(%error, "the kernel keeps its cache of a wiped disk");
        }
    }

    /// What a system would recognise; none for a disk of a test.
    pub(super) fn signatures(&self) -> Result<Vec<DiskContent>, WipeFault> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        let look = |cause: String| WipeFault::Look { cause };
        let file = File::open(path).map_err(|error| look(error.to_string()))?;
        let sector = u64::from(self.target.logical_block().get());
        inventory::signatures(&file, self.target.len(), sector)
            .ok_or_else(|| look("its first sector cannot be read".to_owned()))
    }

    /// Start and end in bytes of each partition that it has or had.
    pub(super) fn partitions(&self) -> Vec<(u64, u64)> {
        let Some(Ok(file)) = self.path.as_ref().map(File::open) else {
            return Vec::new();
        };
        let sector = u64::from(self.target.logical_block().get());
        let found = inventory::partitions_of(&file, self.target.len(), sector);
        found
            .into_iter()
            .map(|(start, size)| (start, start + size))
            .collect()
    }
}

/// Commands through the file by which the disk is claimed.
#[derive(Debug)]
struct Port(Arc<dyn Target>);

impl Port {
    fn file(&self) -> io::Result<BorrowedFd<'_>> {
        let direct = self.0.direct().ok_or(io::ErrorKind::Unsupported)?;
        Ok(direct.file)
    }
}

impl NvmePort for Port {
    fn namespace(&self) -> io::Result<u32> {
        sys::nvme::namespace(self.file()?)
    }

    fn admin(&self, command: &Admin, data: &mut [u8]) -> io::Result<u16> {
        sys::nvme::admin(self.file()?, command, data)
    }
}

impl AtaPort for Port {
    fn command(&self, command: u8, data: ata::Data<'_>, timeout: Duration) -> io::Result<ata::Answer> {
        ata::command(self.file()?, command, data, timeout)
    }
}
