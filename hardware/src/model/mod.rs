//! Hardware models: data that says what a kind of server is, what it needs of an image, and how it behaves.
//!
//! A model is a TOML document, read by [`HardwareModel::read`]: strictly, with all mistakes in one answer, each with its
//! line and column. [`choose`] finds the model of a server by the facts that its agent read, and [`suggest`] writes a
//! first version of a model from such facts.
//!
//! When several models match, the one with the most conditions in `[match]` is taken; of equals, the first by name. The
//! order in which models were made never matters.

mod arguments;
mod boot_disks;
mod condition;
mod drivers;
mod fields;
mod pattern;
mod quirks;
mod read;
mod select;
mod suggest;
#[cfg(test)]
mod tests;

pub use arguments::usable_argument;
pub use boot_disks::boot_disks;
pub use condition::{Condition, TextFact};
pub use drivers::{drivers_of, module_name};
pub use fields::{ModelErrors, ModelProblem};
pub use pattern::{PciPattern, TextPattern};
pub use quirks::{BootOrderQuirk, LocalBoot, Quirks};
pub use select::{Choice, choose, judge};
pub use suggest::suggest;

use crate::disk::DiskRule;

/// The version of the documents that are read.
pub const SCHEMA: u32 = 1;

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareModel {
    /// Lower-case letters, digits, dots and hyphens.
    pub name: String,
    /// Rises with each change.
    pub version: u32,
    /// For people.
    pub description: String,
    /// A server of it that was discovered is taken into service at once.
    pub approve: bool,
    /// All must hold for a server to be of this model; at least one.
    pub conditions: Vec<Condition>,
    /// What it needs of an image.
    pub needs: ModelNeeds,
    /// Which disks it can be started from; all that are fixed and writable without a rule.
    pub boot: Option<DiskRule>,
    /// Arguments that the kernel of the ramdisk gets and images need not have.
    pub ramdisk_arguments: Vec<String>,
    /// How it behaves.
    pub quirks: Quirks,
}

/// What a model needs of an image, and of the settings of its own firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelNeeds {
    /// Kernel modules that the image's initramfs or kernel must have, with `_` for `-`.
    pub drivers: Vec<String>,
    /// `uefi`, `bios`; empty: whatever the firmware runs in.
    pub firmware: Vec<String>,
    /// Whether Secure Boot has to be on, or off.
    pub secure_boot: Option<bool>,
    /// Logical sector sizes that it can be started from; empty: all.
    pub sector_sizes: Vec<u32>,
    /// Arguments that every kernel needs: that of the ramdisk gets them, and an image's command line must have them.
    pub kernel_arguments: Vec<String>,
    /// It starts from volumes that an SDI card presents.
    pub sdi: bool,
    /// The image itself has to hold the guest plugin.
    pub guest_plugin: bool,
}

impl HardwareModel {
    /// Reads a model. Every mistake is in the answer.
    pub fn read(text: &str) -> Result<Self, ModelErrors> {
        read::read(text)
    }

    /// What the kernel of the ramdisk is started with on such a server.
    #[must_use]
    pub fn boot_arguments(&self) -> Vec<String> {
        let needed = &self.needs.kernel_arguments;
        let more = self
            .ramdisk_arguments
            .iter()
            .filter(|more| !needed.contains(more));
        needed.iter().chain(more).cloned().collect()
    }
}
