//! Files made by the real qemu-img, and such files spoiled.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;

const CLUSTER: u64 = 64 << 10;

/// What `qemu-img` says when its measurement for a LUKS key fails, which depends on the machine's load.
const UNLUCKY: &str = "Unable to get accurate CPU usage";

fn run(program: &str, args: &[&str]) {
    let mut said = String::new();
    for _ in 0..50 {
        let output = Command::new(program)
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        if output.status.success() {
            return;
        }
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains(UNLUCKY) {
            break;
        }
    }
    panic!("{program} {args:?}: {said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A disk with noise, text, holes and a tail that fills no cluster, in a file.
fn raw_disk(dir: &TempDir, size: usize) -> (PathBuf, Vec<u8>) {
    let mut disk = vec![0; size];
    blake3::Hasher::new()
        .update(b"qcow2")
        .finalize_xof()
        .fill(&mut disk[..200_000]);
    let words = b"some words of text ".repeat(100_000);
    let middle = size / 2;
    disk[middle..middle + 1_000_000].copy_from_slice(&words[..1_000_000]);
    disk[size - 100..].fill(7);
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, &disk).unwrap();
    (path, disk)
}

fn convert(dir: &TempDir, raw: &Path, args: &[&str]) -> PathBuf {
    let out = dir.path().join("disk.qcow2");
    let args = [
        &["convert", "-f", "raw", "-O", "qcow2"],
        args,
        &[text(raw), text(&out)],
    ]
    .concat();
    run("qemu-img", &args);
    out
}

fn open(path: &Path) -> Result<Qcow2Reader, SourceError> {
    Qcow2Reader::new(File::open(path).unwrap(), &Limits::default())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    open(path).map_err(SourceError::into_io)?.read_to_end(&mut out)?;
    Ok(out)
}

/// Reads as an import does: skips first, then takes a chunk.
fn read_sparse(path: &Path) -> io::Result<Vec<u8>> {
    let mut source = open(path).map_err(SourceError::into_io)?;
    let mut disk = vec![0; usize::try_from(source.disk_size_bytes().unwrap()).unwrap()];
    let mut at = 0;
    while at < disk.len() {
        at += usize::try_from(source.skip_zeros()?).unwrap();
        let end = disk.len().min(at + CHUNK_BYTES as usize);
        source.read_exact(&mut disk[at..end])?;
        at = end;
    }
    Ok(disk)
}

fn refusal(path: &Path) -> Qcow2Error {
    let error = match open(path) {
        Err(error) => error,
        Ok(mut source) => {
            let error = io::copy(&mut source, &mut io::sink()).unwrap_err();
            *error.into_inner().unwrap().downcast().unwrap()
        }
    };
    match error {
        SourceError::Qcow2(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_qemu_img_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // The second size fills neither a cluster nor a chunk.
    for size in [12 << 20, (9 << 20) + 3 * 512] {
        let (raw, disk) = raw_disk(&dir, size);
        for args in [
            &[][..],
            &["-o", "compat=0.10"],
            &["-o", "cluster_size=512"],
            &["-o", "cluster_size=2M"],
            &["-o", "preallocation=metadata"],
            &["-o", "preallocation=full"],
            &["-c"],
            &["-c", "-o", "compat=0.10"],
            &["-c", "-o", "compression_type=zstd"],
            &["-c", "-o", "compression_type=zstd,cluster_size=4k"],
            &["-c", "-o", "cluster_size=2M"],
        ] {
            let qcow2 = convert(&dir, &raw, args);
            assert!(read(&qcow2).unwrap() == disk, "{size} {args:?}");
            assert!(read_sparse(&qcow2).unwrap() == disk, "{size} {args:?}, sparse");
        }
    }
}

/// Several threads inflate ahead of the reader; a fault is told where it is, and what comes before it is right.
#[test]
fn a_damaged_cluster_is_told_when_the_reader_comes_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _) = raw_disk(&dir, 4 << 20);
    let disk: Vec<u8> = (0u32..1 << 20).flat_map(|n| (n / 3).to_le_bytes()).collect();
    std::fs::write(&raw, &disk).unwrap();
    let qcow2 = convert(&dir, &raw, &["-c"]);
    for bad in [0, 1, 40, 63] {
        let Mapping::Compressed { offset, .. } = open(&qcow2).unwrap().mapping(bad).unwrap() else {
            panic!("cluster {bad} is not compressed");
        };
        let good = std::fs::read(&qcow2).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(&qcow2).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[0xFF; 32]).unwrap();
        let mut out = Vec::new();
        let error = open(&qcow2).unwrap().read_to_end(&mut out).unwrap_err();
        assert_eq!(out.len() as u64, bad * CLUSTER, "{error}");
        assert!(out == disk[..out.len()]);
        std::fs::write(&qcow2, good).unwrap();
    }
}

