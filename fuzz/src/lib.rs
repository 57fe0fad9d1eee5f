//! What the fuzzers do with bytes that anybody may have made.
//!
//! Each function takes one input and panics when a promise of `imprint-image` does not hold for it. They are used
//! twice: by the libFuzzer programs in `fuzz_targets/`, and by `image/tests/fuzz_smoke.rs`, which includes this file
//! and runs them on mutated seeds in the usual test run.

pub mod sparse;

use std::fs::File;
use std::io::{Cursor, Seek, SeekFrom, Write};

use imprint_image::facts::{self, DiskKind, Facts};
use imprint_image::frame::{Decoder, verify_and_decode, verify_frame_and_decode};
use imprint_image::pack::{self, PackBuilder};
use imprint_image::partition::read_summary;
use imprint_image::seal::{Algorithm, DataKey, Seal};
use imprint_image::source::{self, Format, ImageSource, Limits, Qcow2Reader};
use imprint_image::{CHUNK_BYTES, Chunk, Digest, Manifest, PublicKey, SignedManifest, SigningKey};
use sparse::unfold;

/// A target: its name, which is that of its folder of seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 16] = [
    ("manifest", manifest),
    ("signed", signed),
    ("pack_index", pack_index),
    ("frame", frame),
    ("sealed", sealed),
    ("qcow2", qcow2),
    ("vmdk", vmdk),
    ("vhd", vhd),
    ("vhdx", vhdx),
    ("vdi", vdi),
    ("qed", qed),
    ("qcow", qcow),
    ("detect", detect),
    ("compressed", compressed),
    ("partitions", partitions),
    ("facts", facts),
];

const PAGE_BYTES: usize = 4096;

/// PKCS#8 of an ed25519 key, without the 32 bytes of its seed.
const PKCS8: [u8; 16] = [
    0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

/// The key that signs the seeds. Everybody knows it.
#[must_use]
pub fn well_known_key() -> SigningKey {
    SigningKey::from_pkcs8(&[&PKCS8[..], &[7; 32]].concat()).expect("a well-formed key")
}

/// The key that the seeds are encrypted with. Everybody knows it.
#[must_use]
pub fn well_known_data_key() -> DataKey {
    DataKey::from_bytes([5; 32])
}

/// A manifest without its envelope: what is valid tiles its disk and survives being written again.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(data) else {
        return;
    };
    let holes: u64 = manifest
        .holes
        .iter()
        .map(|hole| {
            let range = manifest.hole_range(hole);
            range.end - range.start
        })
        .sum();
    assert_eq!(manifest.data_bytes() + holes, manifest.disk_size_bytes);
    let encoded = manifest.encode();
    let again = Manifest::decode(&encoded).expect("what was valid is valid");
    assert_eq!(again.image_digest, manifest.image_digest);
    assert_eq!((&again.chunks, &again.packs), (&manifest.chunks, &manifest.packs));
    assert_eq!(again.partitions, manifest.partitions);
    assert_eq!(again.encode(), encoded);
}

/// A signed manifest: who did not sign cannot vouch for it.
pub fn signed(data: &[u8]) {
    let unverified = SignedManifest::open_unverified(data);
    if let Ok(manifest) = SignedManifest::open(data, &[well_known_key().public_key()]) {
        assert_eq!(
            unverified.expect("the same bytes").image_digest,
            manifest.image_digest
        );
    }
    let stranger = PublicKey::from_bytes([9; 32]);
    assert!(SignedManifest::open(data, &[stranger]).is_err());
}

