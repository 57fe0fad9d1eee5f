//! The descriptor of a VMDK: a text that says of what files the disk consists.

use super::super::{ContainerError, Input};
use super::header::{Header, SECTOR_BYTES};

pub(super) const KINDS_READ: &str = "monolithicSparse or streamOptimized";
const MAX_BYTES: u64 = 64 << 10;
const WHAT: &str = "the descriptor";
/// The id of a parent where there is none.
const NO_PARENT: &str = "ffffffff";

/// What matters of a descriptor.
#[derive(Debug, Default, PartialEq, Eq)]
struct Descriptor {
    kind: Option<String>,
    parent: Option<String>,
    /// A file in which changes are tracked.
    named: Option<String>,
    extents: Vec<Extent>,
}

#[derive(Debug, PartialEq, Eq)]
struct Extent {
    access: String,
    sectors: Option<u64>,
    kind: String,
    name: String,
}

impl Descriptor {
    fn parse(text: &str) -> Self {
        let mut descriptor = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(extent) = Extent::parse(line) {
                descriptor.extents.push(extent);
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "createtype" => descriptor.kind = Some(value.to_owned()),
                    "parentcid" if !value.eq_ignore_ascii_case(NO_PARENT) => {
                        descriptor
                            .parent
                            .get_or_insert_with(|| format!("the disk with the CID {value}"));
                    }
                    "parentfilenamehint" if !value.is_empty() => descriptor.parent = Some(value.to_owned()),
                    "changetrackpath" if !value.is_empty() => descriptor.named = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        descriptor
    }

    /// Refuses whatever is not one extent in one file.
    fn check(&self, input: &Input, disk_bytes: u64) -> Result<(), ContainerError> {
        let format = input.format;
        if let Some(parent) = &self.parent {
            let parent = parent.clone();
            return Err(ContainerError::Parent { format, parent });
        }
        match self.kind.as_deref() {
            Some("monolithicSparse" | "streamOptimized") => {}
            kind => {
                return Err(ContainerError::Kind {
                    format,
                    kind: kind.unwrap_or("none is named").to_owned(),
                    expected: KINDS_READ,
                });
            }
        }
        if let Some(name) = &self.named {
            let name = name.clone();
            return Err(ContainerError::NamesFile { format, name });
        }
        let [extent] = &self.extents[..] else {
            let got = self.extents.len();
            return Err(ContainerError::Extents { format, got });
        };
        // Its own name is a bare one. Whether it is its own cannot be known, and does not matter: it is not opened.
        if extent.name.contains(['/', '\\']) {
            let name = extent.name.clone();
            return Err(ContainerError::NamesFile { format, name });
        }
        if extent.kind != "SPARSE" {
            return Err(ContainerError::Kind {
                format,
                kind: format!("an extent of the type {}", extent.kind),
                expected: "SPARSE",
            });
        }
        if extent.access == "NOACCESS" {
            return input.refuse("the extents that may be read", 0, "1");
        }
        match extent.sectors {
            Some(sectors) if sectors.checked_mul(SECTOR_BYTES) == Some(disk_bytes) => Ok(()),
            sectors => input.refuse(
                "the sectors of the extent",
                sectors.unwrap_or(0),
                &format!("{}, as in the header", disk_bytes / SECTOR_BYTES),
            ),
        }
    }
}

impl Extent {
    /// `RW 4192256 SPARSE "disk.vmdk"`, and for some types an offset.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let access = words.next()?.to_ascii_uppercase();
        if !matches!(access.as_str(), "RW" | "RDONLY" | "NOACCESS") {
            return None;
        }
        let sectors = words.next()?.parse().ok();
        let kind = words.next()?.to_ascii_uppercase();
        let name = line.split('"').nth(1).unwrap_or_default().to_owned();
        Some(Self {
            access,
            sectors,
            kind,
            name,
        })
    }
}

/// Checks the descriptor inside of a sparse extent.
pub(super) fn check(input: &Input, header: &Header) -> Result<(), ContainerError> {
    if header.descriptor_offset == 0 || header.descriptor_bytes == 0 {
        return Err(ContainerError::Kind {
            format: input.format,
            kind: "an extent without a descriptor".to_owned(),
            expected: KINDS_READ,
        });
    }
    if header.descriptor_bytes > MAX_BYTES {
        return input.refuse(
            "the descriptor's length",
            header.descriptor_bytes,
            "at most 65536",
        );
    }
    let bytes = input.table(WHAT, header.descriptor_offset, header.descriptor_bytes)?;
    Descriptor::parse(&text(&bytes)).check(input, header.disk_bytes)
}

/// Why a file that is a descriptor and nothing else is refused.
pub(super) fn refuse_lone(input: &Input) -> Result<ContainerError, ContainerError> {
    let bytes = input.table(WHAT, 0, input.bytes.min(MAX_BYTES))?;
    let descriptor = Descriptor::parse(&text(&bytes));
    let name = descriptor.extents.first().map(|extent| extent.name.clone());
    let disk_bytes = descriptor.extents.first().and_then(|extent| extent.sectors);
    let disk_bytes = disk_bytes.unwrap_or(0).saturating_mul(SECTOR_BYTES);
    Ok(match descriptor.check(input, disk_bytes) {
        Err(error) => error,
        // It would be good inside of the file that it names.
        Ok(()) => ContainerError::NamesFile {
            format: input.format,
            name: name.unwrap_or_default(),
        },
    })
}

/// Up to the padding. The encoding is that of the system that wrote it; what matters is ASCII.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_understood() {
        let text = "# Disk DescriptorFile\r\nversion=1\r\nCID=1234abcd\r\nparentCID=FFFFFFFF\r\n\
                    createType=\"monolithicSparse\"\r\n\r\n# Extent description\r\nRW 8192 SPARSE \"my disk.vmdk\"\r\n\
                    ddb.adapterType = \"ide\"\r\n";
        let descriptor = Descriptor::parse(text);
        let extent = Extent {
            access: "RW".to_owned(),
            sectors: Some(8192),
            kind: "SPARSE".to_owned(),
            name: "my disk.vmdk".to_owned(),
        };
        assert_eq!(descriptor.kind.as_deref(), Some("monolithicSparse"));
        assert_eq!((descriptor.parent, descriptor.named), (None, None));
        assert_eq!(descriptor.extents, [extent]);
    }

    #[test]
    fn whatever_leads_out_of_the_file_is_found() {
        let parent = |text| Descriptor::parse(text).parent;
        assert!(parent("parentCID=0badcafe").is_some());
        let named = "parentCID=0badcafe\nparentFileNameHint=\"/base.vmdk\"";
        assert_eq!(parent(named).as_deref(), Some("/base.vmdk"));
        assert_eq!(
            parent("ParentFileNameHint = \"base\"\nparentCID=1").as_deref(),
            Some("base")
        );
        let tracked = Descriptor::parse("changeTrackPath=\"disk-ctk.vmdk\"");
        assert_eq!(tracked.named.as_deref(), Some("disk-ctk.vmdk"));
        let extents = Descriptor::parse("rw 1 flat \"a\" 0\nNOACCESS 2 ZERO\nRWX 3 SPARSE \"no\"").extents;
        assert_eq!(extents.len(), 2);
        assert_eq!((extents[0].kind.as_str(), extents[1].name.as_str()), ("FLAT", ""));
    }
}
