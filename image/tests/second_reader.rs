//! A second reader of artifacts, written from `docs/image-format.md` alone. It shares no code with the crate: only
//! the libraries for BLAKE3, ed25519, zstd and the two AEADs. Where it and the crate differ, one of them or the document is wrong.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use imprint_image::seal::{Algorithm, DataKey, Seal};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{Manifest, SignedManifest, read_artifact};

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)]
mod targets;

const MIB: u64 = 1 << 20;

/// A field's value in protobuf's wire format.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7F).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn message(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (content, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Value::Bytes(content)
            }
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

fn number(fields: &[(u64, Value<'_>)], wanted: u64) -> u64 {
    let found = fields.iter().rev().find_map(|(number, value)| match value {
        Value::Number(value) if *number == wanted => Some(*value),
        _ => None,
    });
    found.unwrap_or(0)
}

fn bytes<'a>(fields: &[(u64, Value<'a>)], wanted: u64) -> &'a [u8] {
    let found = fields.iter().rev().find_map(|(number, value)| match value {
        Value::Bytes(value) if *number == wanted => Some(*value),
        _ => None,
    });
    found.unwrap_or(&[])
}

fn packed(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(varint(&mut bytes)?);
    }
    Some(numbers)
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// "Signed manifest": gives the bytes of the manifest.
fn open(file: &[u8], trusted: &[u8; 32]) -> Option<Vec<u8>> {
    if file.len() > 128 << 20 || file.get(..8)? != b"IMPRMAN1" || file.get(9..16)? != [0; 7] {
        return None;
    }
    let count = usize::from(file[8]);
    if !(1..=16).contains(&count) {
        return None;
    }
    let (signatures, manifest) = file[16..].split_at_checked(96 * count)?;
    let mut signed = b"imprint.manifest.signature.v1\0".to_vec();
    signed.extend(hash(manifest));
    let mut proven = false;
    for entry in signatures.chunks(96).filter(|entry| &entry[..32] == trusted) {
        UnparsedPublicKey::new(&ED25519, trusted)
            .verify(&signed, &entry[32..])
            .ok()?;
        proven = true;
    }
    proven.then(|| manifest.to_vec())
}

/// "Encrypted images": the key of one, ready to open its parts.
struct Opener {
    id: [u8; 32],
    key: LessSafeKey,
}

impl Opener {
    fn new(data_key: &[u8; 32], algorithm: u64) -> Option<Self> {
        let (context, algorithm) = match algorithm {
            1 => ("imprint.data-key.aes-256-gcm.v1", &aead::AES_256_GCM),
            2 => ("imprint.data-key.chacha20-poly1305.v1", &aead::CHACHA20_POLY1305),
            _ => return None,
        };
        let key = UnboundKey::new(algorithm, &blake3::derive_key(context, data_key)).ok()?;
        Some(Self {
            id: blake3::derive_key("imprint.data-key.id.v1", data_key),
            key: LessSafeKey::new(key),
        })
    }

    /// Ciphertext, 16 bytes of tag, 12 bytes of nonce.
    fn open(&self, sealed: &[u8], domain: &[u8], of: &[u8]) -> Option<Vec<u8>> {
        let (content, nonce) = sealed.split_last_chunk::<12>()?;
        let mut content = content.to_vec();
        let bound_to = [domain, &self.id[..], of].concat();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(bound_to), &mut content);
        Some(opened.ok()?.to_vec())
    }
}

/// "Encrypted images", and what of them is there: gives the manifest, and what opens frames.
fn unseal(manifest: Vec<u8>, data_key: Option<&[u8; 32]>) -> Option<(Vec<u8>, Option<Opener>)> {
    let fields = message(&manifest)?;
    match (number(&fields, 1), data_key) {
        (1, None) => {
            drop(fields);
            Some((manifest, None))
        }
        (2, Some(data_key)) => {
            let opener = Opener::new(data_key, number(&fields, 15))?;
            if bytes(&fields, 16) != opener.id {
                return None;
            }
            let content = opener.open(bytes(&fields, 17), b"imprint.sealed.manifest.v1\0", &[])?;
            (number(&message(&content)?, 1) == 2).then_some((content, Some(opener)))
        }
        _ => None,
    }
}

/// The disk of an image that is not encrypted. Such manifests are named by the identity here.
fn read(base: &Path, image: &str, trusted: &[u8; 32]) -> Option<Vec<u8>> {
    let (disk, identity) = read_with(base, image, trusted, None)?;
    (identity == image).then_some(disk)
}

