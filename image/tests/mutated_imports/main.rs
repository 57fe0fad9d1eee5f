//! A thousand damaged files through all of an import: format, reader, artifact, facts. Each one is refused with its
//! reason or imported as it is; nothing panics or hangs, memory is bounded, and no file stays behind.
//!
//! The corpus are the seeds of the fuzz targets. One test, because memory, threads and open files that it counts are
//! the whole program's.

#[path = "../../../fuzz/src/sparse.rs"]
#[allow(dead_code)]
mod sparse;
#[path = "../memory/sys.rs"]
mod sys;

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use imprint_image::facts::{self, ArtifactDisk};
use imprint_image::pack::read_index;
use imprint_image::source::{self, Format, Limits, SourceError};
use imprint_image::write::{ArtifactWriter, DirSink, ImportError, WriteOptions};
use imprint_image::zero::is_zero;
use imprint_image::{Manifest, read_artifact};

#[global_allocator]
static ALLOCATOR: sys::Counting = sys::Counting::new();

const FILES: usize = 1000;
/// Three packs, chunks and frames in the pipeline, a block of the largest size, tables.
const MAX_MEMORY: usize = 192 << 20;
/// Not a measurement: what hangs would take for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many of the files that were imported are compared with what qemu-img reads.
const COMPARED: usize = 60;
const MAX_DISK_BYTES: u64 = 64 << 20;

/// A good file, and what it is.
struct Seed {
    name: String,
    format: Option<Format>,
    content: Vec<u8>,
    /// Where something is written: that is where a change makes a difference.
    places: Vec<usize>,
}

fn seeds() -> Vec<Seed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let mut seeds = Vec::new();
    for (folder, folded) in [
        ("vmdk", true),
        ("vhd", true),
        ("vhdx", true),
        ("vdi", true),
        ("qed", true),
        ("qcow", true),
        ("qcow2", false),
        ("compressed", false),
        ("facts", true),
        ("partitions", false),
    ] {
        let mut paths: Vec<PathBuf> = fs::read_dir(root.join(folder))
            .expect("a folder of seeds")
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        paths.sort();
        for path in paths {
            let bytes = fs::read(&path).expect("a readable seed");
            let content = if folded { sparse::unfold(&bytes) } else { bytes };
            let places = (0..content.len()).filter(|at| content[*at] != 0);
            seeds.push(Seed {
                name: format!("{folder}/{}", path.file_name().expect("a name").display()),
                format: folder.parse().ok(),
                places: places.collect(),
                content,
            });
        }
    }
    seeds
}

/// Numbers that are the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a length")
    }
}

const EDGES: [u64; 10] = [
    0,
    1,
    511,
    512,
    0xFFFF,
    1 << 20,
    0xFFFF_FFFF,
    1 << 40,
    1 << 63,
    u64::MAX,
];

fn mutate(seed: &Seed, numbers: &mut Numbers) -> Vec<u8> {
    let mut file = seed.content.clone();
    for _ in 0..1 + numbers.below(5) {
        if file.is_empty() {
            break;
        }
        let near = seed.places[numbers.below(seed.places.len())] + numbers.below(3);
        let at = match numbers.below(4) {
            0 => numbers.below(file.len()),
            _ => near.min(file.len() - 1),
        };
        match numbers.below(10) {
            0..4 => file[at] ^= 1 << numbers.below(8),
            4 => file[at] = 0xFF,
            5 => file[at] = 0,
            6 | 7 => {
                let number = EDGES[numbers.below(EDGES.len())];
                let bytes = [2, 4, 8][numbers.below(3)].min(file.len() - at);
                let number = if numbers.below(2) == 0 {
                    number.to_le_bytes()
                } else {
                    number.rotate_left(8 * (8 - bytes as u32)).to_be_bytes()
                };
                file[at..at + bytes].copy_from_slice(&number[..bytes]);
            }
            8 => {
                let (from, bytes) = (numbers.below(file.len()), 1 + numbers.below(512));
                let bytes = bytes.min(file.len() - at).min(file.len() - from);
                file.copy_within(from..from + bytes, at);
            }
            _ => file.truncate(at),
        }
    }
    file
}

/// Writes what is not zero.
fn write_sparse(path: &Path, content: &[u8]) {
    let file = File::create(path).expect("a file");
    file.set_len(content.len() as u64).expect("a length");
    for (number, page) in (0_u64..).zip(content.chunks(4096)) {
        if !is_zero(page) {
            file.write_all_at(page, number * 4096).expect("room for it");
        }
    }
}

/// What the file is refused for, if it is. A fault of anything else than the file is none of its reasons.
fn import(file: &Path, to: &Path) -> Result<Manifest, String> {
    let limits = Limits {
        max_disk_bytes: MAX_DISK_BYTES,
        ..Limits::default()
    };
    let refused = |error: &SourceError| {
        assert!(!matches!(error, SourceError::Io(_)), "{error:?}");
        match error.source() {
            Some(inner) => format!("{error}: {inner}"),
            None => error.to_string(),
        }
    };
    let opened = source::open(File::open(file).expect("it is there"), None, &limits);
    let mut opened = opened.map_err(|error| refused(&error))?;
    let options = WriteOptions {
        threads: 2,
        level: 1,
        max_disk_bytes: limits.max_disk_bytes,
        ..WriteOptions::default()
    };
    let mut writer = ArtifactWriter::new(DirSink::new(to).expect("a folder"), options);
    writer
        .import(opened.source.as_mut())
        .map_err(|error| match &error {
            ImportError::Read { source, .. } => {
                let inner = source.get_ref().and_then(|inner| inner.downcast_ref());
                refused(inner.expect("a reader says what is wrong with the file"))
            }
            ImportError::Empty
            | ImportError::Truncated { .. }
            | ImportError::TooLarge { .. }
            | ImportError::VhdFooter => error.to_string(),
            other => panic!("not the file's fault: {other:?}"),
        })
}

