//! EFI device paths: the part of a load option that says where its program is (UEFI specification, chapter 10).
//!
//! Pure: bytes to values and back. What is not understood is kept as it is.

/// Longest device path that is taken from a variable; real ones are below 1 KiB.
pub const MAX_PATH_BYTES: usize = 16 << 10;

const TYPE_MESSAGING: u8 = 3;
const TYPE_MEDIA: u8 = 4;
const TYPE_BBS: u8 = 5;
const TYPE_END: u8 = 0x7f;
const SUBTYPE_END_ENTIRE: u8 = 0xff;
const MEDIA_HARD_DRIVE: u8 = 1;
const MEDIA_FILE_PATH: u8 = 4;
const MESSAGING_NETWORK: [u8; 4] = [11, 12, 13, 24]; // MAC, IPv4, IPv6, URI
const BBS_NETWORK: u16 = 0x80;

/// Why bytes are no device path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DevicePathError {
    /// A node says that it is longer than what is left, or shorter than its own head.
    #[error("node at byte {offset} has a bad length of {length}")]
    NodeLength {
        /// Where the node begins.
        offset: usize,
        /// What it says.
        length: usize,
    },
    /// No end node.
    #[error("the path has no end node")]
    Unterminated,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("the path has {length} bytes, more than the {MAX_PATH_BYTES} that are taken")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

/// How a hard-drive node names its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionSignature {
    /// The partition's unique GUID, in the byte order of the disk.
    Gpt([u8; 16]),
    /// The disk signature of an MBR.
    Mbr([u8; 4]),
    /// Anything else: format, signature type, bytes.
    Other(u8, u8, [u8; 16]),
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardDrive {
    /// Number in the table, from 1.
    pub partition_number: u32,
    /// First block.
    pub start_lba: u64,
    /// Blocks.
    pub size_lba: u64,
    /// Which disk or partition it is.
    pub signature: PartitionSignature,
}

/// One node of a device path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Media, hard drive.
    HardDrive(HardDrive),
    /// Media, file path: with backslashes, from the root of the file system.
    FilePath(String),
    /// Any other node.
    Other {
        /// Its type.
        kind: u8,
        /// Its subtype.
        subtype: u8,
        /// What follows the head.
        data: Vec<u8>,
    },
}

/// Reads a device path up to its end node (which is not returned).
///
/// # Errors
/// When the nodes don't add up.
pub fn decode(bytes: &[u8]) -> Result<Vec<Node>, DevicePathError> {
    if bytes.len() > MAX_PATH_BYTES {
        return Err(DevicePathError::TooLong { length: bytes.len() });
    }
    let mut nodes = Vec::new();
    let mut offset = 0;
    loop {
        let Some(head) = bytes.get(offset..offset + 4) else {
            return Err(DevicePathError::Unterminated);
        };
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let data = (length >= 4)
            .then(|| bytes.get(offset + 4..offset + length))
            .flatten()
            .ok_or(DevicePathError::NodeLength { offset, length })?;
        match (head[0], head[1]) {
            (TYPE_END, SUBTYPE_END_ENTIRE) => return Ok(nodes),
            (TYPE_MEDIA, MEDIA_HARD_DRIVE) if data.len() == 38 => {
                nodes.push(Node::HardDrive(decode_hard_drive(data)));
            }
            // Only text that comes out the same when it is written again is taken as text.
            (TYPE_MEDIA, MEDIA_FILE_PATH) => nodes.push(match decode_file_path(data) {
                Some(text) => Node::FilePath(text),
                None => Node::Other {
                    kind: head[0],
                    subtype: head[1],
                    data: data.to_vec(),
                },
            }),
            (kind, subtype) => nodes.push(Node::Other {
                kind,
                subtype,
                data: data.to_vec(),
            }),
        }
        offset += length;
    }
}

/// Writes a device path with its end node.
#[must_use]
pub fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        match node {
            Node::HardDrive(drive) => {
                push_node(&mut out, TYPE_MEDIA, MEDIA_HARD_DRIVE, &encode_hard_drive(drive));
            }
            Node::FilePath(path) => {
                let data: Vec<u8> = path
                    .encode_utf16()
                    .chain(std::iter::once(0))
                    .flat_map(u16::to_le_bytes)
                    .collect();
                push_node(&mut out, TYPE_MEDIA, MEDIA_FILE_PATH, &data);
            }
            Node::Other { kind, subtype, data } => push_node(&mut out, *kind, *subtype, data),
        }
    }
    push_node(&mut out, TYPE_END, SUBTYPE_END_ENTIRE, &[]);
    out
}

/// True when the path leads to the network: PXE or HTTP boot.
#[must_use]
pub fn is_network(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Other {
            kind: TYPE_MESSAGING,
            subtype,
            ..
        } => MESSAGING_NETWORK.contains(subtype),
        Node::Other {
            kind: TYPE_BBS, data, ..
        } => data.len() >= 2 && u16::from_le_bytes([data[0], data[1]]) == BBS_NETWORK,
        _ => false,
    })
}

/// The partition that the path names, if it names one.
#[must_use]
pub fn hard_drive(nodes: &[Node]) -> Option<&HardDrive> {
    nodes.iter().find_map(|node| {
        if let Node::HardDrive(drive) = node {
            Some(drive)
        } else {
            None
        }
    })
}

/// The program that the path names, if it names one.
#[must_use]
pub fn file_path(nodes: &[Node]) -> Option<&str> {
    nodes.iter().find_map(|node| {
        if let Node::FilePath(path) = node {
            Some(path.as_str())
        } else {
            None
        }
    })
}

fn push_node(out: &mut Vec<u8>, kind: u8, subtype: u8, data: &[u8]) {
    let length = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&[kind, subtype]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&data[..usize::from(length) - 4]);
}

fn array<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&data[at..at + N]);
    out
}

fn decode_hard_drive(data: &[u8]) -> HardDrive {
    let raw: [u8; 16] = array(data, 20);
    let signature = match (data[36], data[37]) {
        (2, 2) => PartitionSignature::Gpt(raw),
        (1, 1) if raw[4..].iter().all(|byte| *byte == 0) => PartitionSignature::Mbr(array(&raw, 0)),
        (format, kind) => PartitionSignature::Other(format, kind, raw),
    };
    HardDrive {
        partition_number: u32::from_le_bytes(array(data, 0)),
        start_lba: u64::from_le_bytes(array(data, 4)),
        size_lba: u64::from_le_bytes(array(data, 12)),
        signature,
    }
}

fn encode_hard_drive(drive: &HardDrive) -> Vec<u8> {
    let (raw, format, kind) = match drive.signature {
        PartitionSignature::Gpt(guid) => (guid, 2, 2),
        PartitionSignature::Mbr(id) => {
            let mut raw = [0; 16];
            raw[..4].copy_from_slice(&id);
            (raw, 1, 1)
        }
        PartitionSignature::Other(format, kind, raw) => (raw, format, kind),
    };
    let mut out = Vec::with_capacity(38);
    out.extend_from_slice(&drive.partition_number.to_le_bytes());
    out.extend_from_slice(&drive.start_lba.to_le_bytes());
    out.extend_from_slice(&drive.size_lba.to_le_bytes());
    out.extend_from_slice(&raw);
    out.extend_from_slice(&[format, kind]);
    out
}

fn decode_file_path(data: &[u8]) -> Option<String> {
    if !data.len().is_multiple_of(2) {
        return None;
    }
    let units: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let (last, text) = units.split_last()?;
    (*last == 0 && !text.contains(&0))
        .then(|| String::from_utf16(text).ok())
        .flatten()
}
