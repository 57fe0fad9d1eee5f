//! Plain images as files and over HTTP: raw, gzip, xz, zstd.

use std::{fs, io::Write, sync::Arc, time::Duration};

use imprint_agent::{
    source::Location,
    stream::{
        FailureKind, WriteFailure, WriteProgress,
        raw::{RawProof, RawRequest, RawWritten, write_raw},
    },
    target::{
        Target,
        faulty::{Asked, FaultyTarget},
    },
};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::*;

const DISK: usize = 32 * MIB;

fn compress(content: &[u8], format: &str) -> Vec<u8> {
    match format {
        "raw" => content.to_vec(),
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(content, 1).unwrap(),
    }
}

/// Small: the encoders of a test build are slow.
fn small_disk() -> Vec<u8> {
    let mut disk = disk_content();
    disk.drain(2 * MIB..20 * MIB);
    disk
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

async fn write_from(
    source: &str,
    target: &Arc<dyn Target>,
    proof: RawProof,
) -> Result<RawWritten, WriteFailure> {
    let source: Location = source.parse().unwrap();
    let target = Arc::clone(target);
    let request = RawRequest {
        source,
        client: client(),
        proof,
        target,
        options: options(),
    };
    let (progress, _newest) = watch::channel(WriteProgress::default());
    let (notes, _heard) = mpsc::unbounded_channel();
    let writing = write_raw(request, progress, notes, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(60), writing)
        .await
        .expect("a write ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_gives_the_same_disk() {
    let content = small_disk();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for format in ["raw", "gz", "xz", "zst"] {
        let file = compress(&content, format);
        let path = dir.path().join(format);
        fs::write(&path, &file).unwrap();
        for source in [path.to_str().unwrap(), &server.url(format)] {
            let disk = DirtyFile::new(DISK);
            let target = disk.target(512);
            let written = write_from(source, &target, RawProof::Sha256(sha256(&file)))
                .await
                .unwrap();
            assert_eq!(written.image_bytes, content.len() as u64, "{source}");
            assert_eq!(written.figures.bytes_fetched, file.len() as u64, "{source}");
            assert_same(&disk.content(), &expected_disk(&content, DISK));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_in_mid_stream_costs_what_was_on_the_way() {
    let content = disk_content();
    let file = compress(&content, "zst");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("zst"), &file).unwrap();
    let server = Server::start(dir.path());
    server
        .behaviour
        .next
        .lock()
        .unwrap()
        .extend([Fault::CutAfter(7 * MIB), Fault::Status(503)]);
    let disk = DirtyFile::new(DISK);
    let written = write_from(
        &server.url("zst"),
        &disk.target(512),
        RawProof::Sha256(sha256(&file)),
    )
    .await
    .unwrap();
    assert_eq!(written.figures.retries, 2);
    let wasted = server.served() - file.len() as u64;
    assert!(wasted < MIB as u64, "{wasted} bytes were sent for nothing");
    assert_same(&disk.content(), &expected_disk(&content, DISK));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_waits_for_the_digest() {
    let content = disk_content();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zst");
    let file = compress(&content, "zst");
    fs::write(&path, &file).unwrap();
    let faulty = Arc::new(FaultyTarget::filled(DISK as u64, 0xA5));
    let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&faulty);
    let failure = write_from(path.to_str().unwrap(), &target, RawProof::Sha256([7; 32]))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(
        failure
            .cause
            .contains(&format!("its SHA-256 is {}", hex::encode(sha256(&file)))),
        "{failure}"
    );
    assert!(failure.head_cleared);
    let wrote_head = |asked: &Asked| matches!(asked, Asked::Write(range) if range.start == 0);
    assert!(!faulty.asked().iter().any(wrote_head));

    let written = write_from(path.to_str().unwrap(), &target, RawProof::Unverified)
        .await
        .unwrap();
    assert_eq!(written.sha256, sha256(&file));
    assert!(wrote_head(&faulty.asked()[faulty.asked().len() - 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_short_or_damaged_is_no_success_even_unverified() {
    let content = small_disk();
    let dir = tempfile::tempdir().unwrap();
    for format in ["gz", "xz", "zst"] {
        let file = compress(&content, format);
        let mut damaged = file.clone();
        damaged[file.len() / 2..file.len() / 2 + 64].fill(0xFF);
        for (what, bytes) in [("short", &file[..file.len() - 9]), ("damaged", &damaged)] {
            let path = dir.path().join(format);
            fs::write(&path, bytes).unwrap();
            let disk = DirtyFile::new(DISK);
            let result = write_from(path.to_str().unwrap(), &disk.target(512), RawProof::Unverified).await;
            // A zstd stream without a checksum can hide damage in its literals; what is cut short it can't.
            let Err(failure) = result else {
                assert!(format == "zst" && what == "damaged");
                continue;
            };
            assert_eq!(failure.kind, FailureKind::Corrupt, "{what} {format}: {failure}");
            assert!(failure.head_cleared);
            assert!(
                disk.content()[..MIB].iter().all(|&byte| byte == 0),
                "{what} {format}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_or_is_no_plain_image_is_refused_untouched() {
    let content = disk_content();
    let dir = tempfile::tempdir().unwrap();
    let mut qcow2 = b"QFI\xfb\0\0\0\x03".to_vec();
    qcow2.resize(70_000, 0);
    let zst = zstd::bulk::compress(&content, 1).unwrap();
    for (name, bytes, cause) in [
        ("raw", &content, "the image needs"),
        ("zst", &zst, "the image needs"),
        ("qcow2", &qcow2, "the image is a qcow2 file"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let disk = DirtyFile::new(20 * MIB);
        let proof = RawProof::Sha256(sha256(bytes));
        let failure = write_from(path.to_str().unwrap(), &disk.target(512), proof)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused, "{name}");
        assert!(failure.cause.starts_with(cause), "{failure}");
        assert!(!failure.touched);
        assert_same(&disk.content(), &vec![0xA5; 20 * MIB]);
    }
    // A gzip file doesn't tell its size before its end.
    let path = dir.path().join("gz");
    let file = compress(&content, "gz");
    fs::write(&path, &file).unwrap();
    let disk = DirtyFile::new(20 * MIB);
    let proof = RawProof::Sha256(sha256(&file));
    let failure = write_from(path.to_str().unwrap(), &disk.target(512), proof)
        .await
        .unwrap_err();
    assert!(
        failure
            .cause
            .contains("longer than the 20971520 bytes of the disk"),
        "{failure}"
    );
    assert!(failure.touched && failure.head_cleared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_ends_it() {
    let content = disk_content();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    fs::write(&path, &content).unwrap();
    for offset in [9 << 20, 7 << 20] {
        let faulty = Arc::new(FaultyTarget::filled(DISK as u64, 0xA5));
        faulty.refuse(offset, 5);
        let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&faulty);
        let failure = write_from(path.to_str().unwrap(), &target, RawProof::Unverified)
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Disk, "{failure}");
        assert!(failure.head_cleared);
    }
}