/// "Manifest", "Identity", and "Chunks, holes, frames": gives the disk and its identity.
fn read_with(
    base: &Path,
    name: &str,
    trusted: &[u8; 32],
    data_key: Option<&[u8; 32]>,
) -> Option<(Vec<u8>, String)> {
    let file = fs::read(base.join("manifests").join(name)).ok()?;
    let (manifest, opener) = unseal(open(&file, trusted)?, data_key)?;
    let fields = message(&manifest)?;
    let size = number(&fields, 3);
    let sector = number(&fields, 4);
    let sealing = if opener.is_some() { 28 } else { 0 };
    let sound = number(&fields, 1) == 1 + u64::from(opener.is_some())
        && matches!(sector, 512 | 4096)
        && (1..=64 << 40).contains(&size)
        && size.is_multiple_of(sector)
        && number(&fields, 5) == MIB;
    if !sound {
        return None;
    }
    let (packs, sizes) = (bytes(&fields, 6), packed(bytes(&fields, 7))?);
    let (plain, frames) = (bytes(&fields, 9), bytes(&fields, 10));
    let (pack_of, offsets) = (packed(bytes(&fields, 11))?, packed(bytes(&fields, 12))?);
    let lengths = packed(bytes(&fields, 13))?;
    let count = lengths.len();
    let columns = [pack_of.len(), offsets.len(), plain.len() / 32, frames.len() / 32];
    if columns != [count; 4] || packs.len() != 32 * sizes.len() || sizes.len() > count {
        return None;
    }
    let mut identity = blake3::Hasher::new();
    identity.update(b"imprint.image.identity.v1\0");
    identity.update(&size.to_le_bytes());
    identity.update(&u32::try_from(sector).ok()?.to_le_bytes());
    identity.update(&(1u32 << 20).to_le_bytes());
    let (mut disk, mut next, mut index) = (Vec::new(), 0, 0);
    for run in fields.iter().filter(|(number, _)| *number == 8) {
        let Value::Bytes(run) = &run.1 else { return None };
        let run = message(run)?;
        let kind = number(&run, 1);
        for _ in 0..number(&run, 2) {
            let len = usize::try_from(MIB.min(size.checked_sub(index * MIB)?)).ok()?;
            index += 1;
            match kind {
                2 => identity.update(&[0]),
                3 => identity.update(&[2]),
                1 => {
                    let digest = plain.get(32 * next..32 * next + 32)?;
                    identity.update(&[1]).update(digest);
                    let pack = usize::try_from(pack_of[next]).ok()?;
                    let (offset, frame_len) = (offsets[next], lengths[next]);
                    let within = offset.checked_add(frame_len)? <= sizes.get(pack)?.checked_sub(64)?;
                    if !within || !(1 + sealing..=1_052_672 + sealing).contains(&frame_len) {
                        return None;
                    }
                    let name = hex(&packs[32 * pack..32 * pack + 32]);
                    let content = fs::read(base.join("packs").join(name)).ok()?;
                    let begin = usize::try_from(offset).ok()?;
                    let frame = content.get(begin..begin + usize::try_from(frame_len).ok()?)?;
                    if hash(frame)[..] != frames[32 * next..32 * next + 32] {
                        return None;
                    }
                    let frame = match &opener {
                        None => frame.to_vec(),
                        Some(opener) => {
                            let of = [digest, &u32::try_from(len).ok()?.to_le_bytes()].concat();
                            opener.open(frame, b"imprint.sealed.frame.v1\0", &of)?
                        }
                    };
                    let chunk = zstd::bulk::decompress(&frame, len).ok()?;
                    if chunk.len() != len || hash(&chunk)[..] != *digest {
                        return None;
                    }
                    disk.extend(chunk);
                    next += 1;
                    continue;
                }
                _ => return None,
            };
            disk.resize(disk.len() + len, 0);
        }
    }
    let digest = *identity.finalize().as_bytes();
    let whole = disk.len() as u64 == size && next == count && bytes(&fields, 2) == digest;
    whole.then(|| (disk, hex(&digest)))
}

/// A frame's place, its length, its plain digest and its own.
type Entry = (u64, u64, [u8; 32], [u8; 32]);

/// "Pack": what is in it.
fn index(pack: &[u8]) -> Option<Vec<Entry>> {
    index_with(pack, None)
}

