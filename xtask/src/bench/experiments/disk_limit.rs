//! Slows a disk down for one program, by the kernel's control groups of either version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A control group with a limit; removed with this value.
#[derive(Debug)]
pub(super) struct DiskLimit {
    group: PathBuf,
}

impl DiskLimit {
    /// Writes to the device `number` pass at `bytes_per_second`.
    pub(super) fn new(number: &str, bytes_per_second: u64) -> Result<Self> {
        let name = format!("imprint-bench-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/blkio");
        let new = Path::new("/sys/fs/cgroup");
        let (group, file, text) = if old.join("blkio.throttle.write_bps_device").exists() {
            (
                old.join(name),
                "blkio.throttle.write_bps_device",
                format!("{number} {bytes_per_second}"),
            )
        } else if new.join("cgroup.controllers").exists() {
            fs::write(new.join("cgroup.subtree_control"), "+io")
                .context("cannot have control groups limit disks")?;
            (
                new.join(name),
                "io.max",
                format!("{number} wbps={bytes_per_second}"),
            )
        } else {
            bail!("this system has no control groups that limit disks")
        };
        fs::create_dir(&group).with_context(|| format!("cannot create {}", group.display()))?;
        let limit = Self { group };
        fs::write(limit.group.join(file), text).context("cannot limit the disk")?;
        Ok(limit)
    }

    /// The same program under the limit.
    pub(super) fn wrap(&self, command: &Command) -> Command {
        let procs = self.group.join("cgroup.procs");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        shell
            .arg(procs)
            .arg(command.get_program())
            .args(command.get_args());
        shell
    }
}

impl Drop for DiskLimit {
    fn drop(&mut self) {
        // Empty by now; an empty group that stays does nothing.
        fs::remove_dir(&self.group).ok();
    }
}
