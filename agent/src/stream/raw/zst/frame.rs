//! The headers of zstd frames and blocks (RFC 8878): enough to find where a frame ends without decoding it.

use std::io;

/// The first bytes of a frame.
pub(in super::super) const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// No block is larger, compressed or not.
pub(in super::super) const BLOCK_MAX: usize = 128 << 10;
/// A frame header after the magic is at most this long.
pub(in super::super) const HEADER_MAX: usize = 14;

/// Whether these are the first bytes of a frame that carries no data of the image.
pub(in super::super) fn is_skippable(magic: [u8; 4]) -> bool {
    magic[0] & 0xF0 == 0x50 && magic[1..] == [0x2A, 0x4D, 0x18]
}

pub(in super::super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct FrameHeader {
    /// How far back its blocks refer.
    pub(in super::super) window: u64,
    /// How many bytes it becomes, if it says so.
    pub(in super::super) content: Option<u64>,
    /// Whether four bytes of a checksum follow its last block.
    pub(in super::super) checksum: bool,
    /// Whether it was made with a dictionary.
    pub(in super::super) dictionary: bool,
}

impl FrameHeader {
    /// How long the header is after the magic, told by its first byte.
    pub(in super::super) fn len(descriptor: u8) -> usize {
        let window = usize::from(descriptor & 0x20 == 0);
        1 + window + dictionary_len(descriptor) + content_len(descriptor)
    }

    /// Reads a header of the right [length](Self::len).
    pub(in super::super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let (&descriptor, mut rest) = bytes
            .split_first()
            .filter(|(descriptor, rest)| rest.len() + 1 == Self::len(**descriptor))
            .ok_or_else(|| damaged("a zstd frame header is cut short"))?;
        if descriptor & 0x08 != 0 {
            return Err(damaged("a zstd frame header has a reserved bit set"));
        }
        let mut window = None;
        if let (true, Some((&byte, after))) = (descriptor & 0x20 == 0, rest.split_first()) {
            let base = 1_u64 << (10 + (byte >> 3));
            window = Some(base + base / 8 * u64::from(byte & 7));
            rest = after;
        }
        let (dictionary, content) = rest.split_at(dictionary_len(descriptor));
        let size = little_endian(content);
        let content = match content.len() {
            0 => None,
            2 => Some(size + 256),
            _ => Some(size),
        };
        Ok(FrameHeader {
            // A frame of a single segment is its own window, and always says how long it is.
            window: window.or(content).unwrap_or(0),
            content,
            checksum: descriptor & 0x04 != 0,
            dictionary: little_endian(dictionary) != 0,
        })
    }

    /// The largest block of the frame.
    pub(in super::super) fn block_max(&self) -> usize {
        usize::try_from(self.window).map_or(BLOCK_MAX, |window| window.min(BLOCK_MAX))
    }
}

fn dictionary_len(descriptor: u8) -> usize {
    [0, 1, 2, 4][usize::from(descriptor & 3)]
}

fn content_len(descriptor: u8) -> usize {
    match descriptor >> 6 {
        0 => usize::from(descriptor & 0x20 != 0),
        1 => 2,
        2 => 4,
        _ => 8,
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// How a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum BlockKind {
    /// As it is.
    Raw,
    /// One byte, to be repeated.
    Repeat,
    /// Compressed.
    Compressed,
}

/// What precedes each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct BlockHeader {
    /// No other block follows in this frame.
    pub(in super::super) last: bool,
    /// How it is stored.
    pub(in super::super) kind: BlockKind,
    /// How long it is: for a repeated byte, afterwards; else in the file.
    pub(in super::super) size: usize,
}

impl BlockHeader {
    /// Length of a block header.
    pub(in super::super) const LEN: usize = 3;

    pub(in super::super) fn parse(bytes: [u8; 3]) -> io::Result<Self> {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        let kind = match word >> 1 & 3 {
            0 => BlockKind::Raw,
            1 => BlockKind::Repeat,
            2 => BlockKind::Compressed,
            _ => return Err(damaged("a zstd block is of an unknown kind")),
        };
        Ok(BlockHeader {
            last: word & 1 != 0,
            kind,
            size: (word >> 3) as usize,
        })
    }

    /// How many bytes of the file follow the header.
    pub(in super::super) fn stored(&self) -> usize {
        match self.kind {
            BlockKind::Repeat => 1,
            BlockKind::Raw | BlockKind::Compressed => self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn headers_say_what_the_encoder_was_told() {
        for (level, len, checksum, pledged) in [
            (1, 0, false, true),
            (3, 300, true, true),
            (19, 70_000, false, true),
            (3, 3 << 20, true, false),
        ] {
            let content = vec![7; len];
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
            encoder.include_checksum(checksum).unwrap();
            if pledged {
                encoder.set_pledged_src_size(Some(len as u64)).unwrap();
            }
            encoder.write_all(&content).unwrap();
            let file = encoder.finish().unwrap();
            assert_eq!(file[..4], MAGIC);
            let header = FrameHeader::parse(&file[4..4 + FrameHeader::len(file[4])]).unwrap();
            assert_eq!(header.content, pledged.then_some(len as u64));
            assert_eq!(header.checksum, checksum);
            assert!(!header.dictionary);
            assert!(header.window >= 1024 || pledged, "{header:?}");
        }
    }

    #[test]
    fn what_the_format_forbids_is_refused() {
        assert!(FrameHeader::parse(&[0x08, 0x58]).is_err());
        assert!(FrameHeader::parse(&[0x00]).is_err());
        assert!(BlockHeader::parse([0x06, 0, 0]).is_err());
        let block = BlockHeader::parse([0x03, 0, 0x10]).unwrap();
        assert_eq!(
            (block.last, block.kind, block.size),
            (true, BlockKind::Repeat, 0x10 << 13)
        );
        assert_eq!(block.stored(), 1);
    }
}
