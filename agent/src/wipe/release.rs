//! Stopping what holds a disk: logical volumes and other maps, arrays, caches. What is mounted or swapped to is never stopped.
//!
//! Which holders there are, and in which order they go, is read from /sys; they are stopped by ioctls, the topmost first.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use backon::{BlockingRetryable, ConstantBuilder};
use nix::libc;

use crate::sys;

/// Holders of holders of holders: more than this is a circle.
const DEEPEST: usize = 16;

/// A disk is not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is mounted or swap space.
    #[error("{device} is in use: {used_by}")]
    InUse {
        /// The disk, a partition of it, or what is made of them.
        device: String,
        /// By what.
        used_by: String,
    },
    /// Something of a kind that is not known.
    #[error("{holder} holds {device}, and is nothing that can be stopped")]
    Unknown {
        /// The holder.
        holder: String,
        /// What it holds.
        device: String,
    },
    /// It doesn't stop.
    #[error("{holder} cannot be stopped")]
    Stop {
        /// The holder.
        holder: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ReleaseError {
    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "unmount it, or leave the disk alone; it was not touched",
            Self::Unknown { .. } | Self::Stop { .. } => {
                "stop it by hand, or start the server anew over the network; this disk was not touched"
            }
        }
    }
}

/// How a holder is stopped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// By its name in the device mapper.
    Map(String),
    Array,
    Cache,
}

/// Something that holds a disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    name: String,
    kind: Kind,
}

impl Holder {
    /// "dm-0 (vg0-root)", "md127".
    #[must_use]
    pub fn title(&self) -> String {
        match &self.kind {
            Kind::Map(name) => format!("{} ({name})", self.name),
            Kind::Array | Kind::Cache => self.name.clone(),
        }
    }
}

/// What the kernel tells of devices and their use.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    mounts: String,
    swaps: String,
}

impl Tree {
    /// Below `/`, or a tree of a test.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        Tree {
            mounts: text("proc/self/mountinfo"),
            swaps: text("proc/swaps"),
            root: root.to_owned(),
        }
    }

    /// What has to be stopped before a disk is free, the topmost first.
    ///
    /// # Errors
    /// When it is in use, or held by what can't be stopped.
    pub fn holders(&self, disk: &str) -> Result<Vec<Holder>, ReleaseError> {
        let mut order = Vec::new();
        self.climb(disk, DEEPEST, &mut order)?;
        let mut seen = BTreeSet::new();
        order.retain(|holder: &Holder| seen.insert(holder.clone()));
        Ok(order)
    }

    /// The holders of a device and its partitions, those above them first.
    fn climb(&self, device: &str, left: usize, order: &mut Vec<Holder>) -> Result<(), ReleaseError> {
        let folder = self.root.join("sys/class/block").join(device);
        let partitions = names(&folder)
            .into_iter()
            .filter(|name| folder.join(name).join("partition").exists());
        for part in std::iter::once(device.to_owned()).chain(partitions) {
            let place = if part == device {
                folder.clone()
            } else {
                folder.join(&part)
            };
            self.check_use(&part, &place)?;
            for name in names(&place.join("holders")) {
                let kind = self
                    .kind(&name)
                    .filter(|_| left > 0)
                    .ok_or_else(|| ReleaseError::Unknown {
                        holder: name.clone(),
                        device: part.clone(),
                    })?;
                self.climb(&name, left - 1, order)?;
                order.push(Holder { name, kind });
            }
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let folder = self.root.join("sys/class/block").join(name);
        if name.starts_with("dm-") {
            let label = fs::read_to_string(folder.join("dm/name")).ok()?;
            Some(Kind::Map(label.trim().to_owned()))
        } else if name.starts_with("md") {
            Some(Kind::Array)
        } else if name.starts_with("bcache") {
            Some(Kind::Cache)
        } else {
            None
        }
    }

    fn check_use(&self, device: &str, folder: &Path) -> Result<(), ReleaseError> {
        let number = fs::read_to_string(folder.join("dev")).unwrap_or_default();
        let mounted = self.mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(2);
            let same = fields.next()? == number.trim();
            let point = fields.nth(1)?;
            same.then(|| format!("mounted at {point}"))
        });
        let path = format!("/dev/{device}");
        let swap = self
            .swaps
            .lines()
            .skip(1)
            .any(|line| line.split_whitespace().next() == Some(&path));
        let used_by = match mounted {
            Some(mounted) if !number.trim().is_empty() => mounted,
            _ if swap => "swap space".to_owned(),
            _ => return Ok(()),
        };
        Err(ReleaseError::InUse {
            device: device.to_owned(),
            used_by,
        })
    }

    /// Stops a holder. One that is gone meanwhile is as good.
    ///
    /// # Errors
    /// When it does not stop within some seconds: udev opens devices for a moment whenever something changes.
    pub fn stop(&self, holder: &Holder) -> Result<(), ReleaseError> {
        let patience = ConstantBuilder::default()
            .with_delay(Duration::from_millis(200))
            .with_max_times(25);
        let stopped = (|| self.stop_now(holder))
            .retry(patience)
            .when(|error| error.raw_os_error() == Some(libc::EBUSY))
            .call();
        match stopped {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENXIO | libc::ENODEV | libc::ENOENT)
                ) =>
            {
                Ok(())
            }
            stopped => stopped.map_err(|source| ReleaseError::Stop {
                holder: holder.title(),
                source,
            }),
        }
    }

    fn stop_now(&self, holder: &Holder) -> io::Result<()> {
        match &holder.kind {
            Kind::Map(name) => sys::holder::remove_map(&self.root.join("dev/mapper/control"), name),
            Kind::Array => {
                let array = File::open(self.root.join("dev").join(&holder.name))?;
                sys::holder::stop_array(array.as_fd())
            }
            Kind::Cache => fs::write(
                self.root
                    .join("sys/class/block")
                    .join(&holder.name)
                    .join("bcache/stop"),
                "1",
            ),
        }
    }
}