/// The index of a pack: taken as it is, and with its digest made right.
pub fn pack_index(data: &[u8]) {
    for data in [data.to_vec(), sealed_pack(data)] {
        let Ok(entries) = pack::read_index(&mut Cursor::new(&data)) else {
            continue;
        };
        let mut builder = PackBuilder::default();
        for entry in &entries {
            let at = usize::try_from(entry.offset).expect("a place in the file");
            let frame = &data[at..at + entry.frame_bytes as usize];
            assert!(builder.fits(frame.len()));
            let offset = builder.push(frame, entry.plain, entry.frame, entry.plain_bytes);
            assert_eq!(offset, entry.offset);
        }
        let (_, rebuilt) = builder.finish();
        let reserved = data.len() - 16..data.len() - 8;
        assert_eq!(rebuilt.len(), data.len());
        assert_eq!(rebuilt[..reserved.start], data[..reserved.start]);
    }
}

fn sealed_pack(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if let Some(footer) = data.len().checked_sub(64) {
        let index = u64::from_le_bytes(data[footer..footer + 8].try_into().expect("eight bytes"));
        let index = usize::try_from(index).unwrap_or(0).min(footer);
        let digest = Digest::of(&data[index..footer]);
        data[footer + 12..footer + 16].copy_from_slice(&1u32.to_le_bytes());
        data[footer + 16..footer + 48].copy_from_slice(digest.as_bytes());
        data[footer + 56..].copy_from_slice(b"IMPPACK1");
    }
    data
}

/// Four bytes of plain length, then a frame: the decoder writes no byte behind the chunk.
pub fn frame(data: &[u8]) {
    const GUARD: [u8; 64] = [0xA5; 64];
    let Some((plain_len, frame)) = data.split_first_chunk::<4>() else {
        return;
    };
    let plain_len = (u32::from_le_bytes(*plain_len) % (CHUNK_BYTES + 1)) as usize;
    let mut chunk = Chunk {
        index: 0,
        plain: Digest::of(b""),
        frame: Digest::of(frame),
        pack: 0,
        offset: 0,
        frame_bytes: u32::try_from(frame.len()).expect("fuzzers make short inputs"),
    };
    let mut out = vec![GUARD[0]; plain_len + GUARD.len()];
    let mut decoder = Decoder::new().expect("memory for a decoder");
    let decoded = verify_frame_and_decode(&mut frame.to_vec(), &chunk, plain_len, &mut out, &mut decoder);
    assert_eq!(out[plain_len..], GUARD);
    if decoded.is_ok() {
        chunk.plain = Digest::of(&out[..plain_len]);
        let (first, mut again) = (out, vec![0; plain_len]);
        verify_and_decode(&mut frame.to_vec(), &chunk, plain_len, &mut again, &mut decoder)
            .expect("the same frame");
        assert_eq!(first[..plain_len], again);
    }
}

/// A byte that says what comes: a frame with either algorithm, after four bytes of plain length; a manifest; a pack.
///
/// Nobody without the key makes anything that opens. What is sealed here decodes as what is not sealed does.
pub fn sealed(data: &[u8]) {
    let Some((what, data)) = data.split_first() else {
        return;
    };
    let key = well_known_data_key();
    match what % 4 {
        number @ (0 | 1) => sealed_frame(Algorithm::ALL[usize::from(number)], data),
        2 => {
            assert!(Manifest::decode(data).is_err() || Manifest::key_id(data).is_ok_and(|id| id.is_none()));
            if let Ok(manifest) = Manifest::decode_with(data, Some(&key)) {
                let again = Manifest::decode_with(&manifest.encode(), Some(&key));
                assert_eq!(again.expect("what was valid is valid"), manifest);
            }
        }
        _ => {
            let seal = Seal::new(&key, Algorithm::default());
            if let Ok(entries) = pack::read_index_with(&mut Cursor::new(data), Some(&seal)) {
                let frames: u64 = entries.iter().map(|entry| u64::from(entry.frame_bytes)).sum();
                assert!(frames < data.len() as u64);
            }
        }
    }
}

