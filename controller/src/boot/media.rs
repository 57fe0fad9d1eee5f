//! The CD of the ramdisk, made for one server: the file that `cargo xtask ramdisk` built, with two areas filled as it is read.
//! Nothing is copied; BMCs may read it whole, or in ranges for as long as the server starts from it.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// The CD itself, in the folder of the ramdisk.
pub const FILE: &str = "media.iso";
const LAYOUT: &str = "media.json";
/// The layout has a few hundred bytes.
const LONGEST_LAYOUT: u64 = 64 << 10;
const READ_SIZE: usize = 256 << 10;

/// Why there is no CD.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its layout is of another version, or of another CD.
    #[error("{} does not describe the CD beside it", path.display())]
    Layout {
        /// The layout.
        path: PathBuf,
    },
    /// What proves the server cannot be encoded.
    #[error("cannot encode a boot identity")]
    Identity(#[source] serde_json::Error),
    /// What a server is given does not fit.
    #[error("{name} has {bytes} bytes, and the CD's area for it {room}")]
    Room {
        /// The area.
        name: &'static str,
        /// What was to go into it.
        bytes: usize,
        /// What it takes.
        room: u64,
    },
}

impl MediaError {
    /// What can be done.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Layout { .. } => {
                "`cargo xtask ramdisk` makes media.iso and media.json; put both into boot.ramdisk_dir beside vmlinuz and initrd.img."
            }
            Self::Identity(_) => "Tell the makers of Imprint.",
            Self::Room { .. } => "Shorten boot.kernel_args, or the kernel arguments of the hardware model.",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Area {
    offset: u64,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Areas {
    #[serde(rename = "identity.img")]
    identity: Area,
    #[serde(rename = "node.cfg")]
    node: Area,
}

#[derive(Debug, Deserialize)]
struct Layout {
    version: u32,
    bytes: u64,
    areas: Areas,
}

/// A CD that was built, and where its areas are.
#[derive(Debug)]
pub struct Media {
    path: PathBuf,
    layout: Layout,
}

impl Media {
    /// Looks for it in the folder of the ramdisk. Blocks for two small reads.
    ///
    /// # Errors
    /// When it is not there, or the layout is that of another one.
    pub fn open(folder: &Path) -> Result<Self, MediaError> {
        let (path, described) = (folder.join(FILE), folder.join(LAYOUT));
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| MediaError::Read { path, source }
        };
        let bytes = std::fs::metadata(&path).map_err(failed(&path))?.len();
        let mut text = Vec::new();
        File::open(&described)
            .and_then(|file| file.take(LONGEST_LAYOUT).read_to_end(&mut text))
            .map_err(failed(&described))?;
        let layout = serde_json::from_slice(&text).ok().filter(|layout: &Layout| {
            let inside = |area: Area| {
                area.offset
                    .checked_add(area.bytes)
                    .is_some_and(|end| end <= bytes)
            };
            let Areas { identity, node } = &layout.areas;
            layout.version == 1 && layout.bytes == bytes && inside(*identity) && inside(*node)
        });
        let layout = layout.ok_or(MediaError::Layout { path: described })?;
        Ok(Self { path, layout })
    }

    /// Its size in bytes, the same for every server.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layout.bytes
    }

    /// Fills the areas: the identity initrd, and what GRUB does.
    ///
    /// # Errors
    /// When something does not fit.
    pub fn fill(self, identity: &[u8], node: &str) -> Result<Filled, MediaError> {
        let fitted = |name, area: Area, data: &[u8], padding: u8| {
            let room = usize::try_from(area.bytes).unwrap_or(usize::MAX);
            if data.len() > room {
                return Err(MediaError::Room {
                    name,
                    bytes: data.len(),
                    room: area.bytes,
                });
            }
            let mut whole = data.to_vec();
            whole.resize(room, padding);
            Ok((area.offset, Bytes::from(whole)))
        };
        // The kernel skips zeroes behind an archive, GRUB empty lines.
        let mut filled = vec![
            fitted("the identity", self.layout.areas.identity, identity, 0)?,
            fitted(
                "the script of the server",
                self.layout.areas.node,
                node.as_bytes(),
                b'\n',
            )?,
        ];
        filled.sort_by_key(|(offset, _)| *offset);
        Ok(Filled {
            path: self.path,
            filled,
        })
    }
}

/// A CD for one server.
pub struct Filled {
    path: PathBuf,
    /// By offset; they do not overlap.
    filled: Vec<(u64, Bytes)>,
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The areas hold a secret.
        f.debug_struct("Filled")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A part of it: of the file, or what an area was filled with.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    File(Range<u64>),
    Area(Bytes),
}

