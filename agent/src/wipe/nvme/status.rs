//! What NVMe says of a command and of a sanitize.

use std::time::Duration;

/// The status of a command (type and code) in words.
pub(super) fn words(status: u16) -> String {
    let known = match status {
        0x000 => return "done".to_owned(),
        0x001 => "invalid opcode",
        0x002 => "invalid field",
        0x006 => "internal error",
        0x007 => "aborted",
        0x00B => "invalid namespace or format",
        0x00C => "out of sequence",
        0x015 => "operation denied",
        0x01C => "the last sanitize has failed",
        0x01D => "a sanitize is in progress",
        0x020 => "the namespace is write protected",
        0x10A => "invalid format",
        0x10B => "a restart of the controller is needed first",
        0x123 => "not while persistent memory is enabled",
        0x371 => "aborted by the host",
        _ => return format!("status {status:#05x}"),
    };
    format!("{known} (status {status:#05x})")
}

/// How the last sanitize stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SanitizeState {
    Never,
    Succeeded,
    InProgress,
    Failed,
    /// A newer state than is known.
    Other,
}

/// Log page 0x81.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SanitizeLog {
    /// In parts of 65536.
    pub progress: u16,
    pub status: u16,
    pub state: SanitizeState,
    /// What the last one was told to do.
    pub action: u32,
    block_estimate: u32,
    crypto_estimate: u32,
}

impl SanitizeLog {
    pub(super) fn read(page: &[u8; 512]) -> Self {
        let word = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let status = u16::from_le_bytes([page[2], page[3]]);
        SanitizeLog {
            progress: u16::from_le_bytes([page[0], page[1]]),
            status,
            state: match status & 0b111 {
                0 => SanitizeState::Never,
                // 4: deallocated although it was told not to.
                1 | 4 => SanitizeState::Succeeded,
                2 => SanitizeState::InProgress,
                3 => SanitizeState::Failed,
                _ => SanitizeState::Other,
            },
            action: word(4) & 0b111,
            block_estimate: word(12),
            crypto_estimate: word(16),
        }
    }

    /// How long the disk says that it takes; none when it doesn't.
    pub(super) fn estimate(&self, action: u32) -> Option<Duration> {
        let seconds = match action {
            super::BLOCK_ERASE => self.block_estimate,
            super::CRYPTO_ERASE => self.crypto_estimate,
            _ => u32::MAX,
        };
        (!matches!(seconds, 0 | u32::MAX)).then(|| Duration::from_secs(seconds.into()))
    }

    pub(super) fn words(&self) -> String {
        let state = match self.state {
            SanitizeState::Never => "the disk has never been sanitized",
            SanitizeState::Succeeded => "succeeded",
            SanitizeState::InProgress => "in progress",
            SanitizeState::Failed => "failed",
            SanitizeState::Other => "in a state that is not known",
        };
        format!("{state} (status {:#06x})", self.status)
    }
}
