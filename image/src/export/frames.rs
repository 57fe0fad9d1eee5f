//! Where an export gets frames from.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::PackRef;

/// Gives parts of packs. Asked by several threads at once; may block.
pub trait Frames: Send + Sync {
    /// The bytes of `range` of a pack. What they are worth is found out by the caller.
    fn fetch(&self, pack: &PackRef, range: Range<u64>) -> io::Result<Vec<u8>>;
}

/// The packs of a folder, `<dir>/packs/<digest>`.
#[derive(Debug, Clone)]
pub struct DirFrames {
    packs: PathBuf,
}

impl DirFrames {
    /// Of the artifact in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            packs: dir.join("packs"),
        }
    }
}

impl Frames for DirFrames {
    fn fetch(&self, pack: &PackRef, range: Range<u64>) -> io::Result<Vec<u8>> {
        let file = File::open(self.packs.join(pack.digest.to_string()))?;
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut frames = vec![0; bytes];
        file.read_exact_at(&mut frames, range.start)?;
        Ok(frames)
    }
}
