use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::stream::raw::{
    RawProof,
    tests::{noise, paint},
};

/// Runs a compressor over some bytes.
fn tool(program: &str, args: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&content));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

/// How many units a file is split into, and their lengths.
fn units(format: Format, file: &[u8], piece: usize) -> Vec<Option<u64>> {
    let mut splitter = Splitter::new(format);
    let mut acts = Vec::new();
    for piece in file.chunks(piece) {
        splitter.split(Bytes::copy_from_slice(piece), &mut acts).unwrap();
    }
    splitter.end(&mut acts).unwrap();
    let mut lens = Vec::new();
    let mut open = false;
    for act in acts {
        match act {
            Act::Begin(_) => assert!(!std::mem::replace(&mut open, true)),
            Act::Bytes(bytes) => assert!(open && !bytes.is_empty()),
            Act::End { len } => {
                assert!(std::mem::replace(&mut open, false));
                lens.push(len);
            }
        }
    }
    assert!(!open);
    lens
}

fn content() -> Vec<u8> {
    let mut content = noise(7, 3 << 20);
    content[700_000..2_000_000].fill(0);
    content.truncate((3 << 20) - 1234);
    content
}

#[test]
fn blocks_of_xz_are_units_of_known_length() {
    let content = content();
    let Some(file) = tool("xz", &["-T2", "-1", "--block-size=1MiB", "-c"], &content) else {
        return;
    };
    for piece in [1 << 20, 777] {
        let lens = units(Format::RawXz, &file, piece);
        assert_eq!(lens, [Some(1 << 20), Some(1 << 20), Some((1 << 20) - 1234)]);
        for decoders in [1, 3] {
            let (disk, len) = paint(&file, Format::RawXz, piece, decoders, RawProof::Unverified).unwrap();
            assert_eq!(len, content.len() as u64);
            assert!(disk[..content.len()] == content);
        }
    }
    // Two streams with padding between them are one image.
    let twice = [&file[..], &[0; 8], &file, &[0; 4]].concat();
    assert_eq!(units(Format::RawXz, &twice, 5000).len(), 6);
    let (disk, _) = paint(&twice, Format::RawXz, 5000, 2, RawProof::Unverified).unwrap();
    assert!(disk[content.len()..2 * content.len()] == content);
}

#[test]
fn a_stream_of_xz_that_tells_no_lengths_is_one_unit() {
    let content = content();
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(&content).unwrap();
    let single = encoder.finish().unwrap();
    let file = [&single[..], &[0; 4], &single].concat();
    for piece in [1 << 20, 777] {
        assert_eq!(units(Format::RawXz, &file, piece), [None]);
        let (disk, len) = paint(&file, Format::RawXz, piece, 2, RawProof::Unverified).unwrap();
        assert_eq!(len, 2 * content.len() as u64);
        assert!(disk[..content.len()] == content && disk[content.len()..2 * content.len()] == content);
    }
}

#[test]
fn whatever_of_an_xz_file_is_changed_or_missing_is_noticed() {
    let content = &content()[600_000..800_000];
    for check in ["crc32", "crc64", "sha256"] {
        let check = format!("--check={check}");
        let Some(file) = tool("xz", &["-T2", "-0", "--block-size=60000", &check, "-c"], content) else {
            return;
        };
        let (disk, _) = paint(&file, Format::RawXz, 4096, 2, RawProof::Unverified).unwrap();
        assert!(disk[..content.len()] == *content);
        let tail = file.len() - 120;
        let places = (0..40).step_by(2).chain((40..tail).step_by(file.len() / 9));
        for place in places.chain((tail..file.len()).step_by(3)) {
            let mut damaged = file.clone();
            damaged[place] ^= 0x10;
            let failed = paint(&damaged, Format::RawXz, 4096, 2, RawProof::Unverified);
            assert!(failed.is_err(), "byte {place} of {}", file.len());
            if place > 0 {
                let failed = paint(&file[..place], Format::RawXz, 4096, 2, RawProof::Unverified);
                assert!(failed.is_err(), "cut at {place} of {}", file.len());
            }
        }
        let failed = paint(
            &[&file[..], b"more"].concat(),
            Format::RawXz,
            4096,
            2,
            RawProof::Unverified,
        );
        let cause = failed.unwrap_err();
        assert!(cause.contains("xz stream"), "{cause}");
    }
}

#[test]
fn frames_of_zstd_are_units_and_small_ones_share_one() {
    let content = content();
    let known = zstd::bulk::compress(&content, 1).unwrap();
    let small = zstd::bulk::compress(&content[..1000], 1).unwrap();
    let unknown = zstd::encode_all(&content[..], 1).unwrap();
    let skippable = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9];
    let len = content.len() as u64;
    let known: &[u8] = &known;
    let table = [
        ("one", vec![known], vec![Some(len)]),
        (
            "small ones",
            vec![&small[..], &skippable, &small, known],
            vec![Some(2000 + len)],
        ),
        (
            "large ones",
            vec![known, &unknown, known],
            vec![Some(len), None, Some(len)],
        ),
        ("at the end", vec![known, &skippable], vec![Some(len), Some(0)]),
    ];
    for (what, parts, expected) in table {
        let file = parts.concat();
        for piece in [1 << 20, 4096, 13] {
            assert_eq!(units(Format::RawZstd, &file, piece), expected, "{what}, {piece}");
        }
    }
}

#[test]
fn files_of_pzstd_are_split() {
    let content = content().repeat(8);
    let Some(file) = tool("pzstd", &["-1", "-p", "4", "-c"], &content) else {
        return;
    };
    assert!(units(Format::RawZstd, &file, 1 << 20).len() > 1);
    let content = &content[..15 << 20];
    let file = tool("pzstd", &["-1", "-p", "4", "-c"], content).unwrap();
    let (disk, len) = paint(&file, Format::RawZstd, 100_000, 3, RawProof::Unverified).unwrap();
    assert_eq!(len, content.len() as u64);
    assert!(disk[..content.len()] == *content);
}
