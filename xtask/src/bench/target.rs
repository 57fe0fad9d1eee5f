//! The disk: a loop device with direct I/O over a file, full of old data before every run.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::tools::Tools;
use crate::tool;

/// The disk is longer than the image, as real ones are.
const ROOM_BYTES: u64 = 256 << 20;

/// A loop device that goes away with this process.
///
/// It is set up to vanish when its last user closes it, and this value keeps it open. So nothing is left behind even by
/// a run that is killed.
#[derive(Debug)]
pub struct Target {
    file: PathBuf,
    device: PathBuf,
    stat: PathBuf,
    _held: File,
}

/// What is on the disk after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The image, byte for byte.
    Exact,
    /// The image's data; its holes hold so many bytes of something else.
    StaleHoles(u64),
    /// So many bytes of the image's data are wrong.
    Wrong(u64),
}

impl Target {
    /// A disk for an image of `image_bytes`, over `file`.
    pub fn create(file: &Path, image_bytes: u64) -> Result<Self> {
        Self::detach_leftovers(file)?;
        let disk = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(file)
            .with_context(|| format!("cannot create {}", file.display()))?;
        disk.set_len(image_bytes.next_multiple_of(1 << 20) + ROOM_BYTES)
            .context("cannot size the target")?;
        let mut losetup = Command::new("losetup");
        // Some tools insist on a disk that can have partitions.
        losetup
            .args(["--find", "--show", "--direct-io=on", "--partscan"])
            .arg(file);
        let device = PathBuf::from(tool::output(&mut losetup)?.trim());
        let held = File::open(&device).with_context(|| format!("cannot open {}", device.display()));
        let detached = tool::run(Command::new("losetup").arg("--detach").arg(&device));
        let name = device
            .file_name()
            .with_context(|| format!("losetup named no device: {}", device.display()))?;
        let sys = Path::new("/sys/block").join(name);
        let target = Self {
            file: file.to_owned(),
            stat: sys.join("stat"),
            _held: held?,
            device,
        };
        detached?;
        let facts = |name: &str| fs::read_to_string(sys.join("loop").join(name)).unwrap_or_default();
        ensure!(
            facts("dio").trim() == "1",
            "the file system under {} has no direct I/O, which the bench needs",
            file.display()
        );
        ensure!(
            facts("autoclear").trim() == "1",
            "{} does not clean up by itself",
            target.device.display()
        );
        Ok(target)
    }

    /// Devices that an earlier run could not remove, since programs of it went on.
    fn detach_leftovers(file: &Path) -> Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let mut list = Command::new("losetup");
        list.args(["--noheadings", "--output", "NAME", "--associated"])
            .arg(file);
        for device in tool::output(&mut list)?
            .split_whitespace()
            .filter(|name| name.starts_with("/dev/"))
        {
            tool::run(Command::new("losetup").args(["--detach", device]))?;
        }
        Ok(())
    }

    /// The block device.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// `major:minor`.
    pub fn number(&self) -> Result<String> {
        let path = self.stat.with_file_name("dev");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Bytes that were ever written to it, zeroing included.
    pub fn written(&self) -> u64 {
        let text = fs::read_to_string(&self.stat).unwrap_or_default();
        let sectors = text
            .split_whitespace()
            .nth(6)
            .and_then(|field| field.parse::<u64>().ok());
        sectors.unwrap_or_default() * 512
    }

    /// Puts old data where the image will be, and behind it.
    pub fn fill(&self, tools: &Tools, image_bytes: u64) -> Result<()> {
        let bytes = image_bytes.next_multiple_of(1 << 20) + (8 << 20);
        let mut fill = tools.yardstick("fill");
        fill.arg(&self.device).arg(bytes.to_string());
        tool::run(&mut fill).context("cannot fill the target with old data")?;
        // The kernel shall forget the partitions of the last run.
        let mut reread = Command::new("blockdev");
        reread.arg("--rereadpt").arg(&self.device);
        tool::run(&mut reread).context("the target is still in use")
    }

    /// Compares all of the image's range.
    pub fn compare(&self, tools: &Tools, raw: &Path) -> Result<Content> {
        // A tool may have left its writes to the kernel, and is not to be blamed for that here.
        File::open(&self.device)
            .and_then(|device| device.sync_all())
            .context("cannot flush the target")?;
        compare_files(tools, raw, &self.file)
    }
}

/// Compares an image with a file of the same bytes or more.
pub fn compare_files(tools: &Tools, raw: &Path, file: &Path) -> Result<Content> {
    let mut compare = tools.yardstick("compare");
    compare.arg(raw).arg(file);
    let text = tool::output(&mut compare).context("cannot compare the target")?;
    Content::parse(&text)
}

impl Content {
    fn parse(text: &str) -> Result<Self> {
        let found: Value = serde_json::from_str(text).context("the comparison says nothing")?;
        let number = |name: &str| found[name].as_u64();
        match (number("wrong_in_data"), number("wrong_in_holes")) {
            (Some(0), Some(0)) => Ok(Self::Exact),
            (Some(0), Some(holes)) => Ok(Self::StaleHoles(holes)),
            (Some(data), Some(_)) => Ok(Self::Wrong(data)),
            _ => bail!("the comparison answers {text}"),
        }
    }

    /// For the table.
    pub fn text(self) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        match self {
            Self::Exact => "exact".to_owned(),
            Self::StaleHoles(bytes) => format!("data ok, {} MiB stale", mib(bytes)),
            Self::Wrong(bytes) => format!("BAD: {} MiB wrong", mib(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_data_is_worse_than_stale_holes() {
        let parse = |data: u64, holes: u64| {
            Content::parse(&format!(
                "{{\"wrong_in_data\":{data},\"wrong_in_holes\":{holes}}}"
            ))
            .unwrap()
        };
        assert_eq!(parse(0, 0), Content::Exact);
        assert_eq!(parse(0, 5), Content::StaleHoles(5));
        assert_eq!(parse(3, 5), Content::Wrong(3));
        assert!(Content::parse("{}").is_err());
    }
}
