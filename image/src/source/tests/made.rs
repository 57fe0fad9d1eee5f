//! Image files made by the real qemu-img, and what is done to them.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crc::{CRC_32_ISCSI, Crc};

use super::*;

/// One way of keeping a disk in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub format: Format,
    /// What qemu-img calls it.
    pub driver: &'static str,
    pub options: &'static [&'static str],
}

const fn form(format: Format, driver: &'static str, options: &'static [&'static str]) -> Form {
    Form {
        format,
        driver,
        options,
    }
}

/// All forms of the container formats but qcow2, which has tests of its own.
pub(super) const FORMS: [Form; 15] = [
    form(Format::Vmdk, "vmdk", &[]),
    form(Format::Vmdk, "vmdk", &["-o", "zeroed_grain=on"]),
    form(Format::Vmdk, "vmdk", &["-o", "subformat=streamOptimized"]),
    form(Format::Vhd, "vpc", &["-o", "subformat=dynamic,force_size=on"]),
    form(Format::Vhd, "vpc", &["-o", "subformat=fixed,force_size=on"]),
    form(Format::Vhdx, "vhdx", &[]),
    form(Format::Vhdx, "vhdx", &["-o", "block_size=1M"]),
    form(Format::Vhdx, "vhdx", &["-o", "block_size=1M,subformat=fixed"]),
    form(Format::Vdi, "vdi", &[]),
    form(Format::Vdi, "vdi", &["-o", "static=on"]),
    form(Format::Qed, "qed", &[]),
    form(Format::Qed, "qed", &["-o", "cluster_size=4k"]),
    form(Format::Qcow, "qcow", &[]),
    form(Format::Qcow, "qcow", &["-c"]),
    form(Format::Qcow2, "qcow2", &[]),
];

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(super) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

/// What qemu-img makes of `disk`.
pub(super) fn make(form: Form, disk: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (raw, made) = (dir.path().join("disk.raw"), dir.path().join("disk.img"));
    std::fs::write(&raw, disk).unwrap();
    let args = [
        &["convert", "-f", "raw", "-O", form.driver],
        form.options,
        &[text(&raw), text(&made)],
    ]
    .concat();
    if form.format == Format::Qcow && form.options.contains(&"-c") {
        // It writes the whole file, then ends with 1 and says nothing; so what it wrote is looked at.
        Command::new("qemu-img").args(args).output().unwrap();
        run(
            "qemu-img",
            &["compare", "-f", "raw", "-F", "qcow", text(&raw), text(&made)],
        );
    } else {
        run("qemu-img", &args);
    }
    std::fs::read(made).unwrap()
}

/// What qemu-img makes when it is told to create something.
pub(super) fn create(args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("base.raw"), vec![1; 1 << 20]).unwrap();
    let output = Command::new("qemu-img")
        .current_dir(dir.path())
        .args([&["create", "-q"], args, &["made"]].concat())
        .args(["1M"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    std::fs::read(dir.path().join("made")).unwrap()
}

/// A disk with noise, text, holes, lone sectors and a tail.
pub(super) fn mixed_disk(size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    disk[..200_000].copy_from_slice(&noise(200_000));
    let middle = size / 2;
    let words = b"some words of text ".repeat(50_000);
    disk[middle..middle + words.len()].copy_from_slice(&words);
    for sector in [700, 1900, size / 512 - 300] {
        disk[sector * 512..][..512].fill(3);
    }
    disk[size - 100..].fill(7);
    disk
}

/// A disk that makes small files: few bytes, of which all are [`MARK`].
pub(super) fn marked_disk() -> Vec<u8> {
    let mut disk = vec![0; (4 << 20) + 3 * 512];
    for at in [0, 70_000, 1 << 20, (1 << 20) + 70_000, 3 << 20, 4 << 20] {
        disk[at..at + 600].fill(MARK);
    }
    disk
}

pub(super) const MARK: u8 = 0xD7;

/// Reads a disk as an import does: it skips what is known to be zero, and reads chunks.
pub(super) fn read_sparse(opened: Opened) -> io::Result<Vec<u8>> {
    let mut source = opened.source;
    let size = usize::try_from(source.disk_size_bytes().expect("containers know it")).unwrap();
    let mut disk = vec![0; size];
    let mut at = 0;
    while at < size {
        let skipped = usize::try_from(source.skip_zeros()?).unwrap();
        at += skipped;
        assert!(skipped.is_multiple_of(CHUNK_BYTES as usize) || at == size);
        let end = size.min(at + CHUNK_BYTES as usize);
        source.read_exact(&mut disk[at..end])?;
        at = end;
    }
    Ok(disk)
}

/// Why an image is refused, at once or while it is read.
pub(super) fn refusal(bytes: &[u8]) -> SourceError {
    refusal_of(bytes, None)
}

pub(super) fn refusal_of(bytes: &[u8], declared: Option<Format>) -> SourceError {
    let error = match open_bytes(bytes, declared) {
        Err(error) => error.into_io(),
        Ok(mut opened) => io::copy(&mut opened.source, &mut io::sink()).expect_err("it is refused"),
    };
    error
        .downcast::<SourceError>()
        .unwrap_or_else(|error| panic!("{error:?}"))
}

/// The whole message, as an operator sees it.
pub(super) fn message(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Makes the checksums of a VHD right.
pub(super) fn seal_vhd(bytes: &mut [u8]) {
    let sums = |bytes: &mut [u8], at: usize| {
        bytes[at..at + 4].fill(0);
        let sum = bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    };
    let end = bytes.len() - 512;
    sums(&mut bytes[end..], 64);
    if bytes.starts_with(b"conectix") {
        sums(&mut bytes[..512], 64);
        sums(&mut bytes[512..1536], 36);
    }
}

/// Makes the checksums of a VHDX right.
pub(super) fn seal_vhdx(bytes: &mut [u8]) {
    let crc = Crc::<u32>::new(&CRC_32_ISCSI);
    for (at, len) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
        let structure = &mut bytes[at << 10..][..len << 10];
        structure[4..8].fill(0);
        let sum = crc.checksum(structure).to_le_bytes();
        structure[4..8].copy_from_slice(&sum);
    }
}

/// Makes whatever checksums a format has right.
pub(super) fn seal(format: Format, bytes: &mut [u8]) {
    match format {
        Format::Vhd if bytes.len() > 2048 => seal_vhd(bytes),
        Format::Vhdx if bytes.len() > 320 << 10 => seal_vhdx(bytes),
        _ => {}
    }
}

/// Writes the pages of `to` that differ from `from`.
pub(super) fn rewrite(file: &File, from: &[u8], to: &[u8]) {
    const PAGE: usize = 4096;
    for (number, (old, new)) in from.chunks(PAGE).zip(to.chunks(PAGE)).enumerate() {
        if old != new {
            file.write_all_at(new, (number * PAGE) as u64).unwrap();
        }
    }
}
