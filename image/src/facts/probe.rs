//! Which file system, or what else, a partition holds, by its content.

use super::ext::Ext;
use super::fat::Fat;
use super::fault::Fault;
use super::volume::{Extent, Volume};

/// What a partition holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Ext(Ext<'a>),
    Fat(Fat<'a>),
    /// Known by its name only, or named but damaged.
    Other {
        kind: &'static str,
        label: String,
        uuid: String,
        why: String,
    },
}

impl Content<'_> {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ext(ext) => ext.generation,
            Self::Fat(fat) => fat.name(),
            Self::Other { kind, .. } => kind,
        }
    }

    /// Whether it was in use when the image was made, as far as that is known.
    pub fn is_unclean(&self) -> bool {
        matches!(self, Self::Ext(ext) if ext.unclean)
    }

    pub fn label(&self) -> &str {
        match self {
            Self::Ext(ext) => &ext.label,
            Self::Fat(fat) => &fat.label,
            Self::Other { label, .. } => label,
        }
    }

    pub fn uuid(&self) -> &str {
        match self {
            Self::Ext(ext) => &ext.uuid,
            Self::Fat(fat) => &fat.serial,
            Self::Other { uuid, .. } => uuid,
        }
    }

    /// The file system, if it can be read; otherwise why not.
    pub fn volume(&self) -> Result<&dyn Volume, &str> {
        match self {
            Self::Ext(ext) => Ok(ext),
            Self::Fat(fat) => Ok(fat),
            Self::Other { why, .. } => Err(why),
        }
    }
}

/// A magic number of something that is named but not read.
struct Magic {
    kind: &'static str,
    offset: u64,
    bytes: &'static [u8],
}

const fn magic(kind: &'static str, offset: u64, bytes: &'static [u8]) -> Magic {
    Magic { kind, offset, bytes }
}

const NAMED: [Magic; 15] = [
    magic("luks", 0, b"LUKS\xBA\xBE"),
    magic("xfs", 0, b"XFSB"),
    magic("btrfs", 0x10040, b"_BHRfS_M"),
    magic("lvm2", 512, b"LABELONE"),
    magic("lvm2", 0, b"LABELONE"),
    magic("swap", 4096 - 10, b"SWAPSPACE2"),
    magic("swap", 65536 - 10, b"SWAPSPACE2"),
    magic("squashfs", 0, b"hsqs"),
    magic("erofs", 1024, b"\xE2\xE1\xF5\xE0"),
    magic("f2fs", 1024, b"\x10\x20\xF5\xF2"),
    magic("ntfs", 3, b"NTFS    "),
    magic("exfat", 3, b"EXFAT   "),
    magic("iso9660", 0x8001, b"CD001"),
    magic("linux_raid", 4096, b"\xFC\x4E\x2B\xA9"),
    magic("linux_raid", 0, b"\xFC\x4E\x2B\xA9"),
];

/// What lies in `part`. Nothing when it is not known, or empty.
pub(super) fn probe(part: Extent<'_>) -> Result<Option<Content<'_>>, Fault> {
    for Magic { kind, offset, bytes } in NAMED {
        let mut found = [0; 16];
        let found = &mut found[..bytes.len()];
        if part.size < offset + 512 {
            continue;
        }
        part.read(offset, found)?;
        if found == bytes {
            return Ok(Some(named(kind, part)?));
        }
    }
    if Ext::probe(part)? {
        return Ok(Some(match Ext::open(part) {
            Ok(ext) => Content::Ext(ext),
            Err(fault) => refused("ext4", &fault),
        }));
    }
    if Fat::probe(part)? {
        return Ok(Some(match Fat::open(part) {
            Ok(fat) => Content::Fat(fat),
            Err(fault) => refused("fat", &fault),
        }));
    }
    Ok(None)
}

fn refused<'a>(kind: &'static str, fault: &Fault) -> Content<'a> {
    Content::Other {
        kind,
        label: String::new(),
        uuid: String::new(),
        why: fault.reason(),
    }
}

/// Where those that have them keep their UUID and label.
fn named<'a>(kind: &'static str, part: Extent<'_>) -> Result<Content<'a>, Fault> {
    let (uuid_at, label_at, label_bytes) = match kind {
        "xfs" => (32, 108, 12),
        "btrfs" => (0x10020, 0x1012B, 256),
        "swap" => (1024 + 12, 1024 + 28, 16),
        _ => (0, 0, 0),
    };
    let (mut uuid, mut label) = ([0; 16], vec![0; label_bytes]);
    let mut text = (String::new(), String::new());
    if label_bytes > 0 {
        part.read(uuid_at, &mut uuid)?;
        part.read(label_at, &mut label)?;
        text = (super::ext::uuid(&uuid), super::ext::text(&label));
    }
    Ok(Content::Other {
        kind,
        label: text.1,
        uuid: text.0,
        why: match kind {
            "swap" => "it is swap space".to_owned(),
            _ => format!("there is no reader for {kind}"),
        },
    })
}
