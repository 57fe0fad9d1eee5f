//! Encrypted images: any disk comes back with its key; with anything else, there is an error and never a wrong byte; and
//! nothing of a disk can be read in the store.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use imprint_image::facts::{ArtifactDisk, ReadAt};
use imprint_image::frame::{Decoder, FrameError, verify_frame_and_decode};
use imprint_image::read::ReadArtifactError;
use imprint_image::seal::{Algorithm, DataKey, OVERHEAD_BYTES, Seal};
use imprint_image::write::{ArtifactWriter, DirSink, KnownChunk, WriteOptions};
use imprint_image::{
    CHUNK_BYTES, Digest, Manifest, ManifestError, SignedManifest, SigningKey, read_artifact,
};
use proptest::prelude::*;
use proptest::sample::Index;

const CHUNK: usize = CHUNK_BYTES as usize;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Pieces of zeros, noise and text; few seeds, so that chunks repeat.
fn disk() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0usize..2 * CHUNK, 1usize..CHUNK + 9, 0u64..3, any::<bool>());
    prop::collection::vec(piece, 1..4).prop_map(|pieces| {
        let mut disk = Vec::new();
        for (zeros, len, seed, aligned) in pieces {
            disk.resize(disk.len() + zeros, 0);
            if aligned {
                disk.resize(disk.len().next_multiple_of(CHUNK), 0);
            }
            if seed == 0 {
                disk.extend(b"words of text ".iter().copied().cycle().take(len));
            } else {
                disk.extend(noise(seed, len));
            }
        }
        disk.resize(disk.len().next_multiple_of(512), 0);
        disk
    })
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(Algorithm::ALL.to_vec())
}

fn import(dir: &Path, disk: &[u8], options: WriteOptions<'_>) -> Manifest {
    ArtifactWriter::new(DirSink::new(dir).expect("a folder"), options)
        .import_stream(&mut Cursor::new(disk))
        .expect("an import")
}

fn encrypt(dir: &Path, disk: &[u8], seal: &Seal) -> Manifest {
    let options = WriteOptions {
        level: 1,
        threads: 2,
        logical_sector_bytes: Some(512),
        seal: Some(seal),
        ..WriteOptions::default()
    };
    import(dir, disk, options)
}

fn whole(dir: &Path, manifest: &Manifest) -> io::Result<Vec<u8>> {
    let mut disk = Vec::new();
    read_artifact(dir, manifest)?.read_to_end(&mut disk)?;
    Ok(disk)
}

fn why(error: &io::Error) -> Option<&FrameError> {
    match error.get_ref()?.downcast_ref()? {
        ReadArtifactError::Frame { source, .. } => Some(source),
        ReadArtifactError::Pack { .. } => None,
    }
}

