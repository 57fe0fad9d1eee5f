use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::pack::read_index;
use crate::{CHUNK_BYTES, HoleKind, read_artifact};

const CHUNK: usize = CHUNK_BYTES as usize;

/// Keeps packs in memory.
#[derive(Debug, Default)]
struct Packs(Vec<(Digest, Vec<u8>)>);

impl PackSink for Packs {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        self.0.push((digest, bytes));
        Ok(())
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn import(disk: &[u8], options: WriteOptions<'_>) -> Result<(Manifest, Packs), ImportError> {
    let mut writer = ArtifactWriter::new(Packs::default(), options);
    let manifest = writer.import_stream(&mut Cursor::new(disk))?;
    Ok((manifest, writer.into_sink()))
}

fn lookup(packs: &Packs) -> HashMap<Digest, KnownChunk> {
    let mut known = HashMap::new();
    for (pack, bytes) in &packs.0 {
        for entry in read_index(&mut Cursor::new(bytes)).unwrap() {
            let pack_bytes = bytes.len() as u64;
            let (offset, frame, frame_bytes) = (entry.offset, entry.frame, entry.frame_bytes);
            known.insert(
                entry.plain,
                KnownChunk {
                    pack: *pack,
                    pack_bytes,
                    offset,
                    frame,
                    frame_bytes,
                },
            );
        }
    }
    known
}

fn read_back(dir: &std::path::Path, manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    read_artifact(dir, manifest)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap();
    out
}

/// Pieces of a sparse disk: (bytes of zeros before it, bytes of data, seed).
fn sparse_disk() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0usize..3 * CHUNK, 0usize..CHUNK, 0u64..3), 1..4).prop_map(|pieces| {
        let mut disk = Vec::new();
        for (zeros, data, seed) in pieces {
            disk.resize(disk.len() + zeros, 0);
            disk.extend(noise(seed, data));
        }
        disk.push(7);
        disk
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sparse_disk_comes_back_unchanged(disk in sparse_disk(), threads in 1usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let options = WriteOptions { threads, level: 1, ..WriteOptions::default() };
        let mut writer = ArtifactWriter::new(DirSink::new(dir.path()).unwrap(), options);
        let manifest = writer.import_stream(&mut Cursor::new(&disk)).unwrap();
        let mut padded = disk.clone();
        padded.resize(disk.len().next_multiple_of(512), 0);
        prop_assert_eq!(manifest.disk_size_bytes, padded.len() as u64);
        prop_assert!(read_back(dir.path(), &manifest) == padded);
        // No chunk of zeros is stored.
        for (index, chunk) in (0u64..).zip(padded.chunks(CHUNK)) {
            let stored = manifest.chunks.iter().any(|listed| listed.index == index);
            prop_assert_eq!(stored, chunk.iter().any(|byte| *byte != 0), "chunk {}", index);
        }
        prop_assert!(manifest.holes.iter().all(|hole| hole.kind == HoleKind::MustBeZero));
    }
}

#[test]
fn the_result_does_not_depend_on_the_threads() {
    let words = |seed: u64| {
        let noise = noise(seed, CHUNK / 4);
        noise
            .iter()
            .flat_map(|byte| [b'a' + byte % 4, b' ', b'x' + byte / 128, b'.'])
            .collect::<Vec<u8>>()
    };
    let disk: Vec<u8> = (0..20).flat_map(words).collect();
    let (manifest, packs) = import(
        &disk,
        WriteOptions {
            threads: 1,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    let (again, same_packs) = import(
        &disk,
        WriteOptions {
            threads: 3,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(manifest, again);
    assert_eq!(packs.0, same_packs.0);
    let (other_level, _) = import(
        &disk,
        WriteOptions {
            level: 9,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(other_level.image_digest, manifest.image_digest);
    assert_ne!(other_level.chunks[0].frame, manifest.chunks[0].frame);
}

#[test]
fn more_than_a_pack_of_data_fills_several_packs() {
    let disk: Vec<u8> = (0..40).flat_map(|seed| noise(seed, CHUNK)).collect();
    let (manifest, packs) = import(
        &disk,
        WriteOptions {
            level: 1,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(packs.0.len(), 2);
    let names: Vec<_> = packs
        .0
        .iter()
        .map(|(digest, bytes)| (*digest, bytes.len() as u64))
        .collect();
    let listed: Vec<_> = manifest
        .packs
        .iter()
        .map(|pack| (pack.digest, pack.size_bytes))
        .collect();
    assert_eq!(names, listed);
    assert!(packs.0.iter().all(|(digest, bytes)| Digest::of(bytes) == *digest));
    // The packs alone know all that the manifest knows about frames.
    let known = lookup(&packs);
    for chunk in &manifest.chunks {
        let known = known[&chunk.plain];
        assert_eq!(
            (known.frame, known.offset, known.frame_bytes),
            (chunk.frame, chunk.offset, chunk.frame_bytes)
        );
        assert_eq!(known.pack, manifest.packs[chunk.pack as usize].digest);
    }
}

#[test]
fn equal_chunks_are_stored_once() {
    let one = noise(1, CHUNK);
    let disk = [one.clone(), noise(2, CHUNK), one.clone(), one].concat();
    let seen = RefCell::new(ImportProgress::default());
    let progress = |now: &ImportProgress| {
        assert!(now.disk_bytes >= seen.borrow().disk_bytes);
        *seen.borrow_mut() = *now;
    };
    let (manifest, packs) = import(
        &disk,
        WriteOptions {
            progress: Some(&progress),
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(read_index(&mut Cursor::new(&packs.0[0].1)).unwrap().len(), 2);
    assert_eq!(manifest.chunks.len(), 4);
    assert!(manifest.stored_bytes() < manifest.fetch_bytes());
    let seen = *seen.borrow();
    assert_eq!(seen.deduplicated_chunks, 2);
    assert_eq!(
        (seen.disk_bytes, seen.data_bytes),
        (disk.len() as u64, disk.len() as u64)
    );
    assert_eq!(seen.new_frame_bytes, manifest.stored_bytes());
}

#[test]
fn what_the_store_has_is_not_stored_again() {
    let first: Vec<u8> = (0..4).flat_map(|seed| noise(seed, CHUNK)).collect();
    let (old, packs) = import(&first, WriteOptions::default()).unwrap();
    let known = lookup(&packs);
    let find = |digest: &Digest| known.get(digest).copied();
    let options = WriteOptions {
        known: &find,
        ..WriteOptions::default()
    };

    let (same, nothing) = import(&first, options).unwrap();
    assert!(nothing.0.is_empty());
    assert_eq!(same, old);

    let second = [&first[..2 * CHUNK], &noise(99, CHUNK), &first[3 * CHUNK..]].concat();
    let (manifest, more) = import(&second, options).unwrap();
    assert_eq!(read_index(&mut Cursor::new(&more.0[0].1)).unwrap().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    let mut sink = DirSink::new(dir.path()).unwrap();
    for (digest, bytes) in packs.0.into_iter().chain(more.0) {
        sink.put_pack(digest, bytes).unwrap();
    }
    assert!(read_back(dir.path(), &manifest) == second);
}

#[test]
fn a_lookup_that_lies_gives_no_manifest() {
    let find = |_: &Digest| {
        let (pack, frame) = (Digest::of(b"pack"), Digest::of(b"frame"));
        Some(KnownChunk {
            pack,
            pack_bytes: 100,
            offset: 90,
            frame,
            frame_bytes: 50,
        })
    };
    let error = import(
        &noise(1, CHUNK),
        WriteOptions {
            known: &find,
            ..WriteOptions::default()
        },
    )
    .unwrap_err();
    assert!(matches!(error, ImportError::Manifest(_)), "{error}");
}

#[test]
fn a_last_sector_that_is_not_whole_is_padded() {
    for (bytes, sector, size) in [(1, 512, 512), (513, 512, 1024), (CHUNK + 1, 4096, CHUNK + 4096)] {
        let disk = vec![5; bytes];
        let options = WriteOptions {
            logical_sector_bytes: Some(sector),
            ..WriteOptions::default()
        };
        let (manifest, _) = import(&disk, options).unwrap();
        assert_eq!(manifest.disk_size_bytes, size as u64);
        assert_eq!(manifest.logical_sector_bytes, sector);
        let last = manifest.chunks.last().unwrap();
        let mut plain = disk[disk.len() / CHUNK * CHUNK..].to_vec();
        plain.resize(plain.len().next_multiple_of(sector as usize), 0);
        assert_eq!(last.plain, Digest::of(&plain));
    }
}

#[test]
fn bad_sources_end_with_what_is_wrong() {
    assert!(matches!(
        import(&[], WriteOptions::default()),
        Err(ImportError::Empty)
    ));

    let limit = WriteOptions {
        max_disk_bytes: 1000,
        ..WriteOptions::default()
    };
    assert!(matches!(
        import(&[0; 1001], limit),
        Err(ImportError::TooLarge { limit: 1000 })
    ));
    assert!(import(&[0; 1000], limit).is_ok());

    let vhd = [vec![1; CHUNK], b"conectix".to_vec(), vec![0; 504]].concat();
    assert!(matches!(
        import(&vhd, WriteOptions::default()),
        Err(ImportError::VhdFooter)
    ));

    struct Short(usize);
    impl Read for Short {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let now = self.0.min(out.len());
            out[..now].fill(1);
            self.0 -= now;
            Ok(now)
        }
    }
    impl ImageSource for Short {
        fn disk_size_bytes(&self) -> Option<u64> {
            Some(5 << 20)
        }
    }
    let mut writer = ArtifactWriter::new(Packs::default(), WriteOptions::default());
    let error = writer.import(&mut Short(3 << 20)).unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Truncated {
                expected: 0x50_0000,
                got: 0x30_0000
            }
        ),
        "{error}"
    );

    let mut broken = Cursor::new(noise(1, 2 * CHUNK)).chain(Broken);
    let mut writer = ArtifactWriter::new(Packs::default(), WriteOptions::default());
    let error = writer.import_stream(&mut broken).unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Read {
                offset: 0x20_0000,
                ..
            }
        ),
        "{error}"
    );
}

struct Broken;
impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the cable was pulled"))
    }
}

#[test]
fn a_sink_that_fails_ends_the_import_with_its_error() {
    struct Full;
    impl PackSink for Full {
        fn put_pack(&mut self, _: Digest, _: Vec<u8>) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let disk: Vec<u8> = (0..100).flat_map(|seed| noise(seed, CHUNK)).collect();
    for bytes in [CHUNK, disk.len()] {
        let options = WriteOptions {
            level: 1,
            ..WriteOptions::default()
        };
        let mut writer = ArtifactWriter::new(Full, options);
        let error = writer
            .import_stream(&mut Cursor::new(&disk[..bytes]))
            .unwrap_err();
        assert!(matches!(error, ImportError::Sink { .. }), "{error}");
    }
}

#[test]
fn a_flag_cancels() {
    let cancel = AtomicBool::new(false);
    let chunks = Cell::new(0);
    let progress = |_: &ImportProgress| {
        chunks.set(chunks.get() + 1);
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let disk: Vec<u8> = (0..100).flat_map(|seed| noise(seed, CHUNK)).collect();
    let options = WriteOptions {
        cancel: Some(&cancel),
        progress: Some(&progress),
        level: 1,
        ..WriteOptions::default()
    };
    let error = import(&disk, options).unwrap_err();
    assert!(matches!(error, ImportError::Cancelled), "{error}");
    assert!(chunks.get() < 50);
}

#[test]
fn a_damaged_pack_is_noticed_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = noise(3, 2 * CHUNK);
    let mut writer = ArtifactWriter::new(DirSink::new(dir.path()).unwrap(), WriteOptions::default());
    let manifest = writer.import_stream(&mut Cursor::new(&disk)).unwrap();
    let pack = dir
        .path()
        .join("packs")
        .join(manifest.packs[0].digest.to_string());
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[CHUNK + 100] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let mut out = Vec::new();
    let error = read_artifact(dir.path(), &manifest)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap_err();
    assert_eq!(out.len(), CHUNK);
    assert!(error.to_string().contains("is damaged"), "{error}");
    std::fs::remove_file(&pack).unwrap();
    let error = read_artifact(dir.path(), &manifest)
        .unwrap()
        .read_to_end(&mut out)
        .unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}