fn sealed_frame(algorithm: Algorithm, data: &[u8]) {
    let Some((plain_len, frame)) = data.split_first_chunk::<4>() else {
        return;
    };
    let plain_bytes = u32::from_le_bytes(*plain_len) % (CHUNK_BYTES + 1);
    let plain_len = plain_bytes as usize;
    let seal = Seal::new(&well_known_data_key(), algorithm);
    let decode = |frame: &[u8], seal: Option<&Seal>| {
        let chunk = Chunk {
            index: 0,
            plain: Digest::of(b""),
            frame: Digest::of(frame),
            pack: 0,
            offset: 0,
            frame_bytes: u32::try_from(frame.len()).expect("fuzzers make short inputs"),
        };
        let (mut frame, mut out) = (frame.to_vec(), vec![0xA5; plain_len + 64]);
        let mut decoder = Decoder::with(seal.cloned()).expect("memory for a decoder");
        let decoded = verify_frame_and_decode(&mut frame, &chunk, plain_len, &mut out, &mut decoder);
        assert_eq!(out[plain_len..], [0xA5; 64]);
        decoded.ok().map(|()| out)
    };
    // As it came; only the seeds open.
    if let Some(out) = decode(frame, Some(&seal)) {
        let mut opened = frame.to_vec();
        let opened = seal.open_frame(&mut opened, &Digest::of(b""), plain_bytes);
        assert_eq!(decode(opened.expect("it has opened before"), None), Some(out));
    }
    let mut here = frame.to_vec();
    seal.seal_frame(&mut here, &Digest::of(b""), plain_bytes);
    assert_eq!(decode(&here, Some(&seal)), decode(frame, None));
}

/// A qcow2 file, read as an import does.
pub fn qcow2(data: &[u8]) {
    let limits = Limits {
        max_disk_bytes: 64 << 20,
        ..Limits::default()
    };
    if let Ok(mut disk) = Qcow2Reader::new(file_with(data), &limits) {
        let size = disk.disk_size_bytes().expect("a qcow2 knows its size");
        assert!((1..=limits.max_disk_bytes).contains(&size));
        read_as_import(&mut disk, size);
    }
}

/// A VMDK file, folded.
pub fn vmdk(data: &[u8]) {
    container(&unfold(data), Format::Vmdk);
}

/// A VHD file, folded: taken as it is, and with its checksums made right.
pub fn vhd(data: &[u8]) {
    let mut file = unfold(data);
    container(&file, Format::Vhd);
    sparse::seal_vhd(&mut file);
    container(&file, Format::Vhd);
}

/// A VHDX file, folded: taken as it is, and with its checksums made right.
pub fn vhdx(data: &[u8]) {
    let mut file = unfold(data);
    container(&file, Format::Vhdx);
    sparse::seal_vhdx(&mut file);
    container(&file, Format::Vhdx);
}

/// A VDI file, folded.
pub fn vdi(data: &[u8]) {
    container(&unfold(data), Format::Vdi);
}

/// A QED file, folded.
pub fn qed(data: &[u8]) {
    container(&unfold(data), Format::Qed);
}

/// A file of the first QCOW, folded.
pub fn qcow(data: &[u8]) {
    container(&unfold(data), Format::Qcow);
}

fn container(data: &[u8], format: Format) {
    let limits = Limits {
        max_disk_bytes: 16 << 20,
        ..Limits::default()
    };
    if let Ok(mut opened) = source::open(file_with(data), Some(format), &limits) {
        let size = opened
            .source
            .disk_size_bytes()
            .expect("containers know their size");
        assert!((1..=limits.max_disk_bytes).contains(&size));
        read_as_import(opened.source.as_mut(), size);
    }
}

/// Which format a file has. Whatever it is taken for has a name that is understood again.
pub fn detect(data: &[u8]) {
    let format = source::detect(data);
    assert_eq!(format.name().parse(), Ok(format));
    if let Ok(format) = source::detect_file(&mut file_with(data)) {
        assert!(!data.is_empty());
        assert_eq!(format.to_string(), format.name());
    }
}

