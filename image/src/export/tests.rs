//! What is exported comes back as the same image, and qemu-img reads in it what we wrote.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::seal::{Algorithm, DataKey, Seal};
use crate::source::{self, Format, Limits};
use crate::write::{ArtifactWriter, DirSink, WriteOptions};
use crate::{CHUNK_BYTES, Digest};

const CHUNK: usize = CHUNK_BYTES as usize;

/// An artifact in a folder of its own.
struct Artifact {
    dir: tempfile::TempDir,
    manifest: Manifest,
}

impl Artifact {
    fn of(disk: &[u8]) -> Self {
        let file = tempfile::tempfile().unwrap();
        for (number, block) in disk.chunks(4096).enumerate() {
            if !crate::zero::is_zero(block) {
                file.write_all_at(block, number as u64 * 4096).unwrap();
            }
        }
        file.set_len(disk.len() as u64).unwrap();
        Self::of_file(file)
    }

    fn of_file(file: File) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manifest = import(file, dir.path()).1;
        Self { dir, manifest }
    }

    fn export(
        &self,
        format: ExportFormat,
        options: &ExportOptions<'_>,
    ) -> Result<(Exported, Vec<u8>), ExportError> {
        let mut file = Vec::new();
        let plan = ExportPlan::new(&self.manifest, format)?;
        let expected = plan.file_bytes();
        let done = plan.write(&DirFrames::new(self.dir.path()), &mut file, options)?;
        assert!(expected.is_none_or(|bytes| bytes == done.file_bytes), "{format}");
        assert_eq!(file.len() as u64, done.file_bytes - options.from, "{format}");
        Ok((done, file))
    }

    fn export_all(&self, format: ExportFormat) -> Vec<u8> {
        let (done, file) = self.export(format, &ExportOptions::default()).unwrap();
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
        assert_eq!(done.sha256.unwrap().as_bytes(), sum.as_ref(), "{format}");
        file
    }
}

fn import(file: File, dir: &Path) -> (Format, Manifest) {
    let options = WriteOptions {
        level: 1,
        max_disk_bytes: 64 << 40,
        ..WriteOptions::default()
    };
    let limits = Limits {
        max_disk_bytes: 64 << 40,
        ..Limits::default()
    };
    let mut opened = source::open(file, None, &limits).unwrap();
    let mut writer = ArtifactWriter::new(DirSink::new(dir).unwrap(), options);
    (opened.format, writer.import(opened.source.as_mut()).unwrap())
}

