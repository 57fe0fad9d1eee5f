//! A pack: many frames in one object of a store, then an index of them, then a footer.
//!
//! The index repeats what the manifests know, so that a store which lost its catalogue can be indexed again from
//! its packs alone. Agents never read it: the manifest says where each frame lies.

use std::io::{self, Read, Seek, SeekFrom};

use crate::numbers::{le32, le64};
use crate::seal::{OVERHEAD_BYTES, OpenError, Part, Seal};
use crate::{CHUNK_BYTES, Digest, MAX_FRAME_BYTES, MAX_PACK_BYTES, MAX_SEALED_FRAME_BYTES};

/// Bytes of the footer at the end of every pack.
pub const FOOTER_BYTES: u64 = 64;
/// Bytes of one entry of the index.
pub const ENTRY_BYTES: u64 = 72;
const VERSION: u32 = 1;
/// Of packs whose frames and index are sealed.
const SEALED_VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"IMPPACK1";

/// One frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntry {
    /// BLAKE3 of the plain bytes.
    pub plain: Digest,
    /// BLAKE3 of the frame.
    pub frame: Digest,
    /// Where the frame begins.
    pub offset: u64,
    /// Length of the frame.
    pub frame_bytes: u32,
    /// Length of the plain bytes.
    pub plain_bytes: u32,
}

/// A file that is no sound pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It cannot be read.
    #[error("cannot read the pack")]
    Io(#[from] io::Error),
    /// Its size is not one that a pack can have.
    #[error("a pack cannot have {got} bytes: expected {FOOTER_BYTES} to {MAX_PACK_BYTES}")]
    Size {
        /// Its size.
        got: u64,
    },
    /// It does not end as a pack does.
    #[error("the pack is cut off or no pack at all: its last bytes are not those of a pack")]
    Magic,
    /// Written by a newer version.
    #[error(
        "the pack has version {got}, expected {VERSION} or {SEALED_VERSION}: a newer version of this program is needed"
    )]
    Version {
        /// The version found.
        got: u32,
    },
    /// Its frames are encrypted, and so is its index.
    #[error("the pack is encrypted; its index can be read with the data key of its image only")]
    Encrypted,
    /// The index is encrypted, and not with this key.
    #[error("the index of the pack cannot be decrypted")]
    Open(#[from] OpenError),
    /// The index is damaged.
    #[error("the index of the pack is damaged: {what}")]
    Index {
        /// What is wrong.
        what: &'static str,
    },
}

/// Builds one pack in memory.
#[derive(Debug, Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
    seal: Option<Seal>,
}

impl PackBuilder {
    /// A pack for frames that are sealed with `seal`, or are not sealed.
    #[must_use]
    pub fn with(seal: Option<Seal>) -> Self {
        Self {
            seal,
            ..Self::default()
        }
    }

    /// Whether a frame of `frame_bytes` still fits.
    #[must_use]
    pub fn fits(&self, frame_bytes: usize) -> bool {
        let sealing = self.seal.as_ref().map_or(0, |_| OVERHEAD_BYTES);
        let index = (self.entries.len() as u64 + 1) * ENTRY_BYTES + u64::from(sealing);
        self.bytes.len() as u64 + frame_bytes as u64 + index + FOOTER_BYTES <= MAX_PACK_BYTES
    }

    /// Whether there is no frame yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a frame that [`PackBuilder::fits`] and tells where it lies.
    pub fn push(&mut self, frame: &[u8], plain: Digest, digest: Digest, plain_bytes: u32) -> u64 {
        let offset = self.bytes.len() as u64;
        let frame_bytes = u32::try_from(frame.len()).expect("a frame is not longer than MAX_FRAME_BYTES");
        if self.bytes.capacity() == 0 {
            // Once and for all: growing would copy the pack several times, and end at twice its size.
            self.bytes
                .reserve_exact(usize::try_from(MAX_PACK_BYTES).expect("32 MiB"));
        }
        self.bytes.extend_from_slice(frame);
        self.entries.push(PackEntry {
            plain,
            frame: digest,
            offset,
            frame_bytes,
            plain_bytes,
        });
        offset
    }

