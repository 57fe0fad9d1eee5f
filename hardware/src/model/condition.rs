//! One condition on the facts of a server.

use std::fmt;

use super::pattern::{PciPattern, TextPattern};
use crate::{
    disk::DiskRule,
    facts::{Inventory, shown_size},
};

/// A text of SMBIOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFact {
    /// Maker of the machine.
    Vendor,
    /// Product name.
    Product,
    /// Stock keeping unit.
    Sku,
    /// Product family.
    Family,
    /// Maker of the board.
    BoardVendor,
    /// Name of the board.
    BoardProduct,
}

impl TextFact {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Vendor,
        Self::Product,
        Self::Sku,
        Self::Family,
        Self::BoardVendor,
        Self::BoardProduct,
    ];

    /// The key in a document.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Product => "product",
            Self::Sku => "sku",
            Self::Family => "family",
            Self::BoardVendor => "board_vendor",
            Self::BoardProduct => "board_product",
        }
    }

    /// What a machine says.
    #[must_use]
    pub fn read(self, inventory: &Inventory) -> &str {
        let system = &inventory.system;
        match self {
            Self::Vendor => &system.vendor,
            Self::Product => &system.product,
            Self::Sku => &system.sku,
            Self::Family => &system.family,
            Self::BoardVendor => &system.board_vendor,
            Self::BoardProduct => &system.board_product,
        }
    }
}

/// Something that must hold of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A text is described by one of these patterns.
    Text(TextFact, Vec<TextPattern>),
    /// The processor.
    Architecture(String),
    /// A PCI device is there.
    Pci(PciPattern),
    /// So many NICs.
    Nics {
        /// With this driver.
        driver: Option<TextPattern>,
        /// With this PCI id.
        pci: Option<PciPattern>,
        /// At least so many.
        count: u32,
    },
    /// So many disks.
    Disks {
        /// That fulfil this.
        rule: DiskRule,
        /// At least so many.
        count: u32,
    },
    /// At least so much memory, in bytes.
    MemoryAtLeast(u64),
    /// At most so much memory, in bytes.
    MemoryAtMost(u64),
    /// Nobody knows what it means: never fulfilled.
    Unreadable(String),
}

impl Condition {
    /// Whether a server fulfils it. What is not known fulfils nothing.
    #[must_use]
    pub fn holds(&self, inventory: &Inventory) -> bool {
        let memory = inventory.memory_bytes;
        match self {
            Self::Text(fact, patterns) => {
                let text = fact.read(inventory);
                patterns.iter().any(|pattern| pattern.matches(text))
            }
            Self::Architecture(wanted) => wanted.eq_ignore_ascii_case(&inventory.cpu.architecture),
            Self::Pci(wanted) => has_pci(wanted, inventory),
            Self::Nics { driver, pci, count } => {
                nics(driver.as_ref(), pci.as_ref(), inventory) >= *count as usize
            }
            Self::Disks { rule, count } => disks(rule, inventory) >= *count as usize,
            Self::MemoryAtLeast(least) => memory >= *least,
            Self::MemoryAtMost(most) => memory > 0 && memory <= *most,
            Self::Unreadable(_) => false,
        }
    }

    /// What the server has instead, for people.
    #[must_use]
    pub fn found(&self, inventory: &Inventory) -> String {
        match self {
            Self::Text(fact, _) => named(fact.key(), fact.read(inventory)),
            Self::Architecture(_) => named("architecture", &inventory.cpu.architecture),
            Self::Pci(_) => match inventory.pci.len() {
                0 => "pci: unknown".to_owned(),
                devices => format!("pci: none of {devices} devices"),
            },
            Self::Nics { driver, pci, .. } => {
                format!("nics: {}", nics(driver.as_ref(), pci.as_ref(), inventory))
            }
            Self::Disks { rule, .. } => format!("disks: {} with {}", disks(rule, inventory), rule.text),
            Self::MemoryAtLeast(_) | Self::MemoryAtMost(_) => match inventory.memory_bytes {
                0 => "memory: unknown".to_owned(),
                bytes => format!("memory: {}", shown_size(bytes)),
            },
            Self::Unreadable(text) => format!("`{text}` cannot be read"),
        }
    }
}

fn named(key: &str, value: &str) -> String {
    match value.trim() {
        "" => format!("{key}: unknown"),
        value => format!("{key}: {value}"),
    }
}

fn has_pci(wanted: &PciPattern, inventory: &Inventory) -> bool {
    let mut devices = inventory.pci.iter();
    let mut nics = inventory.nics.iter();
    devices.any(|device| wanted.matches(&device.vendor_id, &device.device_id))
        || nics.any(|nic| wanted.matches_id(&nic.pci_id))
}

fn nics(driver: Option<&TextPattern>, pci: Option<&PciPattern>, inventory: &Inventory) -> usize {
    let nics = inventory.nics.iter();
    nics.filter(|nic| driver.is_none_or(|wanted| wanted.matches(&nic.driver)))
        .filter(|nic| pci.is_none_or(|wanted| wanted.matches_id(&nic.pci_id)))
        .count()
}

fn disks(rule: &DiskRule, inventory: &Inventory) -> usize {
    super::boot_disks::named(rule, &inventory.disks).count()
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(fact, patterns) => {
                let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                write!(f, "{}={}", fact.key(), patterns.join("|"))
            }
            Self::Architecture(wanted) => write!(f, "architecture={wanted}"),
            Self::Pci(wanted) => write!(f, "pci={wanted}"),
            Self::Nics { driver, pci, count } => {
                write!(f, "nics>={count}")?;
                if let Some(driver) = driver {
                    write!(f, " driver={driver}")?;
                }
                if let Some(pci) = pci {
                    write!(f, " pci={pci}")?;
                }
                Ok(())
            }
            Self::Disks { rule, count } => write!(f, "disks>={count} {}", rule.text),
            Self::MemoryAtLeast(bytes) => write!(f, "memory>={bytes}"),
            Self::MemoryAtMost(bytes) => write!(f, "memory<={bytes}"),
            Self::Unreadable(text) => f.write_str(text),
        }
    }
}