/// Stops all that holds a disk and tells what it was.
///
/// # Errors
/// As [`Tree::holders`] and [`Tree::stop`].
pub fn release(root: &Path, disk: &str) -> Result<Vec<String>, ReleaseError> {
    let tree = Tree::below(root);
    let mut stopped = Vec::new();
    for holder in tree.holders(disk)? {
        tree.stop(&holder)?;
        tracing::info!(disk, holder = holder.title(), "stopped");
        stopped.push(holder.title());
    }
    Ok(stopped)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices (a partition with its disk before it) with their numbers, holders and names of maps.
    fn tree(devices: &[(&str, &str, &[&str], &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (device, number, holders, map) in devices {
            let folder = root.path().join("sys/class/block").join(device);
            fs::create_dir_all(folder.join("holders")).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            if device.contains('/') {
                fs::write(folder.join("partition"), "1\n").unwrap();
            }
            for holder in *holders {
                fs::write(folder.join("holders").join(holder), "").unwrap();
            }
            if !map.is_empty() {
                fs::create_dir(folder.join("dm")).unwrap();
                fs::write(folder.join("dm/name"), format!("{map}\n")).unwrap();
            }
        }
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        root
    }

    fn titles(root: &Path, disk: &str) -> Vec<String> {
        let holders = Tree::below(root).holders(disk).unwrap();
        holders.iter().map(Holder::title).collect()
    }

    #[test]
    fn holders_go_from_the_top_and_each_once() {
        // Two partitions in one array, two volumes on it, one of them encrypted.
        let root = tree(&[
            ("sda", "8:0", &[], ""),
            ("sda/sda1", "8:1", &["md127"], ""),
            ("sda/sda2", "8:2", &["md127", "bcache0"], ""),
            ("md127", "9:127", &["dm-0", "dm-1"], ""),
            ("dm-0", "253:0", &[], "vg0-root"),
            ("dm-1", "253:1", &["dm-2"], "vg0-data"),
            ("dm-2", "253:2", &[], "secret"),
            ("bcache0", "251:0", &[], ""),
            ("sdb", "8:16", &[], ""),
        ]);
        assert_eq!(
            titles(root.path(), "sda"),
            [
                "dm-0 (vg0-root)",
                "dm-2 (secret)",
                "dm-1 (vg0-data)",
                "md127",
                "bcache0"
            ]
        );
        assert!(titles(root.path(), "sdb").is_empty());
        assert!(release(root.path(), "sdb").unwrap().is_empty());
    }

    #[test]
    fn what_is_mounted_or_swapped_to_is_not_stopped() {
        let root = tree(&[
            ("sda", "8:0", &[], ""),
            ("sda/sda1", "8:1", &["dm-0"], ""),
            ("dm-0", "253:0", &[], "vg0-root"),
            ("sdb", "8:16", &[], ""),
        ]);
        fs::write(
            root.path().join("proc/self/mountinfo"),
            "24 1 253:0 / /srv rw - ext4 /dev/mapper/vg0-root rw\n",
        )
        .unwrap();
        let error = Tree::below(root.path()).holders("sda").unwrap_err();
        assert_eq!(error.to_string(), "dm-0 is in use: mounted at /srv");
        fs::write(
            root.path().join("proc/swaps"),
            "Filename Type\n/dev/sdb partition 1 0 -2\n",
        )
        .unwrap();
        let error = Tree::below(root.path()).holders("sdb").unwrap_err();
        assert_eq!(error.to_string(), "sdb is in use: swap space");
    }

    #[test]
    fn strangers_and_circles_are_errors() {
        let root = tree(&[
            ("sda", "8:0", &["drbd0"], ""),
            ("sdb", "8:16", &["dm-0"], ""),
            ("dm-0", "253:0", &["dm-0"], "self"),
        ]);
        for disk in ["sda", "sdb"] {
            let error = Tree::below(root.path()).holders(disk).unwrap_err();
            assert!(matches!(error, ReleaseError::Unknown { .. }), "{error}");
        }
        // A holder that is gone by now is as good as stopped.
        let gone = Holder {
            name: "md9".to_owned(),
            kind: Kind::Array,
        };
        Tree::below(root.path()).stop(&gone).unwrap();
    }

    #[test]
    fn a_mounted_file_system_of_this_machine_is_seen() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let device = fs::read_dir("/sys/class/block")
            .unwrap()
            .flatten()
            .find_map(|entry| {
                let number = fs::read_to_string(entry.path().join("dev")).ok()?;
                let is_mounted = mounts
                    .lines()
                    .any(|line| line.split(' ').nth(2) == Some(number.trim()));
                is_mounted.then(|| entry.file_name().to_string_lossy().into_owned())
            });
        if let Some(device) = device {
            let error = release(Path::new("/"), &device).unwrap_err();
            assert!(error.to_string().contains("mounted at"), "{error}");
        }
    }
}