fn pack_path(dir: &Path, manifest: &Manifest, pack: u32) -> PathBuf {
    dir.join("packs")
        .join(manifest.packs[pack as usize].digest.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disk_comes_back_with_any_key(
        disk in disk(),
        secret in any::<[u8; 32]>(),
        algorithm in algorithm(),
        place in any::<Index>(),
    ) {
        let (dir, key) = (tempfile::tempdir().expect("a folder"), DataKey::from_bytes(secret));
        let made = encrypt(dir.path(), &disk, &Seal::new(&key, algorithm));
        let signer = SigningKey::generate().expect("a key");
        let stored = SignedManifest::sign(&made, &signer).encode();
        let manifest = SignedManifest::open_with(&stored, &[signer.public_key()], Some(&key)).expect("its key");
        prop_assert_eq!(&manifest, &made);
        prop_assert!(whole(dir.path(), &manifest).expect("a sound artifact") == disk);
        // At any place as well, as the facts of an image are read.
        let at = place.index(disk.len());
        let mut piece = vec![0; (disk.len() - at).min(70_000)];
        ArtifactDisk::new(dir.path(), &manifest).expect("a decoder").read_at(at as u64, &mut piece).expect("sound");
        prop_assert!(piece == disk[at..at + piece.len()]);
        // Its identity is that of the same disk without encryption.
        let plain = tempfile::tempdir().expect("a folder");
        let options = WriteOptions { level: 1, logical_sector_bytes: Some(512), ..WriteOptions::default() };
        prop_assert_eq!(import(plain.path(), &disk, options).image_digest, manifest.image_digest);
    }

    #[test]
    fn what_is_not_right_is_an_error_and_never_a_wrong_byte(
        disk in disk(),
        algorithm in algorithm(),
        place in any::<Index>(),
        other in any::<Index>(),
        bit in 0u8..8,
        cut in 1u32..=OVERHEAD_BYTES,
    ) {
        let (dir, key) = (tempfile::tempdir().expect("a folder"), DataKey::generate());
        let seal = Seal::new(&key, algorithm);
        let manifest = encrypt(dir.path(), &disk, &seal);
        prop_assume!(!manifest.chunks.is_empty());
        let path = pack_path(dir.path(), &manifest, 0);
        let good = fs::read(&path).expect("a pack");
        let number = place.index(manifest.chunks.len());
        let chunk = manifest.chunks[number].clone();
        let begin = usize::try_from(chunk.offset).expect("a short pack");
        let frame = &good[begin..begin + chunk.frame_bytes as usize];

        // Another key.
        let mut strange = manifest.clone();
        strange.seal = Some(Seal::new(&DataKey::generate(), algorithm));
        let error = whole(dir.path(), &strange).expect_err("the wrong key");
        prop_assert!(matches!(why(&error), Some(FrameError::Open { .. })), "{:?}", error);

        // A flipped bit: found before anything is decrypted.
        let mut bad = good.clone();
        bad[begin + place.index(frame.len())] ^= 1 << bit;
        fs::write(&path, &bad).expect("room");
        let error = whole(dir.path(), &manifest).expect_err("a flipped bit");
        prop_assert!(matches!(why(&error), Some(FrameError::FrameDigest { .. })), "{:?}", error);
        fs::write(&path, &good).expect("room");

        // The manifest itself is a liar: it names the frame of another chunk, or cuts off of a frame.
        let from = manifest.chunks[other.index(manifest.chunks.len())].clone();
        let mut swapped = manifest.clone();
        (swapped.chunks[number].frame, swapped.chunks[number].offset) = (from.frame, from.offset);
        swapped.chunks[number].frame_bytes = from.frame_bytes;
        match whole(dir.path(), &swapped) {
            Ok(read) => prop_assert!(from.plain == chunk.plain && read == disk),
            Err(error) => {
                prop_assert!(from.plain != chunk.plain);
                prop_assert!(matches!(why(&error), Some(FrameError::Open { .. })), "{:?}", error);
            }
        }
        let short = &frame[..frame.len() - cut as usize];
        let mut truncated = chunk.clone();
        (truncated.frame, truncated.frame_bytes) = (Digest::of(short), chunk.frame_bytes - cut);
        let mut out = vec![0; CHUNK];
        let range = manifest.chunk_range(chunk.index);
        let len = usize::try_from(range.end - range.start).expect("a chunk");
        let mut decoder = Decoder::of(&manifest).expect("a decoder");
        let error = verify_frame_and_decode(&mut short.to_vec(), &truncated, len, &mut out, &mut decoder);
        prop_assert!(matches!(error, Err(FrameError::Open { .. })), "{:?}", error);
    }
}

/// Marks that no compression hides: noise, which zstd keeps as it is, and the digests of known chunks.
#[test]
fn nothing_of_a_disk_can_be_read_in_the_store() {
    let mark = b"a marker that nobody may find in the store";
    let mut disk = noise(1, CHUNK + 4096);
    disk[CHUNK + 77..CHUNK + 77 + mark.len()].copy_from_slice(mark);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let found = |dir: &Path, stored: &[u8], manifest: &Manifest| {
        let packs = fs::read_dir(dir.join("packs")).unwrap();
        let mut objects: Vec<Vec<u8>> = packs
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        objects.push(stored.to_vec());
        let identity = manifest.image_digest;
        let mut wanted = vec![mark.to_vec(), identity.as_bytes().to_vec()];
        wanted.extend(
            manifest
                .chunks
                .iter()
                .map(|chunk| chunk.plain.as_bytes().to_vec()),
        );
        wanted.extend(disk.chunks(CHUNK).map(|chunk| chunk[..64].to_vec()));
        wanted
            .iter()
            .filter(|wanted| {
                objects
                    .iter()
                    .any(|object| object.windows(wanted.len()).any(|window| window == &wanted[..]))
            })
            .count()
    };
    let signer = SigningKey::generate().unwrap();
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = import(open.path(), &disk, WriteOptions::default());
    let stored = SignedManifest::sign(&plain, &signer).encode();
    assert_eq!(
        found(open.path(), &stored, &plain),
        2 + 2 + 2,
        "the search finds what is there"
    );
    for algorithm in Algorithm::ALL {
        let seal = Seal::new(&DataKey::generate(), algorithm);
        let manifest = encrypt(closed.path(), &disk, &seal);
        assert_eq!(manifest.image_digest, plain.image_digest);
        let stored = SignedManifest::sign(&manifest, &signer).encode();
        assert_eq!(found(closed.path(), &stored, &manifest), 0);
    }
}

/// Frames of other images would not open, and that there are any would tell what they hold.
#[test]
fn equal_chunks_are_found_within_the_image_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = [noise(1, CHUNK), noise(2, CHUNK), noise(1, CHUNK)].concat();
    let known = |_: &Digest| -> Option<KnownChunk> { panic!("no other image is asked") };
    let seal = Seal::new(&DataKey::generate(), Algorithm::default());
    let options = WriteOptions {
        known: &known,
        seal: Some(&seal),
        ..WriteOptions::default()
    };
    let manifest = import(dir.path(), &disk, options);
    assert_eq!(manifest.chunks.len(), 3);
    assert_eq!(manifest.chunks[0].offset, manifest.chunks[2].offset);
    assert_eq!(
        manifest.fetch_bytes() - manifest.stored_bytes(),
        u64::from(manifest.chunks[0].frame_bytes)
    );
    assert!(whole(dir.path(), &manifest).unwrap() == disk);
    // The same disk under another key shares nothing with it.
    let again = encrypt(
        dir.path(),
        &disk,
        &Seal::new(&DataKey::generate(), Algorithm::default()),
    );
    assert!(again.packs.iter().all(|pack| !manifest.packs.contains(pack)));
}

