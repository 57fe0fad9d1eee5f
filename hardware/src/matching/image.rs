//! What is known of an image, as far as it matters to servers.

use crate::{model::Condition, words::words};

words! {
    /// What an image holds.
    ImageKind, {
        /// A system.
        SystemDisk => "system-disk",
        /// Data alone.
        DataDisk => "data-disk",
        /// An installation medium.
        Iso => "iso",
        /// A system disk and data disks.
        FullMachine => "full-machine",
    }
}

words! {
    /// What machines an image was made for.
    Target, {
        /// Bare metal.
        Baremetal => "baremetal",
        /// Virtual machines alone.
        Vm => "vm",
        /// Both.
        Any => "any",
    }
}

words! {
    /// Whether an image may be used.
    ImageState, {
        /// It can be used.
        Active => "active",
        /// It can be used, and should not be any more.
        Deprecated => "deprecated",
        /// Its content is still to come.
        Unfinished => "unfinished",
        /// It may not be used, now or any more.
        Withdrawn => "withdrawn",
    }
}

/// How firmware can start an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareModes {
    /// By UEFI.
    pub uefi: bool,
    /// By BIOS.
    pub bios: bool,
}

impl FirmwareModes {
    /// "uefi, bios", or "none".
    #[must_use]
    pub fn shown(self) -> &'static str {
        match (self.uefi, self.bios) {
            (true, true) => "uefi, bios",
            (true, false) => "uefi",
            (false, true) => "bios",
            (false, false) => "none",
        }
    }
}

/// The drivers that an image has before its root file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drivers {
    /// Module names, sorted, with `_` for `-`: in the initramfs of every kernel of the image, or built into it.
    Known(Vec<String>),
    /// There is a kernel, and they could not be read, for this reason.
    Unknown(String),
    /// No system was recognised in the image.
    NoSystem,
}

/// What an image's owner says of the servers that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRules {
    /// All must hold.
    pub requires: Vec<Condition>,
    /// None may hold.
    pub forbids: Vec<Condition>,
}

/// Whose servers it may be deployed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenBy {
    /// Everybody's.
    Everyone,
    /// Those of these projects.
    Projects(Vec<String>),
}

/// An image as far as it matters to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNeeds {
    /// Its id; later images have greater ones.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The family whose version it is.
    pub family: Option<String>,
    /// Which version.
    pub version: Option<String>,
    /// The project that it belongs to.
    pub project: String,
    /// Whose servers it may be deployed to.
    pub seen_by: SeenBy,
    /// `private`, `shared`, `public`, `community`, `marketplace`.
    pub visibility: String,
    /// What it holds.
    pub kind: ImageKind,
    /// What machines it was made for.
    pub target: Target,
    /// Whether it may be used.
    pub state: ImageState,
    /// The state as the catalogue says it, for messages.
    pub state_shown: String,
    /// Never the newest of its family.
    pub exclude_from_latest: bool,
    /// Where it can be used.
    pub region: String,
    /// `x86_64`; empty when it is not known.
    pub architecture: String,
    /// How firmware can start it; unset when it is not known.
    pub firmware: Option<FirmwareModes>,
    /// Whether its UEFI loader carries a signature; unset when it is not known.
    pub signed_loader: Option<bool>,
    /// Size of the system disk, or of the only one.
    pub disk_bytes: u64,
    /// How many disks it has.
    pub disks: u32,
    /// The logical sector size that it was made for; 0 when it is not known.
    pub sector_bytes: u32,
    /// The smallest disk that it can be used on.
    pub min_disk_bytes: u64,
    /// The least memory.
    pub min_memory_bytes: u64,
    /// The drivers that it has at boot.
    pub drivers: Drivers,
    /// Arguments on every one of its kernel command lines, sorted; unset when they are not known.
    pub kernel_arguments: Option<Vec<String>>,
    /// Whether cloud-init is in it; unset when it is not known.
    pub cloud_init: Option<bool>,
    /// Whether the guest plugin is in it; unset when it is not known.
    pub guest_plugin: Option<bool>,
    /// The server that it was captured from; empty for an image that was not.
    pub source_model: String,
    /// Models that it has started on.
    pub verified_on: Vec<String>,
    /// Models that its publisher vouches for.
    pub certified_for: Vec<String>,
    /// What its owner says of the servers that it is for.
    pub rules: ImageRules,
    /// What its use costs, for people.
    pub price: Option<String>,
}

impl ImageNeeds {
    /// Whether a server is to start from it.
    #[must_use]
    pub fn is_system(&self) -> bool {
        matches!(self.kind, ImageKind::SystemDisk | ImageKind::FullMachine)
    }

    /// The smallest disk that it can be written to.
    #[must_use]
    pub fn needed_disk_bytes(&self) -> u64 {
        self.disk_bytes.max(self.min_disk_bytes)
    }

    /// Whether somebody vouches for it on a server of this hardware and this model, or it comes from such a server.
    #[must_use]
    pub fn is_verified_on(&self, hardware: &str, model: Option<&str>) -> bool {
        let named = |name: &str| is_model(name, hardware, model);
        named(&self.source_model)
            || self.verified_on.iter().any(|name| named(name))
            || self.certified_for.iter().any(|name| named(name))
    }
}

/// Whether a text names this server's hardware or its model.
pub(super) fn is_model(name: &str, hardware: &str, model: Option<&str>) -> bool {
    let name = folded(name);
    !name.is_empty() && (name == folded(hardware) || model.is_some_and(|model| folded(model) == name))
}

/// Names of models are compared without regard to case and spaces.
pub(super) fn folded(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}
