use proptest::prelude::*;

use super::*;
use crate::seal::Algorithm;
use crate::{MAX_FRAME_BYTES, MAX_PACK_BYTES, PartitionEntry, PartitionTable};

fn digest(seed: u64) -> Digest {
    Digest::of(&seed.to_le_bytes())
}

/// A disk of `tiles`: 0 and 1 are holes of the two kinds, everything else is data.
fn manifest_of(tiles: &[u8], last_bytes: u64) -> Manifest {
    let mut chunks = Vec::new();
    let mut holes = Vec::new();
    for (index, tile) in (0u64..).zip(tiles) {
        match tile {
            0 => holes.push(Hole {
                first_chunk: index,
                chunk_count: 1,
                kind: HoleKind::MustBeZero,
            }),
            1 => holes.push(Hole {
                first_chunk: index,
                chunk_count: 1,
                kind: HoleKind::DontCare,
            }),
            _ => chunks.push(Chunk {
                index,
                plain: digest(index),
                frame: digest(index + 1000),
                pack: u32::from(*tile) % 2,
                offset: index * 7,
                frame_bytes: 100 + u32::from(*tile),
            }),
        }
    }
    let packs = if chunks.len() < 2 {
        chunks.iter_mut().for_each(|chunk| chunk.pack = 0);
        chunks
            .iter()
            .map(|_| PackRef {
                digest: digest(1),
                size_bytes: 1 << 20,
            })
            .collect()
    } else {
        vec![
            PackRef {
                digest: digest(1),
                size_bytes: 1 << 20,
            },
            PackRef {
                digest: digest(2),
                size_bytes: MAX_PACK_BYTES,
            },
        ]
    };
    let partitions = PartitionSummary {
        table: PartitionTable::Gpt,
        disk_id: "a-guid".into(),
        hybrid_mbr: true,
        partitions: vec![PartitionEntry {
            number: 3,
            first_byte: 512,
            size_bytes: 1024,
            type_id: "0x83".into(),
            name: "root ü".into(),
            unique_id: "x".into(),
        }],
        notes: vec!["odd".into()],
    };
    let size = (tiles.len() as u64 - 1) * u64::from(CHUNK_BYTES) + last_bytes;
    Manifest::assemble(size, 512, packs, chunks, holes, partitions).unwrap()
}

/// As a reader sees it: neighbouring holes of one kind are one run.
fn merged(mut manifest: Manifest) -> Manifest {
    manifest.holes = manifest
        .holes
        .into_iter()
        .fold(Vec::new(), |mut holes: Vec<Hole>, hole| {
            match holes.last_mut() {
                Some(last)
                    if last.kind == hole.kind && last.first_chunk + last.chunk_count == hole.first_chunk =>
                {
                    last.chunk_count += hole.chunk_count;
                }
                _ => holes.push(hole),
            }
            holes
        });
    manifest
}

