//! The file that a container is read from.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use super::super::Format;
use super::ContainerError;

/// Longest table that is taken into memory.
const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Longest name of a backing file that is told.
const MAX_NAME_BYTES: u32 = 1023;

/// A file, and what errors say of it.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    pub format: Format,
    /// Length of the file when it was opened.
    pub bytes: u64,
}

impl Input {
    pub fn new(file: File, format: Format) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, format, bytes })
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// Makes sure that the file is long enough.
    pub fn within(&self, what: &'static str, offset: u64, bytes: u64) -> Result<(), ContainerError> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            end => Err(ContainerError::Truncated {
                format: self.format,
                what,
                expected: end.unwrap_or(u64::MAX),
                got: self.bytes,
            }),
        }
    }

    pub fn read(&self, what: &'static str, offset: u64, out: &mut [u8]) -> Result<(), ContainerError> {
        self.within(what, offset, out.len() as u64)?;
        self.file
            .read_exact_at(out, offset)
            .map_err(|source| ContainerError::Io {
                format: self.format,
                offset,
                source,
            })
    }

    /// A header of a fixed length.
    pub fn header<const N: usize>(&self, what: &'static str, offset: u64) -> Result<[u8; N], ContainerError> {
        let mut bytes = [0; N];
        self.read(what, offset, &mut bytes)?;
        Ok(bytes)
    }

    /// A table, as long as the file says.
    pub fn table(&self, what: &'static str, offset: u64, bytes: u64) -> Result<Vec<u8>, ContainerError> {
        if bytes > MAX_TABLE_BYTES {
            return self.refuse(what, bytes, "a table of at most 64 MiB");
        }
        self.within(what, offset, bytes)?;
        let mut table = vec![0; usize::try_from(bytes).expect("bounded above")];
        self.read(what, offset, &mut table)?;
        Ok(table)
    }

    /// A field whose value cannot be.
    pub fn refuse<T>(&self, field: &'static str, got: u64, expected: &str) -> Result<T, ContainerError> {
        Err(ContainerError::Header {
            format: self.format,
            field,
            got,
            expected: expected.to_owned(),
        })
    }

    /// A field that has to be a power of two.
    pub fn power_of_two(
        &self,
        field: &'static str,
        got: u64,
        range: RangeInclusive<u64>,
    ) -> Result<(), ContainerError> {
        if got.is_power_of_two() && range.contains(&got) {
            return Ok(());
        }
        let expected = format!("a power of two from {} to {}", range.start(), range.end());
        self.refuse(field, got, &expected)
    }

    /// The refusal of a disk that needs the backing file whose name lies at `offset`. The name is for the message only.
    pub fn backing_file(&self, offset: u64, bytes: u32) -> ContainerError {
        let bytes = bytes.min(MAX_NAME_BYTES).into();
        let name = self
            .table("the backing file's name", offset, bytes)
            .unwrap_or_default();
        self.parent(String::from_utf8_lossy(&name).into_owned())
    }

    /// The refusal of a disk that holds only what differs from another one.
    pub fn parent(&self, parent: String) -> ContainerError {
        ContainerError::Parent {
            format: self.format,
            parent,
        }
    }

    pub fn bad_checksum(&self, what: &'static str) -> ContainerError {
        ContainerError::Checksum {
            format: self.format,
            what,
        }
    }

    pub fn bad_magic(&self, what: &'static str) -> ContainerError {
        ContainerError::Magic {
            format: self.format,
            what,
        }
    }

    pub fn bad_entry(&self, what: &'static str, entry: u64, why: &'static str) -> ContainerError {
        ContainerError::Entry {
            format: self.format,
            what,
            entry,
            why,
        }
    }
}
