//! A disk with files of this machine on it, in stretches with holes between them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Data comes in stretches of this length, spread evenly.
const STRETCH: u64 = 32 << 20;
/// Programs, libraries and sources: what compresses as systems do.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/lib", "/usr/share", "/usr/src"];

/// Writes a raw image of `disk_bytes` with `data_bytes` of data.
pub(super) fn make(path: &Path, disk_bytes: u64, data_bytes: u64) -> Result<()> {
    let disk = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    disk.set_len(disk_bytes).context("cannot size the image")?;
    let stretches = data_bytes.div_ceil(STRETCH);
    if stretches == 0 || stretches * STRETCH > disk_bytes {
        bail!("{data_bytes} bytes of data do not fit a disk of {disk_bytes}");
    }
    let stride = disk_bytes / stretches / STRETCH * STRETCH;
    let mut files = Files::default();
    let mut piece = vec![0; 1 << 20];
    let mut done = 0;
    while done < data_bytes {
        let now = usize::try_from((data_bytes - done).min(1 << 20)).expect("at most a MiB");
        files.fill(&mut piece[..now])?;
        let place = done / STRETCH * stride + done % STRETCH;
        disk.write_all_at(&piece[..now], place)
            .context("cannot write the image")?;
        done += now as u64;
    }
    disk.sync_all().context("cannot flush the image")
}

/// All files below the folders, one behind the other, in the order of their names.
#[derive(Default)]
struct Files {
    begun: bool,
    left: Vec<PathBuf>,
    open: Option<File>,
}

impl Files {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        let mut got = 0;
        while got < out.len() {
            let Some(open) = &mut self.open else {
                self.open = Some(self.next()?);
                continue;
            };
            // Files of a living machine come and go.
            match open.read(&mut out[got..]).unwrap_or(0) {
                0 => self.open = None,
                now => got += now,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<File> {
        if !self.begun {
            self.begun = true;
            self.left = FOLDERS.iter().rev().map(PathBuf::from).collect();
            if let Some(home) = std::env::var_os("HOME") {
                self.left
                    .insert(0, PathBuf::from(home).join(".cargo/registry/src"));
            }
        }
        while let Some(path) = self.left.pop() {
            let Ok(about) = fs::symlink_metadata(&path) else {
                continue;
            };
            if about.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten();
                let mut below: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                below.sort_unstable_by(|a, b| b.cmp(a));
                self.left.extend(below);
            } else if about.is_file()
                && about.len() > 0
                && let Ok(file) = File::open(&path)
            {
                return Ok(file);
            }
        }
        bail!("this machine has too few files for the image; take a smaller --data-mib")
    }
}