/// A compressed raw disk: never more than the limit comes out.
pub fn compressed(data: &[u8]) {
    let limits = Limits {
        max_disk_bytes: 4 << 20,
        ..Limits::default()
    };
    let format = source::detect(data);
    if !matches!(
        format,
        Format::RawGzip | Format::RawXz | Format::RawZstd | Format::RawBzip2
    ) {
        return;
    }
    if let Ok(mut opened) = source::open(file_with(data), Some(format), &limits) {
        read_as_import(opened.source.as_mut(), limits.max_disk_bytes);
    }
}

fn read_as_import(disk: &mut dyn ImageSource, at_most: u64) {
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    let mut position = 0u64;
    while let Ok(skipped) = disk.skip_zeros() {
        let mut got = 0;
        while got < chunk.len() {
            match disk.read(&mut chunk[got..]) {
                Ok(0) => break,
                Ok(now) => got += now,
                Err(_) => return,
            }
        }
        position += skipped + got as u64;
        assert!(position <= at_most);
        if got < chunk.len() {
            return;
        }
        assert!(skipped.is_multiple_of(CHUNK_BYTES.into()));
    }
}

/// The beginning of a disk with a partition table, as it is and with the checksums of its GPT made right.
pub fn partitions(data: &[u8]) {
    for sector in [512, 4096] {
        for data in [data.to_vec(), sealed_gpt(data, sector)] {
            let size = data.len() as u64;
            let sector = u32::try_from(sector).expect("one of two");
            let summary = read_summary(&mut Cursor::new(data), sector).expect("memory can be read");
            assert!(summary.partitions.len() <= 256 && summary.notes.len() <= 32);
            for entry in &summary.partitions {
                assert!(entry.first_byte <= size && entry.name.len() <= 256);
                assert!(entry.first_byte.checked_add(entry.size_bytes).is_some());
            }
        }
    }
}

/// A whole disk, folded: what is on it is read to the end, and is never more than the bound.
pub fn facts(data: &[u8]) {
    let disk = unfold(data);
    for kind in [DiskKind::System, DiskKind::Data] {
        let facts = facts::read_as(kind, &disk, None).expect("memory can be read");
        assert_eq!(facts.disk_size_bytes, disk.len() as u64);
        let json = serde_json::to_vec(&facts).expect("facts have a JSON form");
        assert!(json.len() <= facts::MAX_FACTS_BYTES);
        let again: Facts = serde_json::from_slice(&json).expect("and are read from it");
        assert_eq!(again, facts);
        for finding in facts::lint(&facts) {
            assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
        }
    }
}

fn sealed_gpt(data: &[u8], sector: usize) -> Vec<u8> {
    let mut data = data.to_vec();
    let word = |data: &[u8], at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
    if data.len() < sector + 92 {
        return data;
    }
    data[sector..sector + 8].copy_from_slice(b"EFI PART");
    data[sector + 12..sector + 16].copy_from_slice(&92u32.to_le_bytes());
    let entries = word(&data, sector + 72) as usize * sector;
    let bytes = (word(&data, sector + 80) as usize).saturating_mul(word(&data, sector + 84) as usize);
    if let Some(entries) = entries.checked_add(bytes).and_then(|end| data.get(entries..end)) {
        let sum = crc32(entries);
        data[sector + 88..sector + 92].copy_from_slice(&sum.to_le_bytes());
    }
    data[sector + 16..sector + 20].fill(0);
    let sum = crc32(&data[sector..sector + 92]);
    data[sector + 16..sector + 20].copy_from_slice(&sum.to_le_bytes());
    data
}

/// CRC-32 as in IEEE 802.3, a bit at a time.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(sum & 1))
        })
    })
}

fn file_with(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    // Containers are nearly all zeros, which need not be written.
    for (number, page) in (0u64..).zip(data.chunks(PAGE_BYTES)) {
        if page.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(number * PAGE_BYTES as u64))
                .expect("a file can be sought");
            file.write_all(page).expect("room for it");
        }
    }
    file.set_len(data.len() as u64)
        .expect("a file can be made longer");
    file.seek(SeekFrom::Start(0)).expect("a file can be sought");
    file
}