impl Filled {
    /// The pieces of a part, in order.
    fn pieces(&self, part: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut at = part.start;
        for (offset, data) in &self.filled {
            let area = *offset..offset + data.len() as u64;
            let inside = at.max(area.start)..part.end.min(area.end);
            if inside.is_empty() {
                continue;
            }
            if at < inside.start {
                pieces.push(Piece::File(at..inside.start));
            }
            let from = usize::try_from(inside.start - area.start).unwrap_or(usize::MAX);
            let to = usize::try_from(inside.end - area.start).unwrap_or(usize::MAX);
            pieces.push(Piece::Area(data.slice(from..to)));
            at = inside.end;
        }
        if at < part.end {
            pieces.push(Piece::File(at..part.end));
        }
        pieces
    }

    /// A part of it, streamed.
    pub fn stream(self, part: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let pieces = self.pieces(part);
        let path = self.path;
        stream::iter(pieces)
            .then(move |piece| {
                let path = path.clone();
                async move {
                    io::Result::Ok(match piece {
                        Piece::Area(data) => stream::iter([Ok(data)]).left_stream(),
                        Piece::File(range) => {
                            let mut file = tokio::fs::File::open(&path).await?;
                            file.seek(io::SeekFrom::Start(range.start)).await?;
                            let part = file.take(range.end - range.start);
                            ReaderStream::with_capacity(part, READ_SIZE).right_stream()
                        }
                    })
                }
            })
            .try_flatten()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A CD of zeroes with an area of 8 bytes at 32 and one of 16 bytes at 64.
    pub(in crate::boot) fn small(folder: &Path) {
        std::fs::write(folder.join(FILE), [7_u8; 100]).unwrap();
        let layout = r#"{"version":1,"bytes":100,"areas":{"identity.img":{"offset":64,"bytes":16},"node.cfg":{"offset":32,"bytes":8}}}"#;
        std::fs::write(folder.join(LAYOUT), layout).unwrap();
    }

    fn whole() -> Vec<u8> {
        let mut content = vec![7_u8; 100];
        content[32..40].copy_from_slice(b"boot\n\n\n\n");
        content[64..80].copy_from_slice(b"identity\0\0\0\0\0\0\0\0");
        content
    }

    #[tokio::test]
    async fn what_is_read_has_the_areas_of_its_server() {
        let folder = tempfile::tempdir().unwrap();
        small(folder.path());
        for part in [0..100, 0..1, 30..34, 33..39, 40..64, 39..65, 79..100, 32..80] {
            let media = Media::open(folder.path())
                .unwrap()
                .fill(b"identity", "boot\n")
                .unwrap();
            let range = part.start as u64..part.end as u64;
            let read: Vec<Bytes> = media.stream(range).try_collect().await.unwrap();
            assert_eq!(read.concat(), whole()[part.clone()], "{part:?}");
        }
    }

    #[test]
    fn what_does_not_fit_or_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Media::open(folder.path()).unwrap_err();
        assert!(missing.to_string().contains("media.iso") && missing.remedy().contains("xtask ramdisk"));
        small(folder.path());
        let error = Media::open(folder.path())
            .unwrap()
            .fill(&[0; 17], "")
            .err()
            .unwrap();
        assert!(error.to_string().contains("17 bytes"), "{error}");
        // Another build's.
        std::fs::write(folder.path().join(FILE), [7_u8; 101]).unwrap();
        let other = Media::open(folder.path()).unwrap_err();
        assert!(matches!(other, MediaError::Layout { .. }), "{other}");
        std::fs::write(folder.path().join(LAYOUT), "{").unwrap();
        Media::open(folder.path()).unwrap_err();
    }

    proptest! {
        /// Whatever part is read: the pieces follow each other and have its length.
        #[test]
        fn pieces_are_whole(start in 0_u64..100, length in 0_u64..100) {
            let filled = Filled {
                path: PathBuf::new(),
                filled: vec![(32, Bytes::from_static(&[1; 8])), (40, Bytes::from_static(&[2; 20]))],
            };
            let end = (start + length).min(100);
            let bytes: u64 = filled.pieces(start..end).iter().map(|piece| match piece {
                Piece::File(range) => range.end - range.start,
                Piece::Area(data) => data.len() as u64,
            }).sum();
            prop_assert_eq!(bytes, end - start);
        }
    }
}
