//! How a server behaves that is not as it should be, or that is one of several ways.

use crate::words::words;

words! {
    /// What the firmware does with boot entries that a system has written.
    BootOrderQuirk, {
        /// It keeps them.
        Kept => "kept",
        /// It puts its own before them at some boots, and they have to be written again.
        ResetByFirmware => "reset-by-firmware",
        /// It drops entries that it did not make: only the removable path starts a system.
        EntriesDropped => "entries-dropped",
    }
}

words! {
    /// How a server that has nothing to do is sent on to its own disk.
    LocalBoot, {
        /// iPXE ends, and the firmware goes on with its next entry.
        Exit => "exit",
        /// iPXE starts the first disk through the firmware.
        Sanboot => "sanboot",
        /// iPXE starts the loader on the removable path.
        Chain => "chain",
    }
}

words! {
    /// What is odd about a management controller.
    BmcQuirk, {
        /// "Once" is forgotten: the next boot has to be set before each reset.
        BootOnceIgnored => "boot-once-ignored",
        /// "Once" stays: it has to be taken back.
        BootOnceSticks => "boot-once-sticks",
        /// A graceful power-off never ends.
        ForcedPowerOff => "forced-power-off",
        /// It cannot present virtual media.
        NoVirtualMedia => "no-virtual-media",
        /// It answers only minutes after power has come.
        SlowStart => "slow-start",
    }
}

/// All that is odd about a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What the firmware does with boot entries.
    pub boot_order: Option<BootOrderQuirk>,
    /// How it boots its own disk.
    pub local_boot: Option<LocalBoot>,
    /// What is odd about its management controller.
    pub bmc: Vec<BmcQuirk>,
    /// Seconds from power to the first request from the network, when it is longer than usual.
    pub boot_seconds: Option<u32>,
}