#[test]
fn zero_clusters_and_snapshots_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, mut disk) = raw_disk(&dir, 8 << 20);
    let qcow2 = convert(&dir, &raw, &[]);
    run("qemu-img", &["snapshot", "-c", "before", text(&qcow2)]);
    // The first over data, the second over nothing; then new data over what the snapshot keeps.
    run(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write -z 64k 64k",
            "-c",
            "write -z 1M 1M",
            text(&qcow2),
        ],
    );
    run(
        "qemu-io",
        &["-f", "qcow2", "-c", "write -P 0x5a 128k 64k", text(&qcow2)],
    );
    disk[64 << 10..128 << 10].fill(0);
    disk[128 << 10..192 << 10].fill(0x5A);
    assert!(read(&qcow2).unwrap() == disk);
    assert!(read_sparse(&qcow2).unwrap() == disk);
}

#[test]
fn what_does_not_stand_alone_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _) = raw_disk(&dir, 4 << 20);
    let path = dir.path().join("made.qcow2");
    let make = |args: &[&str]| {
        run("qemu-img", &[&["create", "-q", "-f", "qcow2"], args].concat());
        refusal(&path)
    };
    let error = make(&["-b", text(&raw), "-F", "raw", text(&path)]);
    assert!(
        matches!(&error, Qcow2Error::BackingFile { name } if name == text(&raw)),
        "{error}"
    );

    let data = format!("data_file={}", text(&dir.path().join("data.raw")));
    let error = make(&["-o", &data, text(&path), "4M"]);
    assert!(matches!(error, Qcow2Error::ExternalDataFile), "{error}");

    let error = make(&[
        "--object",
        "secret,id=key,data=secret",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
        text(&path),
        "4M",
    ]);
    assert!(
        matches!(
            error,
            Qcow2Error::Encrypted {
                method: 2,
                name: "LUKS"
            }
        ),
        "{error}"
    );

    let error = make(&["-o", "extended_l2=on,cluster_size=64k", text(&path), "4M"]);
    assert!(matches!(error, Qcow2Error::ExtendedL2), "{error}");
}

/// A qcow2 file to be spoiled, and where its tables lie.
struct Victim {
    path: PathBuf,
    l1: u64,
    l2: u64,
    _dir: TempDir,
}

