//! Mounts that end with their value.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

/// A mount; it is undone when the value goes.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts a device so that nothing on it can be run or taken for a device.
    ///
    /// # Errors
    /// When the kernel can't mount it.
    pub fn new(
        device: &Path,
        point: &Path,
        system: &str,
        options: &str,
        read_only: bool,
    ) -> io::Result<Self> {
        fs::create_dir_all(point)?;
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        flags.set(MsFlags::MS_RDONLY, read_only);
        mount(Some(device), point, Some(system), flags, Some(options))?;
        Ok(Self {
            point: point.to_path_buf(),
            mounted: true,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Unmounts, with all written back to the device.
    ///
    /// # Errors
    /// When something uses it still.
    pub fn unmount(mut self) -> io::Result<()> {
        self.mounted = false;
        umount2(&self.point, MntFlags::UMOUNT_NOFOLLOW)?;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = umount2(&self.point, MntFlags::UMOUNT_NOFOLLOW)
        {
            tracing::warn!(mount = %self.point.display(), %error, "cannot unmount");
        }
    }
}

/// Mounts a kernel file system (efivarfs) at a folder.
///
/// # Errors
/// When the kernel can't mount it.
pub fn mount_kernel(system: &str, point: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(system), point, Some(system), flags, None::<&str>)?;
    Ok(())
}

/// Undoes mounts that an agent which was killed has left at a folder.
///
/// # Errors
/// When something uses it still.
pub fn clear(point: &Path) -> io::Result<()> {
    loop {
        match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