/// The artifact holds what the reader reads, and its facts are told.
fn check(file: &Path, folder: &Path, manifest: &Manifest) -> Vec<u8> {
    let limits = Limits {
        max_disk_bytes: MAX_DISK_BYTES,
        ..Limits::default()
    };
    let mut disk = Vec::new();
    let mut opened = source::open(File::open(file).expect("it is there"), None, &limits).expect("as before");
    opened.source.read_to_end(&mut disk).expect("as before");
    let mut stored = Vec::new();
    let mut reader = read_artifact(folder, manifest).expect("memory for a decoder");
    reader.read_to_end(&mut stored).expect("a sound artifact");
    // The last sector is filled up.
    assert!(stored.len() - disk.len() < 4096 && stored[disk.len()..].iter().all(|byte| *byte == 0));
    assert!(stored[..disk.len()] == disk, "the artifact holds something else");
    let artifact = ArtifactDisk::new(folder, manifest).expect("memory for a decoder");
    let facts = facts::read(&artifact, Some(manifest.logical_sector_bytes)).expect("a sound artifact");
    assert_eq!(facts.disk_size_bytes, manifest.disk_size_bytes);
    for finding in facts::lint(&facts) {
        assert!(!finding.remedy.is_empty(), "{finding:?}");
    }
    disk
}

/// Whole packs may stay when an import fails, to be collected; anything else may not.
fn is_clean(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        assert_eq!(
            path.file_name().expect("a name"),
            "packs",
            "left behind: {path:?}"
        );
    }
    for entry in fs::read_dir(folder.join("packs")).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        let mut pack = File::open(&path).expect("a readable pack");
        read_index(&mut pack).unwrap_or_else(|error| panic!("left behind: {path:?}: {error}"));
    }
}

/// What qemu-img reads, if it takes the file.
fn by_qemu(file: &Path, format: Format, to: &Path) -> Option<Vec<u8>> {
    let driver = match format {
        Format::Vhd => "vpc",
        other => other.name(),
    };
    let output = Command::new("qemu-img")
        .args(["convert", "-f", driver, "-O", "raw"])
        .args([file, to])
        .output()
        .expect("qemu-img");
    let read = output
        .status
        .success()
        .then(|| fs::read(to).expect("what it has written"));
    fs::remove_file(to).ok();
    read
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).expect("proc").count()
}

#[test]
fn a_thousand_mutated_files_are_refused_or_imported_correctly() {
    // In memory where that is possible: every pack is synced.
    let shared = Path::new("/dev/shm");
    let dir = if shared.is_dir() {
        tempfile::tempdir_in(shared)
    } else {
        tempfile::tempdir()
    };
    let dir = dir.expect("a folder");
    let (file, folder) = (dir.path().join("image"), dir.path().join("artifact"));
    let seeds = seeds();
    assert!(seeds.len() >= 20, "{}", seeds.len());
    for seed in &seeds {
        write_sparse(&file, &seed.content);
        let manifest = import(&file, &folder).unwrap_or_else(|why| panic!("{}: {why}", seed.name));
        check(&file, &folder, &manifest);
        fs::remove_dir_all(&folder).expect("it can be removed");
    }

    let files = entries("/proc/self/fd");
    let mut numbers = Numbers(0x1234_5678_9ABC_DEF1);
    let (mut imported, mut compared) = (0, 0);
    let mut reasons = std::collections::BTreeSet::new();
    for number in 0..FILES {
        let seed = &seeds[number % seeds.len()];
        let content = mutate(seed, &mut numbers);
        write_sparse(&file, &content);
        let what = format!("file {number} of {}", seed.name);
        let begin = Instant::now();
        let (peak, result) = ALLOCATOR.peak_of(|| import(&file, &folder));
        assert!(peak < MAX_MEMORY, "{what}: {peak} bytes of memory");
        if folder.exists() {
            is_clean(&folder);
        }
        match result {
            Err(why) => {
                // Without numbers and names there are about as many as there are kinds of refusals.
                reasons.insert(
                    why.chars()
                        .filter(|letter| letter.is_alphabetic())
                        .take(80)
                        .collect::<String>(),
                );
            }
            Ok(manifest) => {
                imported += 1;
                let disk = check(&file, &folder, &manifest);
                if let Some(format) = seed.format
                    && compared < COMPARED
                    && let Some(read) = by_qemu(&file, format, &dir.path().join("raw"))
                {
                    compared += 1;
                    assert!(read == disk, "{what}: qemu-img reads something else");
                }
            }
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {:?}", begin.elapsed());
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("it can be removed");
        }
    }
    fs::remove_file(&file).expect("it is there");
    assert_eq!(
        fs::read_dir(dir.path()).expect("a folder").count(),
        0,
        "left behind"
    );
    // A thread that was joined is seen a little longer. The harness has one, the test another.
    let begin = Instant::now();
    while entries("/proc/self/task") > 2 {
        assert!(begin.elapsed() < PATIENCE, "threads are left");
        std::thread::yield_now();
    }
    assert_eq!(entries("/proc/self/fd"), files, "files are left open");
    let refused = FILES - imported;
    println!(
        "{imported} imported, {refused} refused for {} reasons, {compared} compared",
        reasons.len()
    );
    assert!(
        imported > 200 && refused > 200 && reasons.len() > 20,
        "{imported} {refused} {reasons:?}"
    );
    assert!(compared >= COMPARED / 2, "{compared}");
}