    /// Appends index and footer; gives the pack's name and its bytes.
    #[must_use]
    pub fn finish(mut self) -> (Digest, Vec<u8>) {
        let index_offset = self.bytes.len();
        for entry in &self.entries {
            self.bytes.extend_from_slice(entry.plain.as_bytes());
            self.bytes.extend_from_slice(entry.frame.as_bytes());
            self.bytes.extend_from_slice(&entry.frame_bytes.to_le_bytes());
            self.bytes.extend_from_slice(&entry.plain_bytes.to_le_bytes());
        }
        let version = match &self.seal {
            Some(seal) => {
                seal.seal_from(&mut self.bytes, index_offset, Part::Index);
                SEALED_VERSION
            }
            None => VERSION,
        };
        let index_digest = Digest::of(&self.bytes[index_offset..]);
        let count = u32::try_from(self.entries.len()).expect("a pack has room for fewer entries");
        self.bytes.extend_from_slice(&(index_offset as u64).to_le_bytes());
        self.bytes.extend_from_slice(&count.to_le_bytes());
        self.bytes.extend_from_slice(&version.to_le_bytes());
        self.bytes.extend_from_slice(index_digest.as_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(MAGIC);
        (Digest::of(&self.bytes), self.bytes)
    }
}

/// Reads and checks the index of a pack. Does not look at the frames. That of an encrypted pack is refused.
pub fn read_index<R: Read + Seek>(pack: &mut R) -> Result<Vec<PackEntry>, PackError> {
    read_index_with(pack, None)
}

/// As [`read_index`], also of a pack that is encrypted with `seal`.
pub fn read_index_with<R: Read + Seek>(
    pack: &mut R,
    seal: Option<&Seal>,
) -> Result<Vec<PackEntry>, PackError> {
    let size = pack.seek(SeekFrom::End(0))?;
    if !(FOOTER_BYTES..=MAX_PACK_BYTES).contains(&size) {
        return Err(PackError::Size { got: size });
    }
    let mut footer = [0; FOOTER_BYTES as usize];
    pack.seek(SeekFrom::Start(size - FOOTER_BYTES))?;
    pack.read_exact(&mut footer)?;
    if !footer.ends_with(MAGIC) {
        return Err(PackError::Magic);
    }
    let version = le32(&footer, 12);
    let (seal, sealing) = match version {
        VERSION => (None, 0),
        SEALED_VERSION => (Some(seal.ok_or(PackError::Encrypted)?), OVERHEAD_BYTES),
        got => return Err(PackError::Version { got }),
    };
    let index_offset = le64(&footer, 0);
    let count = u64::from(le32(&footer, 8));
    let index_bytes = count * ENTRY_BYTES + u64::from(sealing);
    if index_offset.checked_add(index_bytes) != Some(size - FOOTER_BYTES) {
        return Err(PackError::Index {
            what: "it does not end where the footer begins",
        });
    }
    let mut index = vec![0; usize::try_from(index_bytes).expect("not longer than a pack")];
    pack.seek(SeekFrom::Start(index_offset))?;
    pack.read_exact(&mut index)?;
    if Digest::of(&index).as_bytes()[..] != footer[16..48] {
        return Err(PackError::Index {
            what: "its digest is not the one in the footer",
        });
    }
    let (index, longest) = match seal {
        Some(seal) => (&*seal.open(&mut index, Part::Index)?, MAX_SEALED_FRAME_BYTES),
        None => (&index[..], MAX_FRAME_BYTES),
    };
    let mut offset = 0u64;
    let mut entries = Vec::with_capacity(usize::try_from(count).expect("not longer than a pack"));
    let (records, _) = index.as_chunks::<{ ENTRY_BYTES as usize }>();
    for record in records {
        let entry = PackEntry {
            plain: Digest::from_bytes(*record.first_chunk().expect("the record is longer")),
            frame: Digest::try_from(&record[32..64]).expect("32 bytes"),
            offset,
            frame_bytes: le32(record, 64),
            plain_bytes: le32(record, 68),
        };
        if !(1..=longest).contains(&entry.frame_bytes) || !(1..=CHUNK_BYTES).contains(&entry.plain_bytes) {
            return Err(PackError::Index {
                what: "it has a frame of impossible length",
            });
        }
        offset += u64::from(entry.frame_bytes);
        entries.push(entry);
    }
    if offset != index_offset {
        return Err(PackError::Index {
            what: "its frames do not fill the space before it",
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::seal::{Algorithm, DataKey};

    fn pack() -> (Digest, Vec<u8>) {
        let mut builder = PackBuilder::default();
        for frame in [&b"first frame"[..], b"second"] {
            builder.push(frame, Digest::of(b"plain"), Digest::of(frame), 512);
        }
        builder.finish()
    }

    #[test]
    fn a_pack_can_be_indexed_from_itself() {
        let (digest, bytes) = pack();
        assert_eq!(digest, Digest::of(&bytes));
        let entries = read_index(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(entries.len(), 2);
        for entry in entries {
            let at = usize::try_from(entry.offset).unwrap();
            assert_eq!(
                Digest::of(&bytes[at..at + entry.frame_bytes as usize]),
                entry.frame
            );
            assert_eq!((entry.plain, entry.plain_bytes), (Digest::of(b"plain"), 512));
        }
    }

    #[test]
    fn a_damaged_index_never_panics_and_is_refused() {
        let (_, bytes) = pack();
        for len in 0..bytes.len() {
            assert!(
                read_index(&mut Cursor::new(&bytes[..len])).is_err(),
                "length {len}"
            );
        }
        for at in b"first framesecond".len()..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let reserved = bytes.len() - 16..bytes.len() - 8;
            assert_eq!(
                read_index(&mut Cursor::new(&bad)).is_ok(),
                reserved.contains(&at),
                "byte {at}"
            );
        }
    }

    #[test]
    fn an_encrypted_pack_shows_no_digest_and_is_indexed_with_its_key_only() {
        let seal = |byte| Seal::new(&DataKey::from_bytes([byte; 32]), Algorithm::default());
        let mut builder = PackBuilder::with(Some(seal(7)));
        builder.push(b"a sealed frame", Digest::of(b"plain"), Digest::of(b"frame"), 512);
        let (_, bytes) = builder.finish();
        for digest in [Digest::of(b"plain"), Digest::of(b"frame")] {
            assert!(!bytes.windows(32).any(|window| window == digest.as_bytes()));
        }
        let read = |bytes: &[u8], seal: Option<&Seal>| read_index_with(&mut Cursor::new(bytes), seal);
        let entries = read(&bytes, Some(&seal(7))).unwrap();
        assert_eq!((entries.len(), entries[0].plain), (1, Digest::of(b"plain")));
        assert!(matches!(read(&bytes, None), Err(PackError::Encrypted)));
        assert!(matches!(read(&bytes, Some(&seal(8))), Err(PackError::Open(_))));
        for at in b"a sealed frame".len()..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let reserved = bytes.len() - 16..bytes.len() - 8;
            assert_eq!(
                read(&bad, Some(&seal(7))).is_ok(),
                reserved.contains(&at),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_full_pack_stays_within_the_limit() {
        let seal = Seal::new(&DataKey::generate(), Algorithm::default());
        for seal in [None, Some(seal)] {
            let mut builder = PackBuilder::with(seal);
            let frame = vec![7; 1000];
            while builder.fits(frame.len()) {
                builder.push(&frame, Digest::of(b""), Digest::of(b""), 1000);
            }
            let (_, bytes) = builder.finish();
            assert!(bytes.len() as u64 <= MAX_PACK_BYTES);
            assert!(bytes.len() as u64 > MAX_PACK_BYTES - 1000 - ENTRY_BYTES);
        }
    }
}
