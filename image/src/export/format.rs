//! The formats that are written.

use std::fmt;
use std::str::FromStr;

/// A format of the files that an export gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// The disk's bytes.
    Raw,
    /// The disk's bytes in zstd, a frame for each chunk.
    RawZstd,
    /// QEMU's format, version 3, not compressed: every program that reads qcow2 reads it.
    Qcow2,
    /// The same with clusters compressed by zstd: for QEMU 5.1 and newer.
    Qcow2Zstd,
    /// VMware's format for transport: one file, compressed (streamOptimized).
    Vmdk,
    /// Microsoft's older format, growing (dynamic).
    Vhd,
}

/// A text that names none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown export format {got:?}; known are raw, raw.zst, qcow2, qcow2-zstd, vmdk and vhd")]
pub struct ParseExportFormatError {
    got: String,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Raw,
        Self::RawZstd,
        Self::Qcow2,
        Self::Qcow2Zstd,
        Self::Vmdk,
        Self::Vhd,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawZstd => "raw.zst",
            Self::Qcow2 => "qcow2",
            Self::Qcow2Zstd => "qcow2-zstd",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
        }
    }

    /// How the names of such files end, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Qcow2Zstd => "qcow2",
            other => other.name(),
        }
    }

    /// The format of a file of this name, by its ending.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        [
            (".raw.zst", Self::RawZstd),
            (".img.zst", Self::RawZstd),
            (".raw", Self::Raw),
            (".img", Self::Raw),
            (".qcow2", Self::Qcow2),
            (".vmdk", Self::Vmdk),
            (".vhd", Self::Vhd),
        ]
        .into_iter()
        .find(|(ending, _)| name.ends_with(ending))
        .map(|(_, format)| format)
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ExportFormat {
    type Err = ParseExportFormatError;

    fn from_str(text: &str) -> Result<Self, ParseExportFormatError> {
        let known = Self::ALL.into_iter().find(|format| format.name() == text);
        known.ok_or_else(|| ParseExportFormatError {
            got: text.chars().take(40).collect(),
        })
    }
}