fn detected(format: ExportFormat) -> Format {
    match format {
        ExportFormat::Raw => Format::Raw,
        ExportFormat::RawZstd => Format::RawZstd,
        ExportFormat::Qcow2 | ExportFormat::Qcow2Zstd => Format::Qcow2,
        ExportFormat::Vmdk => Format::Vmdk,
        ExportFormat::Vhd => Format::Vhd,
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

/// Noise, a hole, text, lone sectors, a chunk that comes twice, and a tail.
fn mixed(size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    disk[..200_000].copy_from_slice(&noise(1, 200_000));
    let words = b"some words of text ".repeat(60_000);
    disk[3 * CHUNK + 100..][..words.len()].copy_from_slice(&words);
    disk[6 * CHUNK + 7 * 512..][..512].fill(3);
    let twice = noise(2, CHUNK);
    disk[7 * CHUNK..8 * CHUNK].copy_from_slice(&twice);
    disk[9 * CHUNK..10 * CHUNK].copy_from_slice(&twice);
    disk[size - 100..].fill(7);
    disk
}

fn disks() -> Vec<(&'static str, Vec<u8>)> {
    let mut tail = vec![0; 5 * CHUNK + 512];
    tail[5 * CHUNK] = 1;
    vec![
        ("mixed", mixed(12 * CHUNK)),
        ("of an odd size", mixed(11 * CHUNK + 3 * 512)),
        ("empty", vec![0; 40 * CHUNK]),
        ("empty, of an odd size", vec![0; 2 * CHUNK + 512]),
        ("all data", noise(3, 5 * CHUNK)),
        ("one sector", vec![9; 512]),
        ("data in the last sector only", tail),
        (
            "data at the beginning only",
            [vec![5; 512], vec![0; 3 * CHUNK]].concat(),
        ),
    ]
}

/// What is exported of an encrypted image is what would be exported of the same image without encryption.
#[test]
fn an_encrypted_image_is_exported_decrypted() {
    let disk = mixed(11 * CHUNK + 3 * 512);
    let plain = Artifact::of(&disk);
    let seal = Seal::new(&DataKey::generate(), Algorithm::default());
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions {
        level: 1,
        seal: Some(&seal),
        ..WriteOptions::default()
    };
    let manifest = ArtifactWriter::new(DirSink::new(dir.path()).unwrap(), options)
        .import_stream(&mut &disk[..])
        .unwrap();
    let encrypted = Artifact { dir, manifest };
    for format in ExportFormat::ALL {
        assert!(
            encrypted.export_all(format) == plain.export_all(format),
            "{format}"
        );
    }
    // From the middle on, as a download that goes on.
    let options = ExportOptions {
        from: 2_000_000,
        ..ExportOptions::default()
    };
    let (_, rest) = encrypted.export(ExportFormat::RawZstd, &options).unwrap();
    assert!(rest == plain.export_all(ExportFormat::RawZstd)[2_000_000..]);
}

/// Row 37: bytes that went through any format are the same image.
#[test]
fn row_37_what_is_exported_comes_back_as_the_same_image() {
    for (what, disk) in disks() {
        let artifact = Artifact::of(&disk);
        for format in ExportFormat::ALL {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("exported");
            fs::write(&path, artifact.export_all(format)).unwrap();
            let (found, manifest) = import(File::open(&path).unwrap(), dir.path());
            assert_eq!(found, detected(format), "{format}, {what}");
            assert_eq!(manifest.disk_size_bytes, disk.len() as u64, "{format}, {what}");
            assert_eq!(
                manifest.image_digest, artifact.manifest.image_digest,
                "{format}, {what}"
            );
        }
    }
}

fn qemu_img(args: &[&str], what: &str) -> String {
    let output = Command::new("qemu-img").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}{complained}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes the file, has qemu-img compare it with `raw`, and check it where it can.
fn judge(artifact: &Artifact, format: ExportFormat, raw: &Path, dir: &Path, what: &str) {
    let what = format!("{format}, {what}");
    let driver = match format {
        ExportFormat::Raw => "raw",
        ExportFormat::Qcow2 | ExportFormat::Qcow2Zstd => "qcow2",
        ExportFormat::Vmdk => "vmdk",
        ExportFormat::Vhd => "vpc",
        ExportFormat::RawZstd => {
            let plain = zstd::stream::decode_all(&artifact.export_all(format)[..]).unwrap();
            assert!(plain == fs::read(raw).unwrap(), "{what}");
            return;
        }
    };
    let path: PathBuf = dir.join("exported");
    let mut file = File::create(&path).unwrap();
    ExportPlan::new(&artifact.manifest, format)
        .unwrap()
        .write(
            &DirFrames::new(artifact.dir.path()),
            &mut file,
            &ExportOptions::default(),
        )
        .unwrap();
    qemu_img(
        &["compare", "-f", "raw", "-F", driver, text(raw), text(&path)],
        &what,
    );
    // A comparison lets one disk be longer than the other, by zeros.
    let info = qemu_img(&["info", "--output=json", "-f", driver, text(&path)], &what);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], artifact.manifest.disk_size_bytes, "{what}");
    if matches!(driver, "qcow2" | "vmdk") {
        qemu_img(&["check", "-f", driver, text(&path)], &what);
    }
}

#[test]
fn qemu_img_reads_what_is_exported() {
    for (what, disk) in disks() {
        let artifact = Artifact::of(&disk);
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk.raw");
        fs::write(&raw, &disk).unwrap();
        for format in ExportFormat::ALL {
            judge(&artifact, format, &raw, dir.path(), what);
        }
    }
}

