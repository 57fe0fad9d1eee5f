//! How much of an inventory is taken, whatever an agent sends.

/// Disks of a machine.
pub const MAX_DISKS: usize = 1024;
/// NICs of a machine.
pub const MAX_NICS: usize = 64;
/// PCI devices of a machine.
pub const MAX_PCI: usize = 512;
/// Sockets for memory modules.
pub const MAX_MEMORY_MODULES: usize = 256;
/// Flags of a processor.
pub const MAX_CPU_FLAGS: usize = 512;
/// Signatures on one disk.
pub const MAX_CONTENTS: usize = 256;
/// Signatures on all disks of a machine.
pub const MAX_CONTENTS_IN_ALL: usize = 8192;
/// Kernel modules that claim one device.
pub const MAX_MODALIAS_MODULES: usize = 8;
/// Any other list: holders, addresses, reasons.
pub const MAX_LIST: usize = 64;
/// Letters of any text.
pub const MAX_TEXT: usize = 256;

/// A text without control characters and not longer than [`MAX_TEXT`].
#[must_use]
pub fn text(text: String) -> String {
    if text.chars().any(char::is_control) || text.len() > MAX_TEXT {
        return text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    }
    text
}

/// The first `most` entries of a list, each bounded by [`text`].
#[must_use]
pub fn list(list: Vec<String>, most: usize) -> Vec<String> {
    list.into_iter().take(most).map(text).collect()
}
