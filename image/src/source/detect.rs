//! Which format a file has, from its content.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use super::SourceError;

/// How much of the beginning of a file is looked at.
pub const HEAD_BYTES: usize = 64 << 10;
const TAIL_BYTES: u64 = 512;
/// Where the first descriptor of ISO 9660 has its name.
const ISO_AT: usize = 0x8001;

/// A format of disk images. All are told apart; not all are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's bytes.
    Raw,
    /// The disk's bytes in gzip.
    RawGzip,
    /// The disk's bytes in xz.
    RawXz,
    /// The disk's bytes in zstd.
    RawZstd,
    /// The disk's bytes in bzip2.
    RawBzip2,
    /// QEMU's format, versions 2 and 3.
    Qcow2,
    /// Its forerunner.
    Qcow,
    /// QEMU's enhanced disk.
    Qed,
    /// VMware's format, in one file.
    Vmdk,
    /// Microsoft's older format.
    Vhd,
    /// Microsoft's newer format.
    Vhdx,
    /// VirtualBox's format.
    Vdi,
    /// A file system of optical disks. Not read.
    Iso,
    /// An encrypted container. Not read.
    Luks,
    /// A zip archive. Not read.
    Zip,
    /// A tar archive, or an OVA. Not read.
    Tar,
}

const NAMES: [(Format, &str); 16] = [
    (Format::Raw, "raw"),
    (Format::RawGzip, "raw.gz"),
    (Format::RawXz, "raw.xz"),
    (Format::RawZstd, "raw.zst"),
    (Format::RawBzip2, "raw.bz2"),
    (Format::Qcow2, "qcow2"),
    (Format::Qcow, "qcow"),
    (Format::Qed, "qed"),
    (Format::Vmdk, "vmdk"),
    (Format::Vhd, "vhd"),
    (Format::Vhdx, "vhdx"),
    (Format::Vdi, "vdi"),
    (Format::Iso, "iso"),
    (Format::Luks, "luks"),
    (Format::Zip, "zip"),
    (Format::Tar, "tar"),
];

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown image format {got:?}; known are {}", Format::readable_names())]
pub struct ParseFormatError {
    got: String,
}

impl Format {
    /// Its name, as in `raw.xz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(format, _)| *format == self)
            .expect("every format has a name")
            .1
    }

    /// Whether this version reads it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        !matches!(self, Self::Iso | Self::Luks | Self::Zip | Self::Tar)
    }

    /// The names of all that this version reads, for a sentence: `raw, qcow2 and vdi`.
    #[must_use]
    pub fn readable_names() -> String {
        let names: Vec<&str> = NAMES
            .iter()
            .filter(|(format, _)| format.is_supported())
            .map(|(_, name)| *name)
            .collect();
        let (last, others) = names.split_last().expect("there are such formats");
        format!("{} and {last}", others.join(", "))
    }

    /// What `qemu-img` calls it.
    pub(super) fn driver(self) -> &'static str {
        match self {
            Self::Vhd => "vpc",
            other => other.name(),
        }
    }

    /// What an operator does with a file that is not read.
    pub(super) fn remedy(self) -> String {
        match self {
            Self::Zip | Self::Tar => "unpack it first and upload the disk image in it".to_owned(),
            Self::Luks => "decrypt it first, an encrypted container cannot be booted from".to_owned(),
            Self::Iso => {
                "install the system onto the disk of a virtual machine and upload that disk, or take the \
                          distribution's cloud image"
                    .to_owned()
            }
            other => format!(
                "convert it to raw or qcow2 first: qemu-img convert -f {} -O qcow2 IN OUT",
                other.driver()
            ),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, ParseFormatError> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(format, _)| *format)
            .ok_or_else(|| ParseFormatError {
                got: text.chars().take(40).collect(),
            })
    }
}