/// So large that every table has several parts.
#[test]
fn large_disks_with_little_data_are_right_too() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    let file = File::create(&raw).unwrap();
    let size = (130 << 30) + 512;
    file.set_len(size).unwrap();
    for gib in [0, 1, 64, 127, 128, 129] {
        file.write_all_at(&noise(gib, 70_000), (gib << 30) + 123_456)
            .unwrap();
    }
    file.write_all_at(&[1; 512], size - 512).unwrap();
    let artifact = Artifact::of_file(File::open(&raw).unwrap());
    for format in [
        ExportFormat::Qcow2,
        ExportFormat::Qcow2Zstd,
        ExportFormat::Vmdk,
        ExportFormat::Vhd,
    ] {
        let path = dir.path().join("exported");
        if format == ExportFormat::Vmdk || format == ExportFormat::Vhd {
            let mut file = File::create(&path).unwrap();
            let plan = ExportPlan::new(&artifact.manifest, format).unwrap();
            let frames = DirFrames::new(artifact.dir.path());
            plan.write(&frames, &mut file, &ExportOptions::default()).unwrap();
        } else {
            // It takes minutes to compare the other formats.
            judge(&artifact, format, &raw, dir.path(), "large");
        }
        let (_, manifest) = import(File::open(&path).unwrap(), dir.path());
        assert_eq!(manifest.image_digest, artifact.manifest.image_digest, "{format}");
    }
}

#[test]
fn a_file_can_be_written_from_any_byte_on() {
    let artifact = Artifact::of(&mixed(11 * CHUNK + 3 * 512));
    for format in ExportFormat::ALL {
        let whole = artifact.export_all(format);
        let len = whole.len();
        for from in [1, 511, 512, 65_536, len / 3, len / 2, len - 600, len - 1, len] {
            let options = ExportOptions {
                from: from as u64,
                ..ExportOptions::default()
            };
            let (done, rest) = artifact.export(format, &options).unwrap();
            assert!(rest == whole[from..], "{format} from {from}");
            assert_eq!(done.sha256, None);
        }
        let beyond = ExportOptions {
            from: len as u64 + 1,
            ..ExportOptions::default()
        };
        let is_known = ExportPlan::new(&artifact.manifest, format)
            .unwrap()
            .file_bytes()
            .is_some();
        if is_known {
            let error = artifact.export(format, &beyond).unwrap_err();
            assert!(matches!(error, ExportError::Range { .. }), "{format}: {error}");
        }
    }
}

/// Chunks before the first byte that is wanted are not fetched where their place is known.
#[test]
fn what_is_left_out_is_not_fetched() {
    struct Counting(DirFrames, std::sync::atomic::AtomicU64);
    impl Frames for Counting {
        fn fetch(&self, pack: &crate::PackRef, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
            let bytes = range.end - range.start;
            self.1.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            self.0.fetch(pack, range)
        }
    }
    let artifact = Artifact::of(&noise(5, 8 * CHUNK));
    for (format, most) in [
        (ExportFormat::Raw, 2 * CHUNK),
        (ExportFormat::RawZstd, 2 * CHUNK),
        (ExportFormat::Qcow2, 2 * CHUNK),
        (ExportFormat::Qcow2Zstd, 2 * CHUNK),
        (ExportFormat::Vhd, 2 * CHUNK),
    ] {
        let frames = Counting(DirFrames::new(artifact.dir.path()), 0.into());
        let plan = ExportPlan::new(&artifact.manifest, format).unwrap();
        let from = plan.place_of(7);
        let options = ExportOptions {
            from,
            ..ExportOptions::default()
        };
        plan.write(&frames, &mut io::sink(), &options).unwrap();
        let fetched = frames.1.into_inner();
        assert!(fetched > 0 && fetched < most as u64, "{format}: {fetched}");
    }
}

impl ExportPlan<'_> {
    fn place_of(&self, nth: usize) -> u64 {
        self.writer.place(nth).unwrap()
    }
}

#[test]
fn the_same_image_gives_the_same_file_whatever_the_threads() {
    let artifact = Artifact::of(&mixed(12 * CHUNK));
    for format in ExportFormat::ALL {
        let files = [1, 2, 7].map(|threads| {
            let options = ExportOptions {
                threads,
                ..ExportOptions::default()
            };
            artifact.export(format, &options).unwrap()
        });
        assert!(files[0] == files[1] && files[1] == files[2], "{format}");
    }
}