/// Row 62: an encrypted image becomes one that is not, and that one an encrypted one again: the same disk, and nothing in
/// common in the store.
#[test]
fn row_62_encrypted_to_unencrypted_and_back_is_the_same_image() {
    let disk = [noise(1, CHUNK), vec![0; CHUNK], noise(2, 5 * 512)].concat();
    let dir = tempfile::tempdir().unwrap();
    let first = encrypt(
        dir.path(),
        &disk,
        &Seal::new(&DataKey::generate(), Algorithm::default()),
    );
    let copy = |from: &Manifest, seal: Option<&Seal>| {
        let options = WriteOptions {
            logical_sector_bytes: Some(from.logical_sector_bytes),
            seal,
            ..WriteOptions::default()
        };
        let mut source = read_artifact(dir.path(), from).unwrap();
        ArtifactWriter::new(DirSink::new(dir.path()).unwrap(), options)
            .import_stream(&mut source)
            .unwrap()
    };
    let open = copy(&first, None);
    let again = Seal::new(&DataKey::generate(), Algorithm::ChaCha20Poly1305);
    let again = copy(&open, Some(&again));
    assert!(open.seal.is_none() && again.seal.is_some());
    for manifest in [&first, &open, &again] {
        assert_eq!(manifest.image_digest, first.image_digest);
        assert!(whole(dir.path(), manifest).unwrap() == disk);
    }
    let packs = |manifest: &Manifest| manifest.packs.clone();
    assert!(packs(&first).iter().all(|pack| !packs(&open).contains(pack)));
    assert!(packs(&open).iter().all(|pack| !packs(&again).contains(pack)));
}

#[test]
fn without_its_key_an_image_is_refused_by_name() {
    let (dir, key) = (tempfile::tempdir().unwrap(), DataKey::generate());
    let manifest = encrypt(
        dir.path(),
        &noise(1, 4096),
        &Seal::new(&key, Algorithm::default()),
    );
    let signer = SigningKey::generate().unwrap();
    let (stored, keys) = (
        SignedManifest::sign(&manifest, &signer).encode(),
        [signer.public_key()],
    );
    assert_eq!(SignedManifest::key_id(&stored).unwrap(), Some(key.id()));
    let error = SignedManifest::open(&stored, &keys).unwrap_err();
    assert!(matches!(error, ManifestError::Encrypted { key_id } if key_id == key.id()));
    let error = SignedManifest::open_with(&stored, &keys, Some(&DataKey::generate())).unwrap_err();
    assert!(matches!(error, ManifestError::WrongKey { .. }));
    // A signature is looked at before anything is decrypted.
    let mut bad = stored.clone();
    *bad.last_mut().unwrap() ^= 1;
    let error = SignedManifest::open_with(&bad, &keys, Some(&key)).unwrap_err();
    assert!(matches!(error, ManifestError::BadSignature { .. }));
    let error = SignedManifest::open_unverified_with(&bad, Some(&key)).unwrap_err();
    assert!(matches!(error, ManifestError::Open { .. }));
}
