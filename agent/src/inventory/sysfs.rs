//! Bounded reads of small kernel files. What is missing or odd reads as nothing: a machine without a fact is no error.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Longest text that is taken from a kernel file.
const MAX_TEXT: u64 = 1 << 20;
/// Longest single value: what is longer is no fact but noise.
const MAX_VALUE: usize = 256;
/// Most names that are taken from one folder.
const MAX_NAMES: usize = 8192;

/// The whole text, invalid bytes replaced; none when it can't be read.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The first bytes of a file, up to the limit.
pub fn bytes(path: impl AsRef<Path>) -> Option<Vec<u8>> {
    bytes_up_to(path, MAX_TEXT)
}

/// As [`bytes`], of a file that is longer on large machines.
pub fn bytes_up_to(path: impl AsRef<Path>, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// One value: trimmed, without control characters, and not longer than a fact can be. Empty when there is none.
pub fn value(path: impl AsRef<Path>) -> String {
    text(path).map(|text| clean(&text)).unwrap_or_default()
}

/// As [`value`], of a text that is already here.
pub fn clean(text: &str) -> String {
    let printable: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_VALUE)
        .collect();
    printable.trim().to_owned()
}

/// A number in decimal.
pub fn number(path: impl AsRef<Path>) -> Option<u64> {
    value(path).parse().ok()
}

/// A flag: "1" is true.
pub fn flag(path: impl AsRef<Path>) -> bool {
    value(path) == "1"
}

/// Names in a folder, sorted; none of a folder that is not there.
pub fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_NAMES);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The last component of a link's target: the driver of a device, the subsystem.
pub fn link_name(path: impl AsRef<Path>) -> String {
    let target = fs::read_link(path).ok();
    target
        .and_then(|target| Some(target.file_name()?.to_str()?.to_owned()))
        .unwrap_or_default()
}

/// The real folder behind a link.
pub fn resolved(path: impl AsRef<Path>) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

/// The last PCI address in a device's path: the controller nearest to the device.
pub fn pci_address(path: &Path) -> String {
    pci_folders(path)
        .next()
        .and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .unwrap_or_default()
}

/// The folders of PCI devices in a device's path: its controller's first, then those of the bridges above.
pub fn pci_folders(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().filter(|folder| {
        folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_pci_address)
    })
}

/// The NUMA node of a device's controller; none where the kernel says that it does not know.
pub fn numa_node(path: &Path) -> Option<u32> {
    let node = value(pci_folders(path).next()?.join("numa_node"));
    node.parse().ok()
}

fn is_pci_address(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 12
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b':',
            10 => *byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}