#[test]
fn a_damaged_frame_ends_the_file_before_its_chunk() {
    let disk = noise(4, 6 * CHUNK);
    let artifact = Artifact::of(&disk);
    let chunk = &artifact.manifest.chunks[4];
    let pack = artifact.manifest.packs[chunk.pack as usize].digest.to_string();
    let path = artifact.dir.path().join("packs").join(pack);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(chunk.offset).unwrap() + 1000;
    bytes[at] ^= 1;
    for format in ExportFormat::ALL {
        let whole = artifact.export_all(format);
        fs::write(&path, &bytes).unwrap();
        let mut file = Vec::new();
        let plan = ExportPlan::new(&artifact.manifest, format).unwrap();
        let error = plan
            .write(
                &DirFrames::new(artifact.dir.path()),
                &mut file,
                &ExportOptions::default(),
            )
            .unwrap_err();
        assert!(matches!(error, ExportError::Frame { .. }), "{format}: {error}");
        assert!(file.len() < whole.len() && whole.starts_with(&file), "{format}");
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        bytes[at] ^= 1;
    }
    fs::remove_file(&path).unwrap();
    let error = artifact
        .export(ExportFormat::Raw, &ExportOptions::default())
        .unwrap_err();
    assert!(matches!(error, ExportError::Fetch { .. }), "{error}");
}

#[test]
fn an_export_can_be_cancelled_and_tells_its_progress() {
    let artifact = Artifact::of(&mixed(12 * CHUNK));
    let cancel = AtomicBool::new(false);
    let told = std::cell::RefCell::new(Vec::new());
    let progress = |done| {
        told.borrow_mut().push(done);
        cancel.store(told.borrow().len() == 2, std::sync::atomic::Ordering::Relaxed);
    };
    let options = ExportOptions {
        progress: Some(&progress),
        cancel: Some(&cancel),
        ..ExportOptions::default()
    };
    let error = artifact.export(ExportFormat::Raw, &options).unwrap_err();
    assert!(matches!(error, ExportError::Cancelled), "{error}");
    assert_eq!(told.borrow().len(), 2);
    let quiet = ExportOptions {
        cancel: None,
        ..options
    };
    artifact.export(ExportFormat::Raw, &quiet).unwrap();
    assert_eq!(told.borrow().last(), Some(&(12 * CHUNK as u64)));
}

#[test]
fn a_disk_that_a_format_cannot_hold_is_refused_before_a_byte() {
    let file = tempfile::tempfile().unwrap();
    file.set_len((2040 << 30) + 512).unwrap();
    let artifact = Artifact::of_file(file);
    let error = ExportPlan::new(&artifact.manifest, ExportFormat::Vhd).unwrap_err();
    assert!(
        error.to_string().contains("2040 GiB") && error.to_string().contains("as qcow2"),
        "{error}"
    );
    assert!(ExportPlan::new(&artifact.manifest, ExportFormat::Vmdk).is_ok());
}

/// Encrypted, decrypted and packed anew, an image stays the same.
#[test]
fn an_artifact_is_a_source_of_imports() {
    for (what, disk) in disks() {
        let artifact = Artifact::of(&disk);
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let seal = Seal::new(&DataKey::generate(), Algorithm::default());
        let again = |manifest: &Manifest, from: &Path, to: &Path, seal: Option<&Seal>| {
            let frames = DirFrames::new(from);
            let options = WriteOptions {
                level: 1,
                seal,
                logical_sector_bytes: Some(manifest.logical_sector_bytes),
                ..WriteOptions::default()
            };
            let mut source = ArtifactSource::new(manifest, &frames).unwrap();
            let mut writer = ArtifactWriter::new(DirSink::new(to).unwrap(), options);
            writer.import(&mut source).unwrap()
        };
        let encrypted = again(&artifact.manifest, artifact.dir.path(), first.path(), Some(&seal));
        assert!(encrypted.seal.is_some());
        let decrypted = again(&encrypted, first.path(), second.path(), None);
        for manifest in [&encrypted, &decrypted] {
            assert_eq!(manifest.image_digest, artifact.manifest.image_digest, "{what}");
            assert_eq!(manifest.disk_size_bytes, disk.len() as u64, "{what}");
        }
    }
    // What is damaged does not become another image.
    let artifact = Artifact::of(&noise(8, 3 * CHUNK));
    let pack = artifact.manifest.packs[0].digest.to_string();
    let path = artifact.dir.path().join("packs").join(pack);
    let mut bytes = fs::read(&path).unwrap();
    bytes[CHUNK + CHUNK / 2] ^= 1;
    fs::write(&path, bytes).unwrap();
    let frames = DirFrames::new(artifact.dir.path());
    let mut source = ArtifactSource::new(&artifact.manifest, &frames).unwrap();
    assert!(io::copy(&mut source, &mut io::sink()).is_err());
}

