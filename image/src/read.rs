//! The way back: an artifact in a folder read as the disk that it describes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::frame::{self, Decoder, FrameError};
use crate::{CHUNK_BYTES, Manifest, PackRef};

/// A disk cannot be read from its artifact. Wrapped into an [`io::Error`] by [`ArtifactReader`].
#[derive(Debug, thiserror::Error)]
pub enum ReadArtifactError {
    /// A pack cannot be read where the frame should be.
    #[error("cannot read {bytes} bytes at {offset} of pack {path}")]
    Pack {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// How long it is.
        bytes: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A frame is not what the manifest says.
    #[error("pack {path} is damaged")]
    Frame {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
}

/// Reads `dir/packs/<digest>` as the disk that `manifest` describes, and proves every chunk on the way.
/// Holes of either kind read as zeros.
pub fn read_artifact<'a>(dir: &Path, manifest: &'a Manifest) -> io::Result<ArtifactReader<'a>> {
    Ok(ArtifactReader {
        packs: dir.join("packs"),
        manifest,
        open: None,
        decoder: Decoder::of(manifest)?,
        frame: Vec::new(),
        plain: vec![0; CHUNK_BYTES as usize],
        loaded: None,
        next_chunk: 0,
        position: 0,
    })
}

/// What [`read_artifact`] gives.
#[derive(Debug)]
pub struct ArtifactReader<'a> {
    packs: PathBuf,
    manifest: &'a Manifest,
    open: Option<(u32, PathBuf, File)>,
    decoder: Decoder,
    frame: Vec<u8>,
    plain: Vec<u8>,
    /// The index of the chunk that `plain` holds.
    loaded: Option<u64>,
    /// Which of the manifest's chunks is the next that is not loaded yet.
    next_chunk: usize,
    position: u64,
}

impl ArtifactReader<'_> {
    fn load(&mut self) -> Result<(), ReadArtifactError> {
        let chunk = &self.manifest.chunks[self.next_chunk];
        let pack = &self.manifest.packs[chunk.pack as usize];
        let fault = |path: &Path, source| ReadArtifactError::Pack {
            path: path.to_owned(),
            offset: chunk.offset,
            bytes: chunk.frame_bytes,
            source,
        };
        if self
            .open
            .as_ref()
            .is_none_or(|(number, ..)| *number != chunk.pack)
        {
            let PackRef { digest, .. } = pack;
            let path = self.packs.join(digest.to_string());
            let file = File::open(&path).map_err(|source| fault(&path, source))?;
            self.open = Some((chunk.pack, path, file));
        }
        let (_, path, file) = self.open.as_ref().expect("it was opened above");
        self.frame.resize(chunk.frame_bytes as usize, 0);
        file.read_exact_at(&mut self.frame, chunk.offset)
            .map_err(|source| fault(path, source))?;
        let range = self.manifest.chunk_range(chunk.index);
        let plain_len = usize::try_from(range.end - range.start).expect("not longer than a chunk");
        frame::verify_and_decode(
            &mut self.frame,
            chunk,
            plain_len,
            &mut self.plain,
            &mut self.decoder,
        )
        .map_err(|source| ReadArtifactError::Frame {
            path: path.clone(),
            source,
        })?;
        self.loaded = Some(chunk.index);
        self.next_chunk += 1;
        Ok(())
    }
}

impl Read for ArtifactReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let chunk_bytes = u64::from(CHUNK_BYTES);
        let index = self.position / chunk_bytes;
        let range = self.manifest.chunk_range(index);
        let within = usize::try_from(self.position - index * chunk_bytes).expect("less than a chunk");
        let left = usize::try_from(range.end.saturating_sub(self.position)).expect("less than a chunk");
        let now = left.min(out.len());
        if now == 0 {
            return Ok(0);
        }
        if self.loaded != Some(index)
            && self
                .manifest
                .chunks
                .get(self.next_chunk)
                .is_some_and(|chunk| chunk.index == index)
        {
            self.load().map_err(io::Error::other)?;
        }
        if self.loaded == Some(index) {
            out[..now].copy_from_slice(&self.plain[within..within + now]);
        } else {
            out[..now].fill(0);
        }
        self.position += now as u64;
        Ok(now)
    }
}