fn victim(args: &[&str]) -> Victim {
    let dir = tempfile::tempdir().unwrap();
    // Larger than one L2 table of 4 KiB clusters reaches.
    let (raw, _) = raw_disk(&dir, 8 << 20);
    let path = convert(&dir, &raw, args);
    let file = File::open(&path).unwrap();
    let at = |offset| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_be_bytes(bytes)
    };
    let l1 = at(40);
    Victim {
        path,
        l1,
        l2: at(l1) & OFFSET_MASK,
        _dir: dir,
    }
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn feature_bits_and_header_fields_are_judged() {
    type Check = fn(&Qcow2Error) -> bool;
    let cases: &[(u64, &[u8], Check)] = &[
        (79, &[1], |e| matches!(e, Qcow2Error::Dirty)),
        (79, &[2], |e| matches!(e, Qcow2Error::Corrupt)),
        (79, &[4], |e| matches!(e, Qcow2Error::ExternalDataFile)),
        (79, &[8], |e| {
            matches!(
                e,
                Qcow2Error::Header {
                    field: "the compression bit",
                    ..
                }
            )
        }),
        (79, &[16], |e| matches!(e, Qcow2Error::ExtendedL2)),
        (79, &[32], |e| {
            matches!(e, Qcow2Error::UnknownFeatures { bits: 32 })
        }),
        (72, &[0x80], |e| {
            matches!(
                e,
                Qcow2Error::UnknownFeatures {
                    bits: 0x8000_0000_0000_0000
                }
            )
        }),
        (104, &[9], |e| matches!(e, Qcow2Error::CompressionType { got: 9 })),
        (7, &[4], |e| matches!(e, Qcow2Error::Version { got: 4 })),
        (0, b"X", |e| matches!(e, Qcow2Error::Magic)),
        (20, &8u32.to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Header {
                    field: "cluster_bits",
                    ..
                }
            )
        }),
        (20, &64u32.to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Header {
                    field: "cluster_bits",
                    ..
                }
            )
        }),
        (32, &1u32.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Encrypted { method: 1, .. })
        }),
        (32, &9u32.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Encrypted { method: 9, .. })
        }),
        (36, &0u32.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Header { field: "l1_size", .. })
        }),
        (40, &1u64.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Misaligned { .. })
        }),
        (40, &0u64.to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Overlap {
                    what: "the L1 table",
                    ..
                }
            )
        }),
        (40, &(1u64 << 40).to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Truncated {
                    what: "the L1 table",
                    ..
                }
            )
        }),
        (40, &(u64::MAX << 16).to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Truncated { .. })
        }),
        (56, &u32::MAX.to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Header {
                    field: "refcount_table_clusters",
                    ..
                }
            )
        }),
        (100, &4u32.to_be_bytes(), |e| {
            matches!(
                e,
                Qcow2Error::Header {
                    field: "header_length",
                    ..
                }
            )
        }),
        (8, &8u64.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::BackingFile { .. })
        }),
        (8, &u64::MAX.to_be_bytes(), |e| {
            matches!(e, Qcow2Error::BackingFile { .. })
        }),
    ];
    let made = victim(&[]);
    let sound = std::fs::read(&made.path).unwrap();
    for (offset, bytes, expected) in cases {
        std::fs::write(&made.path, &sound).unwrap();
        patch(&made.path, *offset, bytes);
        let error = refusal(&made.path);
        assert!(expected(&error), "{offset}: {error:?}");
    }
    // A huge disk in a small file: refused by the size limit, before any table.
    std::fs::write(&made.path, &sound).unwrap();
    patch(&made.path, 24, &(1u64 << 60).to_be_bytes());
    let error = open(&made.path).map(drop);
    assert!(
        matches!(error, Err(SourceError::TooLarge { .. } | SourceError::Qcow2(_))),
        "{error:?}"
    );
}

