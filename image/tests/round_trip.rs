//! Any disk becomes an artifact and comes back unchanged; any signed manifest with one bit changed is refused.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use imprint_image::source::{Limits, RawFile};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{
    CHUNK_BYTES, Chunk, Digest, Hole, HoleKind, Manifest, PackRef, PartitionSummary, SignedManifest,
    SigningKey, read_artifact,
};
use proptest::prelude::*;
use proptest::sample::Index;

const CHUNK: usize = CHUNK_BYTES as usize;

/// A stretch of a disk.
#[derive(Debug, Clone)]
enum Piece {
    Zeros(usize),
    /// Cannot be compressed. Few seeds, so that whole chunks repeat.
    Noise(u64, usize),
    Text(usize),
    /// What came before, once more from the next chunk on.
    Again,
    ToNextChunk,
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        2 => (1usize..3 * CHUNK).prop_map(Piece::Zeros),
        2 => (0u64..2, 1usize..CHUNK + 9).prop_map(|(seed, len)| Piece::Noise(seed, len)),
        1 => (1usize..CHUNK).prop_map(Piece::Text),
        1 => Just(Piece::Again),
        2 => Just(Piece::ToNextChunk),
    ]
}

fn disk(pieces: &[Piece]) -> Vec<u8> {
    let mut disk = Vec::new();
    let mut last = Vec::new();
    for piece in pieces {
        let to_next = disk.len().next_multiple_of(CHUNK);
        match piece {
            Piece::Zeros(len) => last = vec![0; *len],
            Piece::Noise(seed, len) => {
                last = vec![0; *len];
                blake3::Hasher::new()
                    .update(&seed.to_le_bytes())
                    .finalize_xof()
                    .fill(&mut last);
            }
            Piece::Text(len) => {
                last = b"some words of text "
                    .iter()
                    .copied()
                    .cycle()
                    .take(*len)
                    .collect();
            }
            Piece::Again => disk.resize(to_next, 0),
            Piece::ToNextChunk => {
                disk.resize(to_next, 0);
                continue;
            }
        }
        disk.extend_from_slice(&last);
    }
    disk
}

/// Gives its bytes in pieces of a length that fits nothing, as a pipe may.
struct Dribble<'a>(Cursor<&'a [u8]>, usize);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let now = out.len().min(self.1);
        self.0.read(&mut out[..now])
    }
}

/// A file that has a hole wherever the disk has 64 KiB of zeros.
fn sparse_file(disk: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    for block in disk.chunks(64 << 10) {
        if block.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(
                i64::try_from(block.len()).expect("a short block"),
            ))
            .expect("a file can be sought");
        } else {
            file.write_all(block).expect("room for it");
        }
    }
    file.set_len(disk.len() as u64).expect("room for it");
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disk_comes_back(
        pieces in prop::collection::vec(piece(), 1..6),
        sector in prop_oneof![Just(512u32), Just(4096)],
        threads in 1usize..4,
        dribble in 1000usize..300_000,
    ) {
        let disk = disk(&pieces);
        prop_assume!(!disk.is_empty());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let options = WriteOptions {
            threads,
            level: 1,
            logical_sector_bytes: Some(sector),
            ..WriteOptions::default()
        };
        let mut writer = ArtifactWriter::new(DirSink::new(dir.path()).expect("a folder"), options);
        let piped = writer.import_stream(&mut Dribble(Cursor::new(&disk), dribble)).expect("an import");
        let mut padded = disk.clone();
        padded.resize(disk.len().next_multiple_of(sector as usize), 0);
        let mut back = Vec::new();
        read_artifact(dir.path(), &piped).and_then(|mut disk| disk.read_to_end(&mut back)).expect("a sound artifact");
        prop_assert!(back == padded);

        // From a sparse file, of which the holes are not read, the same artifact.
        let mut file = RawFile::new(sparse_file(&disk), &Limits::default()).expect("a raw file");
        prop_assert_eq!(&writer.import(&mut file).expect("an import"), &piped);

        // Chunks of zeros are never stored, equal chunks once, and new frames lie in the order of the disk without
        // gaps: a pull of neighbours is one range.
        let mut end = (0, 0);
        for chunk in &piped.chunks {
            let range = piped.chunk_range(chunk.index);
            let (from, to) = (usize::try_from(range.start).expect("short"), usize::try_from(range.end).expect("short"));
            prop_assert!(padded[from..to].iter().any(|byte| *byte != 0));
            let first = piped.chunks.iter().find(|other| other.plain == chunk.plain).expect("itself");
            prop_assert_eq!((first.pack, first.offset), (chunk.pack, chunk.offset));
            if first.index == chunk.index {
                prop_assert!((chunk.pack, chunk.offset) == end || (chunk.pack, chunk.offset) == (end.0 + 1, 0));
                end = (chunk.pack, chunk.offset + u64::from(chunk.frame_bytes));
            }
        }
    }
}

/// A valid manifest of `tiles`: 0 and 1 are holes of the two kinds, everything else is data.
fn manifest(tiles: &[u8], tail: u64) -> Manifest {
    let (mut chunks, mut holes) = (Vec::new(), Vec::new());
    for (index, tile) in (0u64..).zip(tiles) {
        let kind = match tile {
            0 => HoleKind::MustBeZero,
            1 => HoleKind::DontCare,
            _ => {
                chunks.push(Chunk {
                    index,
                    plain: Digest::of(&[*tile]),
                    frame: Digest::of(&[*tile, *tile]),
                    pack: 0,
                    offset: u64::from(*tile) * 100,
                    frame_bytes: 100,
                });
                continue;
            }
        };
        holes.push(Hole {
            first_chunk: index,
            chunk_count: 1,
            kind,
        });
    }
    let packs = chunks
        .first()
        .map(|_| PackRef {
            digest: Digest::of(b"pack"),
            size_bytes: 1 << 20,
        })
        .into_iter()
        .collect();
    let size = (tiles.len() as u64 - 1) * u64::from(CHUNK_BYTES) + tail * 512;
    Manifest::assemble(size, 512, packs, chunks, holes, PartitionSummary::default())
        .expect("a valid manifest")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_bit_of_a_signed_manifest_is_refused(
        tiles in prop::collection::vec(0u8..6, 1..40),
        tail in 1u64..=2048,
        places in prop::collection::vec((any::<Index>(), 0u8..8), 20),
    ) {
        let key = SigningKey::generate().expect("a key");
        let keys = [key.public_key()];
        let manifest = manifest(&tiles, tail);
        let signed = SignedManifest::sign(&manifest, &key).encode();
        let opened = SignedManifest::open(&signed, &keys).expect("what was just signed");
        prop_assert_eq!(opened.image_digest, manifest.image_digest);
        for (place, bit) in places {
            let mut bad = signed.clone();
            let at = place.index(bad.len());
            bad[at] ^= 1 << bit;
            prop_assert!(SignedManifest::open(&bad, &keys).is_err(), "bit {} of byte {}", bit, at);
        }
        let cut = &signed[..signed.len() - 1];
        prop_assert!(SignedManifest::open(cut, &keys).is_err());
    }
}