/// The same, of an encrypted image.
fn index_with(pack: &[u8], opener: Option<&Opener>) -> Option<Vec<Entry>> {
    let footer = pack.len().checked_sub(64)?;
    let (content, footer) = pack.split_at(footer);
    let begin = usize::try_from(u64::from_le_bytes(footer[..8].try_into().ok()?)).ok()?;
    let stored = content.get(begin..)?;
    let index = match opener {
        None => stored.to_vec(),
        Some(opener) => opener.open(stored, b"imprint.sealed.index.v1\0", &[])?,
    };
    let count = u32::from_le_bytes(footer[8..12].try_into().ok()?) as usize;
    if footer[12..16] != [1 + u8::from(opener.is_some()), 0, 0, 0]
        || footer[56..] != *b"IMPPACK1"
        || index.len() != 72 * count
        || footer[16..48] != hash(stored)
    {
        return None;
    }
    let mut offset = 0u64;
    index
        .chunks(72)
        .map(|entry| {
            let begin = offset;
            let len = u64::from(u32::from_le_bytes(entry[64..68].try_into().ok()?));
            offset += len;
            Some((
                begin,
                len,
                entry[..32].try_into().ok()?,
                entry[32..64].try_into().ok()?,
            ))
        })
        .collect()
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Disks with a hole in front, between and behind, equal chunks, a short last chunk, text.
fn disks() -> Vec<(Vec<u8>, u32)> {
    let mib = 1usize << 20;
    let text = b"All that is stored is named by its content. ".repeat(40_000);
    vec![
        (vec![0; 3 * mib], 512),
        (noise(1, mib), 512),
        ([noise(1, 300_032), vec![0; 4 * mib], text.clone()].concat(), 512),
        (
            [
                vec![0; 2 * mib],
                noise(2, mib),
                noise(3, 2 * mib),
                noise(2, mib),
                vec![0; mib],
            ]
            .concat(),
            4096,
        ),
        ([text, vec![0; mib], noise(4, 5 * 4096)].concat(), 4096),
    ]
}

fn store(base: &Path, disk: &[u8], sector: u32) -> Manifest {
    let options = WriteOptions {
        logical_sector_bytes: Some(sector),
        ..WriteOptions::default()
    };
    let mut writer = ArtifactWriter::new(
        DirSink::new(base).expect("a temporary folder takes an artifact"),
        options,
    );
    let manifest = writer
        .import_stream(&mut Cursor::new(disk))
        .expect("a temporary folder takes an artifact");
    let signed = SignedManifest::sign(&manifest, &targets::well_known_key());
    fs::create_dir_all(base.join("manifests")).expect("a temporary folder takes an artifact");
    let path = base.join("manifests").join(manifest.image_digest.to_string());
    fs::write(path, signed.encode()).expect("a temporary folder takes an artifact");
    manifest
}

#[test]
fn it_reads_what_the_crate_writes() {
    let key = targets::well_known_key().public_key();
    for (number, (disk, sector)) in (0..).zip(disks()) {
        let dir = tempfile::tempdir().unwrap();
        let manifest = store(dir.path(), &disk, sector);
        let image = manifest.image_digest.to_string();
        let mut padded = disk;
        padded.resize(padded.len().next_multiple_of(sector as usize), 0);
        let got = read(dir.path(), &image, key.as_bytes());
        assert!(got.is_some_and(|got| got == padded), "disk {number}");
        assert!(read(dir.path(), &image, &[1; 32]).is_none());
        for pack in &manifest.packs {
            let content = fs::read(dir.path().join("packs").join(pack.digest.to_string())).unwrap();
            assert_eq!(hash(&content), *pack.digest.as_bytes());
            let entries = index(&content).expect("a sound index");
            for chunk in &manifest.chunks {
                let (plain, frame) = (*chunk.plain.as_bytes(), *chunk.frame.as_bytes());
                assert!(entries.contains(&(chunk.offset, chunk.frame_bytes.into(), plain, frame)));
            }
        }
    }
}

/// The artifact that is checked in was written by the first version of the crate. Nobody may forget how to read it.
#[test]
fn both_read_the_artifact_that_is_checked_in() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/artifact-v1");
    let key = targets::well_known_key().public_key();
    let image = "8934ef27980e41c321684be8b54781c7245b16e7d2f5cd8be518eeb6262cf3ac";
    let disk = read(&base, image, key.as_bytes()).expect("a sound artifact");
    let file = fs::read(base.join("manifests").join(image)).unwrap();
    let manifest = SignedManifest::open(&file, &[key]).unwrap();
    let mut again = Vec::new();
    read_artifact(&base, &manifest)
        .unwrap()
        .read_to_end(&mut again)
        .unwrap();
    assert!(disk == again);
    assert_eq!(disk.len(), (3 << 20) + 4096);
    assert_eq!(disk[..12], *b"Imprint's di");
    assert_eq!(disk[(3 << 20) + 4095], 7);
}