proptest! {
    #[test]
    fn encoding_round_trips(tiles in prop::collection::vec(0u8..6, 1..40), sectors in 1u64..=2048) {
        let manifest = manifest_of(&tiles, sectors * 512);
        let decoded = Manifest::decode(&manifest.encode()).unwrap();
        // How holes are cut does not change the identity, which decoding has checked.
        prop_assert_eq!(&decoded, &merged(manifest));
        prop_assert_eq!(decoded.encode(), decoded.clone().encode());
    }

    #[test]
    fn mutated_manifests_never_panic_and_never_pass_as_another_image(
        tiles in prop::collection::vec(0u8..6, 1..20),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let manifest = manifest_of(&tiles, 512);
        let mut bytes = manifest.encode();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(other) = Manifest::decode(bytes) {
                prop_assert!(validate::validate(&other).is_ok());
                prop_assert_eq!(identity::of(&other), other.image_digest);
                prop_assert!(other.fetch_bytes() >= other.stored_bytes());
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _unread = Manifest::decode(&bytes).is_ok();
    }
}

#[test]
fn ranges_and_sums_are_those_of_the_disk() {
    let manifest = manifest_of(&[2, 0, 0, 3, 2], 1536);
    assert_eq!(manifest.chunk_count(), 5);
    assert_eq!(manifest.chunk_range(0), 0..1 << 20);
    assert_eq!(manifest.chunk_range(4), 4 << 20..(4 << 20) + 1536);
    assert!(manifest.chunk_range(5).is_empty());
    assert!(manifest.chunk_range(u64::MAX).is_empty());
    assert_eq!(manifest.data_bytes(), (2 << 20) + 1536);
    assert_eq!(manifest.fetch_bytes(), 102 + 103 + 102);
    let all: Vec<_> = manifest
        .holes
        .iter()
        .map(|hole| manifest.hole_range(hole))
        .collect();
    assert_eq!(all, [1 << 20..2 << 20, 2 << 20..3 << 20]);
}

#[test]
fn identity_is_that_of_the_content_alone() {
    let manifest = manifest_of(&[2, 0, 3], 512);
    let mut repacked = manifest.clone();
    for chunk in &mut repacked.chunks {
        chunk.frame = digest(77);
        chunk.offset += 1;
        chunk.frame_bytes -= 1;
    }
    repacked.partitions = PartitionSummary::default();
    let again = Manifest::decode(&repacked.encode()).unwrap();
    assert_eq!(again.image_digest, manifest.image_digest);
    for (name, other) in [
        ("content", manifest_of(&[2, 0, 0, 3], 512)),
        ("kind of hole", manifest_of(&[2, 1, 3], 512)),
        ("size", manifest_of(&[2, 0, 3], 1024)),
    ] {
        assert_ne!(other.image_digest, manifest.image_digest, "{name}");
    }
}

/// The examples of the document, so that a second implementation has something to check against.
#[test]
fn identity_is_the_digest_of_the_documented_bytes() {
    let head = |size: u64| {
        let mut bytes = b"imprint.image.identity.v1\0".to_vec();
        bytes.extend(size.to_le_bytes());
        bytes.extend(512u32.to_le_bytes());
        bytes.extend((1u32 << 20).to_le_bytes());
        bytes
    };
    let empty = manifest_of(&[0, 0, 0], 1 << 20).image_digest;
    assert_eq!(empty, Digest::of(&[&head(3 << 20)[..], &[0, 0, 0]].concat()));
    assert_eq!(
        empty.to_string(),
        "ff1193ebd850dc82904221f7d4243ef97b73321c76b3aa1fd91c04a27e29a620"
    );

    let mixed = manifest_of(&[2, 0, 1, 3, 1], 512).image_digest;
    let (first, fourth) = (digest(0), digest(3));
    let records = [&[1][..], first.as_bytes(), &[0, 2, 1], fourth.as_bytes(), &[2]].concat();
    assert_eq!(mixed, Digest::of(&[head((4 << 20) + 512), records].concat()));
}

fn key() -> DataKey {
    DataKey::from_bytes([9; 32])
}

/// The same disk, encrypted.
fn encrypted(tiles: &[u8], algorithm: Algorithm) -> Manifest {
    let mut manifest = manifest_of(tiles, 512);
    manifest.format_version = SEALED_FORMAT_VERSION;
    manifest.seal = Some(Seal::new(&key(), algorithm));
    manifest
}

#[test]
fn an_encrypted_manifest_opens_with_its_key_only_and_shows_nothing() {
    let plain = manifest_of(&[2, 0, 3, 5], 512);
    for algorithm in Algorithm::ALL {
        let manifest = encrypted(&[2, 0, 3, 5], algorithm);
        assert_eq!(manifest.image_digest, plain.image_digest);
        let stored = manifest.encode();
        assert_eq!(Manifest::decode_with(&stored, Some(&key())).unwrap(), manifest);
        let shown = |bytes: &[u8]| stored.windows(bytes.len()).any(|window| window == bytes);
        for chunk in &manifest.chunks {
            assert!(!shown(chunk.plain.as_bytes()) && !shown(chunk.frame.as_bytes()));
        }
        assert!(!shown(manifest.image_digest.as_bytes()) && !shown(b"a-guid") && !shown(b"root"));
        assert!(shown(key().id().as_bytes()));

        let error = Manifest::decode(&stored).unwrap_err();
        assert!(matches!(error, ManifestError::Encrypted { key_id } if key_id == key().id()));
        assert_eq!(Manifest::key_id(&stored).unwrap(), Some(key().id()));
        let error = Manifest::decode_with(&stored, Some(&DataKey::generate())).unwrap_err();
        assert!(
            matches!(error, ManifestError::WrongKey { expected, .. } if expected == key().id()),
            "{error}"
        );
        // An attacker who names the key that was given cannot make it fit.
        let strange = DataKey::from_bytes([8; 32]);
        let at = stored
            .windows(32)
            .position(|window| window == key().id().as_bytes());
        let mut renamed = stored.clone();
        renamed[at.unwrap()..][..32].copy_from_slice(strange.id().as_bytes());
        let error = Manifest::decode_with(&renamed, Some(&strange)).unwrap_err();
        assert!(matches!(error, ManifestError::Open { .. }), "{error}");
    }
    assert_eq!(Manifest::key_id(&plain.encode()).unwrap(), None);
    let error = Manifest::decode_with(&plain.encode(), Some(&key())).unwrap_err();
    assert!(matches!(error, ManifestError::NotEncrypted), "{error}");
}

#[test]
fn no_byte_of_an_encrypted_manifest_can_be_changed() {
    let stored = encrypted(&[2, 0, 3], Algorithm::Aes256Gcm).encode();
    for at in 0..stored.len() {
        for bit in [0, 3, 7] {
            let mut bad = stored.clone();
            bad[at] ^= 1 << bit;
            assert!(
                Manifest::decode_with(&bad, Some(&key())).is_err(),
                "bit {bit} of byte {at}"
            );
        }
        assert!(
            Manifest::decode_with(&stored[..at], Some(&key())).is_err(),
            "{at} bytes"
        );
    }
}

/// What a program that knows version 1 alone does with it: decode the version, and refuse.
#[test]
fn an_encrypted_manifest_begins_with_its_version() {
    let stored = encrypted(&[2], Algorithm::default()).encode();
    assert_eq!(stored[..2], [8, 2]);
}

/// Inside of the seal, the rules are the same, and a manifest that is none is told as such.
#[test]
fn a_sealed_manifest_says_its_version_inside_as_well() {
    let seal = Seal::new(&key(), Algorithm::default());
    let mut manifest = encrypted(&[2, 0], Algorithm::default());
    manifest.format_version = FORMAT_VERSION;
    let error = Manifest::decode_with(&manifest.encode(), Some(&key())).unwrap_err();
    assert!(error.to_string().contains("format version is 1"), "{error}");
    manifest.format_version = SEALED_FORMAT_VERSION;
    manifest.chunks[0].frame_bytes = 28;
    let error = Manifest::decode_with(&manifest.encode(), Some(&key())).unwrap_err();
    assert!(error.to_string().contains("a frame that is empty"), "{error}");
    manifest.chunks[0].frame_bytes = MAX_FRAME_BYTES + 28;
    manifest.packs[0].size_bytes = MAX_PACK_BYTES;
    assert!(Manifest::decode_with(&manifest.encode(), Some(&key())).is_ok());
    manifest.chunks[0].frame_bytes += 1;
    assert!(Manifest::decode_with(&manifest.encode(), Some(&key())).is_err());
    manifest.seal = None;
    assert!(validate::validate(&manifest).is_err());
    manifest.seal = Some(seal);
}

/// Spoils a valid manifest.
type Spoil = fn(&mut Manifest);

#[test]
fn every_rule_is_enforced() {
    let cases: &[(&str, Spoil)] = &[
        ("format version", |m| m.format_version = 2),
        ("sector size", |m| m.logical_sector_bytes = 1024),
        ("disk size", |m| m.disk_size_bytes += 1),
        ("disk size", |m| m.disk_size_bytes = 0),
        ("disk size", |m| m.disk_size_bytes = MAX_DISK_BYTES + 512),
        ("chunk size", |m| m.chunk_bytes = 4096),
        ("missing or listed twice", |m| m.disk_size_bytes += 1 << 20),
        ("missing or listed twice", |m| m.disk_size_bytes -= 1 << 20),
        ("missing or listed twice", |m| {
            m.holes.pop();
        }),
        ("missing or listed twice", |m| m.holes[0].chunk_count = u64::MAX),
        ("missing or listed twice", |m| m.holes[0].chunk_count = 0),
        ("missing or listed twice", |m| m.chunks[1].index = 0),
        ("missing or listed twice", |m| m.chunks.swap(0, 1)),
        ("a pack that is not listed", |m| m.chunks[0].pack = 9),
        ("a frame that is empty", |m| m.chunks[0].frame_bytes = 0),
        ("a frame that is empty", |m| {
            m.chunks[0].frame_bytes = MAX_FRAME_BYTES + 1;
        }),
        ("behind its pack", |m| m.chunks[0].offset = u64::MAX),
        ("behind its pack", |m| m.chunks[0].offset = (1 << 20) - 64),
        ("a size that no pack has", |m| {
            m.packs[1].size_bytes = MAX_PACK_BYTES + 1;
        }),
        ("a size that no pack has", |m| m.packs[1].size_bytes = 64),
        ("two entries", |m| m.packs[1] = m.packs[0]),
        ("number of packs", |m| {
            m.packs.extend((10..20).map(|n| PackRef {
                digest: digest(n),
                size_bytes: 999,
            }));
        }),
        ("a text", |m| m.partitions.disk_id = "x".repeat(257)),
        ("a text", |m| m.partitions.partitions[0].name = "x".repeat(257)),
        ("number of partitions", |m| {
            m.partitions.partitions = vec![PartitionEntry::default(); 257];
        }),
        ("number of notes", |m| {
            m.partitions.notes = vec![String::new(); 33];
        }),
        ("place of a partition", |m| {
            m.partitions.partitions[0].first_byte = 1 << 40;
        }),
        ("place of a partition", |m| {
            m.partitions.partitions[0].size_bytes = u64::MAX;
        }),
        ("has the identity", |m| m.image_digest = digest(5)),
        ("has the identity", |m| m.chunks[0].plain = digest(5)),
    ];
    for (expected, spoil) in cases {
        let mut manifest = manifest_of(&[2, 3, 0, 5], 512);
        spoil(&mut manifest);
        let error = match validate::validate(&manifest) {
            // Only what survives encoding is left to be found by decoding.
            Ok(()) => Manifest::decode(&manifest.encode()).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        if *expected != "missing or listed twice" {
            assert!(Manifest::decode(&manifest.encode()).is_err(), "{expected}");
        }
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut manifest = manifest_of(&[2], 512);
    manifest.format_version = 7;
    let error = Manifest::decode(&manifest.encode()).unwrap_err();
    assert!(
        matches!(error, ManifestError::UnsupportedVersion { got: 7, supported: 2 }),
        "{error}"
    );
}
