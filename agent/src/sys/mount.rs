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

/// Undoes mounts that an agent which was killed has left at a folder, those below it first.
///
/// # Errors
/// When something uses it still.
pub fn clear(point: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescaped)
        .filter(|mounted| mounted.starts_with(point) && mounted != point);
    // The newest stands last.
    for mounted in below.collect::<Vec<_>>().iter().rev() {
        umount2(mounted, MntFlags::UMOUNT_NOFOLLOW)?;
    }
    loop {
        match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A path of mountinfo: blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let letter = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match letter {
            Some(letter) => {
                path.push(char::from(letter));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mountinfo_are_read() {
        for (text, path) in [
            ("/a/b", "/a/b"),
            (r"/a\040b\134c", r"/a b\c"),
            (r"/a\9", r"/a\9"),
            ("", ""),
        ] {
            assert_eq!(unescaped(text), Path::new(path), "{text}");
        }
    }
}
