//! Proving one pack: its name, its index, each of its frames, and what a manifest believes to find in it.

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom},
    ops::Range,
};

use imprint_image::{
    Digest,
    pack::{FOOTER_BYTES, PackEntry, read_index_with},
    seal::Seal,
};

/// A frame that a manifest believes to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    pub offset: u64,
    pub bytes: u32,
    pub frame: Digest,
}

/// What came of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Whether something is missing that the manifest needs.
    pub hits: bool,
    /// Frames that were hashed.
    pub frames: u64,
}

impl Judgement {
    /// A pack that cannot be read at all.
    pub(super) fn unreadable(cause: String) -> Self {
        Self {
            fault: Some(cause),
            hits: true,
            frames: 0,
        }
    }
}

/// Judges a whole pack; `seal` is that of an encrypted image.
pub(super) fn judge(
    name: &Digest,
    content: &[u8],
    references: &[Reference],
    seal: Option<&Seal>,
) -> Judgement {
    let whole = Digest::of(content) == *name;
    let index = read_index_with(&mut Cursor::new(content), seal);
    let mut frames = 0;
    let mut bad = Vec::new();
    for entry in index.iter().flatten() {
        frames += 1;
        if !is(content, entry.offset, entry.frame_bytes, &entry.frame) {
            bad.push(entry.offset);
        }
    }
    let hits = references
        .iter()
        .any(|wanted| !is(content, wanted.offset, wanted.bytes, &wanted.frame));
    let fault = match (whole, index) {
        _ if !bad.is_empty() => Some(format!(
            "{} of its {frames} frames are damaged, the first one at byte {}",
            bad.len(),
            bad[0]
        )),
        (_, Err(error)) => Some(error.to_string()),
        (false, Ok(_)) => Some("its content is not the one it is named by".to_owned()),
        (true, Ok(_)) if hits => Some("it is whole, but has not the frames that a manifest names".to_owned()),
        (true, Ok(_)) => None,
    };
    Judgement { fault, hits, frames }
}

fn is(content: &[u8], offset: u64, bytes: u32, digest: &Digest) -> bool {
    let range = usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(usize::try_from(bytes).ok()?)?));
    range
        .and_then(|range| content.get(range))
        .is_some_and(|frame| Digest::of(frame) == *digest)
}

/// What to read first of the end of a pack, to see its index: all of it for nearly every pack.
pub(super) fn tail(size: u64) -> Range<u64> {
    size.saturating_sub(64 << 10)..size
}

/// What is still to be read before that, for an index that is longer.
pub(super) fn rest_of_tail(end: &[u8], size: u64) -> Option<Range<u64>> {
    let footer = end.len().checked_sub(usize::try_from(FOOTER_BYTES).ok()?)?;
    let begin = u64::from_le_bytes(*end[footer..].first_chunk()?);
    let have = size - end.len() as u64;
    (begin < have).then_some(begin..have)
}

/// Whether a pack that was found good has, by its index, what another manifest believes to find in it.
pub(super) fn has(end: Vec<u8>, size: u64, references: &[Reference], seal: Option<&Seal>) -> bool {
    let Ok(index) = read_index_with(&mut Tail { end, size, at: 0 }, seal) else {
        return false;
    };
    references.iter().all(|wanted| {
        let place = index.binary_search_by_key(&wanted.offset, |entry: &PackEntry| entry.offset);
        place.is_ok_and(|n| index[n].frame_bytes == wanted.bytes && index[n].frame == wanted.frame)
    })
}

/// The end of a pack that reads as if it were the whole.
struct Tail {
    end: Vec<u8>,
    size: u64,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let before = self.size - self.end.len() as u64;
        let at = self
            .at
            .checked_sub(before)
            .and_then(|at| usize::try_from(at).ok());
        let Some(left) = at.and_then(|at| self.end.get(at..)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Tail {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use imprint_image::{
        pack::PackBuilder,
        seal::{Algorithm, DataKey},
    };

    use super::*;

    fn pack(frames: u32, seal: Option<&Seal>) -> (Digest, Vec<u8>, Vec<Reference>) {
        let mut builder = PackBuilder::with(seal.cloned());
        let mut references = Vec::new();
        for n in 0..frames {
            let frame = n.to_le_bytes();
            let digest = Digest::of(&frame);
            let offset = builder.push(&frame, digest, digest, 512);
            references.push(Reference {
                offset,
                bytes: 4,
                frame: digest,
            });
        }
        let (name, bytes) = builder.finish();
        (name, bytes, references)
    }

    #[test]
    fn every_flipped_byte_is_found_and_hits_only_whom_it_hits() {
        let seal = Seal::new(&DataKey::generate(), Algorithm::default());
        for seal in [None, Some(&seal)] {
            flipped_bytes_are_found(seal);
        }
    }

    fn flipped_bytes_are_found(seal: Option<&Seal>) {
        let (name, good, references) = pack(5, seal);
        let judged = judge(&name, &good, &references, seal);
        assert_eq!(
            judged,
            Judgement {
                fault: None,
                hits: false,
                frames: 5
            }
        );
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let judged = judge(&name, &bad, &references[..2], seal);
            assert!(judged.fault.is_some(), "byte {at}");
            assert_eq!(judged.hits, at < 8, "byte {at}");
        }
        assert!(
            judge(&name, &good[..good.len() - 1], &references, seal)
                .fault
                .is_some()
        );
        assert!(judge(&name, &[], &references, seal).hits);
        let stranger = Reference {
            frame: Digest::of(b"stranger"),
            ..references[0]
        };
        let judged = judge(&name, &good, &[stranger], seal);
        assert!(judged.hits && judged.fault.unwrap().contains("it is whole"));
    }

    #[test]
    fn the_index_alone_tells_what_a_good_pack_has() {
        let seal = Seal::new(&DataKey::generate(), Algorithm::default());
        let all = [None, Some(&seal)].map(|seal| [1, 3, 2_000].map(|frames| (frames, seal)));
        for (frames, seal) in all.into_iter().flatten() {
            let (_, pack, references) = pack(frames, seal);
            let size = pack.len() as u64;
            let cut = |range: Range<u64>| pack[range.start as usize..range.end as usize].to_vec();
            let mut end = cut(tail(size));
            if let Some(before) = rest_of_tail(&end, size) {
                assert_eq!(frames, 2_000);
                end.splice(..0, cut(before));
            }
            assert!(has(end.clone(), size, &references, seal));
            assert!(has(end.clone(), size, &references[..1], seal));
            let moved = Reference {
                offset: 1,
                ..references[0]
            };
            assert!(!has(end.clone(), size, &[moved], seal));
            assert!(!has(end[1..].to_vec(), size - 1, &references, seal) || frames == 2_000);
            assert!(!has(Vec::new(), 0, &references, seal));
        }
    }
}
