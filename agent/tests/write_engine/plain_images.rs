//! Plain images as files and over HTTP: raw, gzip, xz, zstd.

use std::{
    fs,
    io::{self, Seek, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use imprint_agent::{
    source::Location,
    stream::{
        FailureKind, WriteFailure, WriteProgress,
        raw::{RawProof, RawRequest, RawWritten, write_raw},
    },
    target::{
        Target,
        faulty::{Asked, FaultyTarget},
        open,
    },
};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::*;

const DISK: usize = 32 * MIB;
/// Enough for the small one.
const SMALL: usize = 8 * MIB;

/// All forms of an image: those of the libraries, and those of the tools that people use.
const FORMS: [&str; 10] = [
    "raw", "gz", "xz", "zst", "frames", "sized", "xz-T", "zstd", "pzstd", "gzip",
];

fn compress(content: &[u8], form: &str) -> Vec<u8> {
    match form {
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
        "zst" => zstd::encode_all(content, 1).unwrap(),
        // Frames that end in the middle of sectors, and don't or do tell their lengths.
        "frames" => content
            .chunks(1_234_567)
            .flat_map(|part| zstd::encode_all(part, 1).unwrap())
            .collect(),
        "sized" => content
            .chunks(1_234_567)
            .flat_map(|part| zstd::bulk::compress(part, 1).unwrap())
            .collect(),
        "xz-T" => tool("xz", &["-T2", "-0", "--block-size=1234567", "-c"], content)
            .unwrap_or_else(|| compress(content, "xz")),
        "zstd" => tool("zstd", &["-3", "-T2", "-c"], content).unwrap_or_else(|| compress(content, "zst")),
        "pzstd" => {
            tool("pzstd", &["-1", "-p", "3", "-c"], content).unwrap_or_else(|| compress(content, "zst"))
        }
        "gzip" => tool("gzip", &["-1", "-c"], content).unwrap_or_else(|| compress(content, "gz")),
        _ => panic!("{form}"),
    }
}

/// Runs a compressor over the content, if it is installed.
fn tool(program: &str, args: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    let output = Command::new(program)
        .args(args)
        .stdin(file)
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{program}");
            Some(output.stdout)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
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
    for format in FORMS {
        let file = compress(&content, format);
        let path = dir.path().join(format);
        fs::write(&path, &file).unwrap();
        for source in [path.to_str().unwrap(), &server.url(format)] {
            let disk = DirtyFile::new(SMALL);
            let target = disk.target(512);
            let written = write_from(source, &target, RawProof::Sha256(sha256(&file)))
                .await
                .unwrap();
            assert_eq!(written.image_bytes, content.len() as u64, "{source}");
            assert_eq!(written.figures.bytes_fetched, file.len() as u64, "{source}");
            assert_same(&disk.content(), &expected_disk(&content, SMALL));
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
async fn sectors_of_4096_bytes_and_odd_ends_are_written_exactly() {
    let mut content = small_disk();
    content.truncate(content.len() - 1000);
    let dir = tempfile::tempdir().unwrap();
    for form in ["raw", "zst", "frames", "xz-T"] {
        let file = compress(&content, form);
        let path = dir.path().join(form);
        fs::write(&path, &file).unwrap();
        let disk = DirtyLoop::new(SMALL, 4096);
        let target = open(&disk.path, None, None).unwrap();
        let written = write_from(path.to_str().unwrap(), &target, RawProof::Sha256(sha256(&file)))
            .await
            .unwrap();
        drop(target);
        assert_eq!(written.image_bytes, content.len() as u64, "{form}");
        let mut padded = content.clone();
        padded.resize(content.len().next_multiple_of(4096), 0);
        assert_same(&disk.file.content(), &expected_disk(&padded, SMALL));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_short_or_damaged_is_no_success_even_unverified() {
    let content = small_disk();
    let dir = tempfile::tempdir().unwrap();
    for form in FORMS {
        if form == "raw" {
            continue;
        }
        let file = compress(&content, form);
        let len = file.len();
        let mut damaged = file.clone();
        damaged[len / 2..len / 2 + 64].fill(0xFF);
        let cuts = [len / 9, len / 3, len / 2 + 77, len - 1000, len - 9, len - 1];
        let cuts = cuts.map(|end| (format!("cut at {end} of {len}"), &file[..end]));
        let more = [&file[..], b"more"].concat();
        let others = [("damaged".to_owned(), &damaged[..]), ("more".to_owned(), &more)];
        for (what, bytes) in cuts.into_iter().chain(others) {
            let path = dir.path().join(form);
            fs::write(&path, bytes).unwrap();
            let disk = DirtyFile::new(SMALL);
            let result = write_from(path.to_str().unwrap(), &disk.target(512), RawProof::Unverified).await;
            // A zstd stream without a checksum can hide damage in its literals; what is cut short it can't.
            let Err(failure) = result else {
                let unchecked = ["zst", "frames", "sized"].contains(&form);
                assert!(unchecked && what == "damaged", "{what} {form}");
                continue;
            };
            assert_eq!(failure.kind, FailureKind::Corrupt, "{what} {form}: {failure}");
            assert!(failure.head_cleared);
            assert!(
                disk.content()[..MIB].iter().all(|&byte| byte == 0),
                "{what} {form}"
            );
        }
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_the_image_or_its_frames() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    // Frames that are larger than all that is allowed, which don't tell their lengths.
    let part = noise("part", 48 * MIB);
    let frame = zstd::encode_all(&part[..], 1).unwrap();
    let image = dir.path().join("image");
    fs::write(&image, frame.repeat(4)).unwrap();
    fs::File::create(&disk)
        .unwrap()
        .set_len(4 * 48 * MIB as u64)
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_imprint-agent"))
        .args(["write", "--unverified", "--max-memory", "16", "--image"])
        .arg(&image)
        .arg("--target")
        .arg(&disk)
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let now = fs::read_to_string(&status).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = kib.unwrap_or(0).max(peak);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(child.wait().unwrap().success());
    // What the program takes by itself, and what it was allowed.
    assert!((1 << 10..56 << 10).contains(&peak), "{peak} KiB");
    let written = fs::read(&disk).unwrap();
    assert!(written.chunks(part.len()).all(|got| got == part));
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
