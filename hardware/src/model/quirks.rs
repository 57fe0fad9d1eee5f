//! How a server behaves that is not as it should be, or that is one of several ways.

use crate::words::words;

words! {
    /// What the firmware does with boot entries that a system has written.
    BootOrderQuirk, {
        /// It keeps them.
        Kept => "kept",
        /// It puts its own before them at some boots.
        ResetByFirmware => "reset-by-firmware",
        /// It drops entries that it did not make: only the removable path starts a system.
        EntriesDropped => "entries-dropped",
    }
}

impl BootOrderQuirk {
    /// Whether an order that a system has written lasts.
    #[must_use]
    pub fn lasts(self) -> bool {
        self == Self::Kept
    }
}

words! {
    /// How a server that has nothing to do is sent on to its own disk.
    LocalBoot, {
        /// iPXE ends, and the firmware goes on with its next entry.
        Exit => "exit",
        /// iPXE starts the first disk through the firmware; where it cannot, it ends.
        Sanboot => "sanboot",
    }
}

/// All that is odd about a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What the firmware does with boot entries.
    pub boot_order: Option<BootOrderQuirk>,
    /// How it boots its own disk.
    pub local_boot: Option<LocalBoot>,
    /// Seconds from power to the first request from the network, when it is longer than usual.
    pub boot_seconds: Option<u32>,
}