#[test]
fn cyclic_shared_and_outlying_tables_are_refused() {
    let made = victim(&["-o", "cluster_size=4k"]);
    let sound = std::fs::read(&made.path).unwrap();
    let entry = |offset: u64| (offset | COPIED).to_be_bytes();
    let outside = 1u64 << 40;
    let data = {
        let at = usize::try_from(made.l2).unwrap();
        u64::from_be_bytes(sound[at..at + 8].try_into().unwrap()) & OFFSET_MASK
    };
    type Check = fn(&Qcow2Error) -> bool;
    let overlap: Check = |e| matches!(e, Qcow2Error::Overlap { .. });
    let truncated: Check = |e| matches!(e, Qcow2Error::Truncated { got, expected, .. } if expected > got);
    let cases: &[(&str, u64, [u8; 8], Check)] = &[
        ("L1 to itself", made.l1, entry(made.l1), overlap),
        ("two L1 entries to one L2", made.l1 + 8, entry(made.l2), overlap),
        ("L1 out of the file", made.l1, entry(outside), truncated),
        ("L1 misaligned", made.l1, entry(made.l2 + 512), |e| {
            matches!(e, Qcow2Error::Misaligned { .. })
        }),
        (
            "L1 with reserved bits",
            made.l1,
            (made.l2 | 1).to_be_bytes(),
            |e| matches!(e, Qcow2Error::Reserved { .. }),
        ),
        ("L2 to itself", made.l2, entry(made.l2), overlap),
        ("L2 to the L1", made.l2, entry(made.l1), overlap),
        ("data twice", made.l2 + 8, entry(data), overlap),
        ("data out of the file", made.l2, entry(outside), truncated),
        ("data misaligned", made.l2, entry(data + 512), |e| {
            matches!(e, Qcow2Error::Misaligned { .. })
        }),
        ("L2 with reserved bits", made.l2, (data | 2).to_be_bytes(), |e| {
            matches!(e, Qcow2Error::Reserved { .. })
        }),
        (
            "compressed out of the file",
            made.l2,
            (COMPRESSED | outside).to_be_bytes(),
            truncated,
        ),
        (
            "compressed, but is not",
            made.l2,
            (COMPRESSED | data).to_be_bytes(),
            |e| matches!(e, Qcow2Error::Decompress { .. } | Qcow2Error::ShortCluster { .. }),
        ),
    ];
    for (name, offset, bytes, expected) in cases {
        std::fs::write(&made.path, &sound).unwrap();
        patch(&made.path, *offset, bytes);
        let error = refusal(&made.path);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn a_cut_off_file_is_refused_with_what_was_expected() {
    for args in [&[][..], &["-c"], &["-c", "-o", "compression_type=zstd"]] {
        let made = victim(args);
        let sound = std::fs::read(&made.path).unwrap();
        for len in [
            10,
            80,
            4096,
            usize::try_from(CLUSTER * 3).unwrap(),
            sound.len() / 2,
            sound.len() - 60_000,
        ] {
            std::fs::write(&made.path, &sound[..len]).unwrap();
            let error = refusal(&made.path);
            let fits = match &error {
                Qcow2Error::Truncated { expected, got, .. } => *got == len as u64 && expected > got,
                // Cut inside of a compressed cluster.
                Qcow2Error::Decompress { .. } | Qcow2Error::ShortCluster { .. } => !args.is_empty(),
                _ => false,
            };
            assert!(fits, "{args:?} cut to {len} of {}: {error:?}", sound.len());
        }
    }
}

#[test]
fn a_damaged_compressed_cluster_is_refused() {
    for args in [&["-c"][..], &["-c", "-o", "compression_type=zstd"]] {
        let made = victim(args);
        let sound = std::fs::read(&made.path).unwrap();
        // A cluster of text: noise is stored as it is, text is really compressed.
        let text_at = usize::try_from(made.l2 + (4 << 20) / CLUSTER * 8 + 8).unwrap();
        let entry = u64::from_be_bytes(sound[text_at..text_at + 8].try_into().unwrap());
        assert_ne!(entry & COMPRESSED, 0);
        let offset = entry & ((1 << 54) - 1);
        patch(&made.path, offset, &[0xFF; 200]);
        let error = refusal(&made.path);
        assert!(
            matches!(
                error,
                Qcow2Error::Decompress { .. } | Qcow2Error::ShortCluster { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn spoiled_tables_never_panic_and_never_give_more_than_the_disk() {
    let made = victim(&["-c", "-o", "cluster_size=4k"]);
    let sound = std::fs::read(&made.path).unwrap();
    for round in 0..300u32 {
        let mut bad = sound.clone();
        let random = crate::Digest::of(&round.to_le_bytes());
        for change in random.as_bytes().chunks_exact(8) {
            let base = [0, made.l1, made.l2, made.l2 + 2048][usize::from(change[0]) % 4];
            let at = usize::try_from(base).unwrap() + usize::from(change[1]) % 112;
            bad[at] = change[2];
        }
        std::fs::write(&made.path, &bad).unwrap();
        let limits = Limits {
            max_disk_bytes: 64 << 20,
            ..Limits::default()
        };
        if let Ok(mut source) = Qcow2Reader::new(File::open(&made.path).unwrap(), &limits) {
            let size = source.disk_size_bytes().unwrap();
            if let Ok(copied) = io::copy(&mut source, &mut io::sink()) {
                assert_eq!(copied, size);
            }
        }
    }
}