#[test]
fn names_are_understood() {
    for format in ExportFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        let by_name = ExportFormat::of_file_name(&format!("My.Disk.{}", format.extension().to_uppercase()));
        assert_eq!(by_name.map(ExportFormat::extension), Some(format.extension()));
    }
    assert!(
        "qcow"
            .parse::<ExportFormat>()
            .unwrap_err()
            .to_string()
            .contains("known are raw")
    );
    assert_eq!(ExportFormat::of_file_name("disk.vhdx"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disk_comes_back_from_any_format(
        pieces in prop::collection::vec((0u8..4, 1usize..CHUNK * 2), 1..5),
        format in prop::sample::select(&ExportFormat::ALL[..]),
        threads in 1usize..4,
        cut in 0.0..1.0f64,
    ) {
        let mut disk = Vec::new();
        for (kind, len) in pieces {
            disk.extend(match kind {
                0 => vec![0; len],
                1 => noise(len as u64, len),
                2 => b"words ".iter().copied().cycle().take(len).collect(),
                _ => noise(1, CHUNK),
            });
        }
        disk.resize(disk.len().next_multiple_of(512), 0);
        let artifact = Artifact::of(&disk);
        let options = ExportOptions { threads, ..ExportOptions::default() };
        let (done, file) = artifact.export(format, &options).unwrap();
        let from = (done.file_bytes as f64 * cut) as u64;
        let (_, rest) = artifact.export(format, &ExportOptions { from, ..options }).unwrap();
        prop_assert!(rest == file[usize::try_from(from).unwrap()..]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exported");
        fs::write(&path, &file).unwrap();
        let (_, manifest) = import(File::open(&path).unwrap(), dir.path());
        prop_assert_eq!(manifest.image_digest, artifact.manifest.image_digest);
    }
}

/// The digest of an export is what the file is known by; a change of a format must be meant, and raise
/// [`EXPORT_REVISION`].
#[test]
fn the_bytes_of_every_format_are_those_of_this_revision() {
    let disk = [b"boot".repeat(1000), vec![0; 3 * CHUNK + 96], b"end ".repeat(128)].concat();
    assert_eq!(disk.len() % 512, 0, "{}", disk.len());
    let artifact = Artifact::of(&disk);
    let of = |format| Digest::of(&artifact.export_all(format)).to_string()[..16].to_owned();
    let digests: Vec<_> = [ExportFormat::Raw, ExportFormat::Qcow2, ExportFormat::Vhd]
        .map(of)
        .to_vec();
    assert_eq!(
        (EXPORT_REVISION, digests.join(" ")),
        (1, "66f2393384ae9761 5953bbd7308cb596 fce22d5cc50e25f7".to_owned())
    );
}

#[test]
fn a_file_without_its_sum_is_the_same_file() {
    let mut disk = vec![0; 3 * CHUNK];
    disk[CHUNK + 7] = 1;
    let artifact = Artifact::of(&disk);
    let options = ExportOptions {
        without_sum: true,
        ..ExportOptions::default()
    };
    let (done, file) = artifact.export(ExportFormat::Raw, &options).unwrap();
    assert!(file == disk && done.sha256.is_none());
}