/// The crate and the second reader refuse the same damage.
#[test]
fn it_refuses_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, sector) = disks().swap_remove(2);
    let manifest = store(dir.path(), &disk, sector);
    let image = manifest.image_digest.to_string();
    let key = targets::well_known_key().public_key();
    let path = dir.path().join("manifests").join(&image);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, &bad).unwrap();
        assert!(read(dir.path(), &image, key.as_bytes()).is_none(), "byte {at}");
        assert!(SignedManifest::open(&bad, &[key]).is_err(), "byte {at}");
    }
    fs::write(&path, &good).unwrap();
    let pack = dir
        .path()
        .join("packs")
        .join(manifest.packs[0].digest.to_string());
    let mut content = fs::read(&pack).unwrap();
    content[100] ^= 4;
    fs::write(&pack, &content).unwrap();
    assert!(read(dir.path(), &image, key.as_bytes()).is_none());
    assert!(
        std::io::copy(
            &mut read_artifact(dir.path(), &manifest).unwrap(),
            &mut std::io::sink()
        )
        .is_err()
    );
}

/// Stores an encrypted disk; gives its manifest and the name of that.
fn store_encrypted(base: &Path, disk: &[u8], sector: u32, seal: &Seal) -> (Manifest, String) {
    let options = WriteOptions {
        logical_sector_bytes: Some(sector),
        seal: Some(seal),
        ..WriteOptions::default()
    };
    let sink = DirSink::new(base).expect("a temporary folder takes an artifact");
    let manifest = ArtifactWriter::new(sink, options)
        .import_stream(&mut Cursor::new(disk))
        .expect("a temporary folder takes an artifact");
    let signed = SignedManifest::sign(&manifest, &targets::well_known_key());
    let name = signed.manifest_digest().to_string();
    fs::create_dir_all(base.join("manifests")).expect("a temporary folder takes an artifact");
    fs::write(base.join("manifests").join(&name), signed.encode())
        .expect("a temporary folder takes an artifact");
    (manifest, name)
}

#[test]
fn it_reads_what_the_crate_encrypts() {
    let key = targets::well_known_key().public_key();
    for (number, (disk, sector)) in (0u8..).zip(disks()) {
        let secret = [number; 32];
        for (name, algorithm) in [(1, Algorithm::Aes256Gcm), (2, Algorithm::ChaCha20Poly1305)] {
            let dir = tempfile::tempdir().unwrap();
            let seal = Seal::new(&DataKey::from_bytes(secret), algorithm);
            let (manifest, stored) = store_encrypted(dir.path(), &disk, sector, &seal);
            let mut padded = disk.clone();
            padded.resize(padded.len().next_multiple_of(sector as usize), 0);
            let got = read_with(dir.path(), &stored, key.as_bytes(), Some(&secret));
            let expected = (padded, manifest.image_digest.to_string());
            assert!(got.is_some_and(|got| got == expected), "disk {number}");
            assert!(read_with(dir.path(), &stored, key.as_bytes(), Some(&[99; 32])).is_none());
            assert!(read_with(dir.path(), &stored, key.as_bytes(), None).is_none());
            let opener = Opener::new(&secret, name).unwrap();
            for pack in &manifest.packs {
                let content = fs::read(dir.path().join("packs").join(pack.digest.to_string())).unwrap();
                assert!(index(&content).is_none());
                let entries = index_with(&content, Some(&opener)).expect("a sound index");
                for chunk in &manifest.chunks {
                    let (plain, frame) = (*chunk.plain.as_bytes(), *chunk.frame.as_bytes());
                    assert!(entries.contains(&(chunk.offset, chunk.frame_bytes.into(), plain, frame)));
                }
            }
        }
    }
}

/// The same disk as in the other artifact that is checked in, encrypted by the first version that could.
#[test]
fn both_read_the_encrypted_artifact_that_is_checked_in() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/artifact-v2");
    let key = targets::well_known_key().public_key();
    let name = fs::read_dir(base.join("manifests"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let name = name.file_name().into_string().unwrap();
    let secret = *targets::well_known_data_key().expose();
    let (disk, identity) = read_with(&base, &name, key.as_bytes(), Some(&secret)).expect("a sound artifact");
    assert_eq!(
        identity,
        "8934ef27980e41c321684be8b54781c7245b16e7d2f5cd8be518eeb6262cf3ac"
    );
    let file = fs::read(base.join("manifests").join(&name)).unwrap();
    let manifest = SignedManifest::open_with(&file, &[key], Some(&targets::well_known_data_key())).unwrap();
    let mut again = Vec::new();
    read_artifact(&base, &manifest)
        .unwrap()
        .read_to_end(&mut again)
        .unwrap();
    assert!(disk == again);
}