/// What the first bytes of a file say; give it [`HEAD_BYTES`] or the whole file. What fits nothing is raw.
#[must_use]
pub fn detect(head: &[u8]) -> Format {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    match head {
        [b'Q', b'F', b'I', 0xFB, 0, 0, 0, 1, ..] => Format::Qcow,
        [b'Q', b'F', b'I', 0xFB, ..] => Format::Qcow2,
        [b'Q', b'E', b'D', 0, ..] => Format::Qed,
        [0x1F, 0x8B, 8, ..] => Format::RawGzip,
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Format::RawXz,
        // A frame, or a skippable frame as parallel compressors write them in front.
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Format::RawZstd,
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x31,
            0x41,
            0x59,
            0x26,
            0x53,
            0x59,
            ..,
        ] => Format::RawBzip2,
        // Of nothing.
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x17,
            0x72,
            0x45,
            0x38,
            0x50,
            0x90,
            ..,
        ] => Format::RawBzip2,
        [b'K', b'D', b'M', b'V', ..] | [b'C', b'O', b'W', b'D', ..] => Format::Vmdk,
        _ if at(0, b"# Disk DescriptorFile") || is_descriptor(head) => Format::Vmdk,
        _ if at(0, b"vhdxfile") => Format::Vhdx,
        _ if at(0, b"conectix") => Format::Vhd,
        _ if at(0, b"LUKS\xBA\xBE") => Format::Luks,
        _ if at(0, b"PK\x03\x04") => Format::Zip,
        _ if at(0x40, &[0x7F, 0x10, 0xDA, 0xBE]) => Format::Vdi,
        _ if at(257, b"ustar") && !has_mbr(head) => Format::Tar,
        // Also one that can be booted as a disk, by an MBR in the space before it.
        _ if at(ISO_AT, b"CD001") => Format::Iso,
        _ => Format::Raw,
    }
}

/// Detects the format of a file from its beginning and its end, and refuses content that fits two.
pub fn detect_file(file: &mut File) -> Result<Format, SourceError> {
    let size = file.metadata()?.len();
    if size == 0 {
        return Err(SourceError::Empty);
    }
    let head_bytes = usize::try_from(size).unwrap_or(usize::MAX).min(HEAD_BYTES);
    let mut head = vec![0; head_bytes];
    file.read_exact_at(&mut head, 0)?;
    let format = detect(&head);
    let ends_as_vhd = size >= TAIL_BYTES && {
        let mut tail = [0; 8];
        file.read_exact_at(&mut tail, size - TAIL_BYTES)?;
        &tail == b"conectix"
    };
    match format {
        // A fixed VHD is a raw disk with a footer.
        Format::Raw | Format::Iso if ends_as_vhd => Ok(Format::Vhd),
        Format::Raw | Format::Iso => Ok(format),
        first if ends_as_vhd && first != Format::Vhd => Err(SourceError::Polyglot { first, second: "vhd" }),
        first => match second_nature(first, &head) {
            Some(second) => Err(SourceError::Polyglot { first, second }),
            None => Ok(first),
        },
    }
}

/// What else a file is that has the magic of `first`: a disk that firmware would boot, or another container.
fn second_nature(first: Format, head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let is_stream = matches!(
        first,
        Format::RawGzip | Format::RawXz | Format::RawZstd | Format::RawBzip2
    );
    // In a compressed stream any two bytes can be the boot signature; a whole partition table cannot come by chance.
    // A container has its own tables there, where the signature alone has no business.
    let mbr = if is_stream {
        has_mbr(head) && plausible_entries(head)
    } else {
        has_mbr(head)
    };
    if at(512, b"EFI PART") || at(4096, b"EFI PART") {
        Some("a raw disk with a GPT")
    } else if mbr {
        Some("a raw disk with an MBR")
    } else if at(ISO_AT, b"CD001") {
        Some("an ISO 9660 file system")
    } else if first != Format::Vdi && at(0x40, &[0x7F, 0x10, 0xDA, 0xBE]) {
        Some("vdi")
    } else {
        None
    }
}

/// A text that VMware would open as a descriptor: comments and empty lines, then the version.
fn is_descriptor(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    matches!(first, Some(b"version=1" | b"version=2" | b"version=3"))
}

fn has_mbr(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xAA])
}

fn plausible_entries(head: &[u8]) -> bool {
    let (entries, _) = head[446..510].as_chunks::<16>();
    entries.iter().all(|entry| matches!(entry[0], 0 | 0x80)) && entries.iter().any(|entry| entry[4] != 0)
}

pub(super) fn io_truncated(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
