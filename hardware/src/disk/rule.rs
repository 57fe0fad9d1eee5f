//! A rule that names one disk by stable facts.

use std::fmt;

use imprint_proto::agent::v1 as wire;

use crate::facts::Disk;

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Serial number.
    Serial,
    /// World wide name.
    Wwn,
    /// NVMe NGUID or EUI-64.
    Nguid,
    /// Model.
    Model,
    /// Vendor.
    Vendor,
    /// `nvme`, `sata`, `sas`, `scsi`, `virtio`, `usb`, `raid`, `iscsi`, `mmc`.
    Transport,
    /// PCI address of the controller it hangs on.
    Pci,
    /// Link below `/dev/disk/by-path`.
    Path,
    /// Size in bytes.
    Size,
    /// Whether it turns.
    Rotational,
}

impl Fact {
    /// All facts, in the order in which messages list them.
    pub const ALL: [Self; 10] = [
        Self::Serial,
        Self::Wwn,
        Self::Nguid,
        Self::Model,
        Self::Vendor,
        Self::Transport,
        Self::Pci,
        Self::Path,
        Self::Size,
        Self::Rotational,
    ];

    /// The key in a rule.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Wwn => "wwn",
            Self::Nguid => "nguid",
            Self::Model => "model",
            Self::Vendor => "vendor",
            Self::Transport => "transport",
            Self::Pci => "pci",
            Self::Path => "path",
            Self::Size => "size",
            Self::Rotational => "rotational",
        }
    }

    fn to_wire(self) -> wire::DiskFact {
        match self {
            Self::Serial => wire::DiskFact::Serial,
            Self::Wwn => wire::DiskFact::Wwn,
            Self::Nguid => wire::DiskFact::Nguid,
            Self::Model => wire::DiskFact::Model,
            Self::Vendor => wire::DiskFact::Vendor,
            Self::Transport => wire::DiskFact::Transport,
            Self::Pci => wire::DiskFact::PciAddress,
            Self::Path => wire::DiskFact::ByPath,
            Self::Size => wire::DiskFact::Size,
            Self::Rotational => wire::DiskFact::Rotational,
        }
    }

    fn read(self, disk: &Disk) -> String {
        match self {
            Self::Serial => disk.serial.clone(),
            Self::Wwn => disk.wwn.clone(),
            Self::Nguid => disk.nguid.clone(),
            Self::Model => disk.model.clone(),
            Self::Vendor => disk.vendor.clone(),
            Self::Transport => disk.transport.clone(),
            Self::Pci => disk.pci_address.clone(),
            Self::Path => disk.by_path.clone(),
            Self::Size => disk.size_bytes.to_string(),
            Self::Rotational => disk.rotational.to_string(),
        }
    }
}

/// How a fact is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As it is written in a rule.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    fn to_wire(self) -> wire::Comparison {
        match self {
            Self::Equal => wire::Comparison::Equal,
            Self::NotEqual => wire::Comparison::NotEqual,
            Self::Less => wire::Comparison::Less,
            Self::LessOrEqual => wire::Comparison::LessOrEqual,
            Self::Greater => wire::Comparison::Greater,
            Self::GreaterOrEqual => wire::Comparison::GreaterOrEqual,
        }
    }
}

/// What a fact is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Text, without regard to case; `*` at either end matches the rest.
    Text(String),
    /// Bytes.
    Bytes(u64),
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it looks at.
    pub fact: Fact,
    /// How.
    pub comparison: Comparison,
    /// Compared with what.
    pub wanted: Wanted,
}

impl Condition {
    /// Whether the disk fulfils it.
    #[must_use]
    pub fn holds(&self, disk: &Disk) -> bool {
        match &self.wanted {
            Wanted::Bytes(bytes) => {
                let order = disk.size_bytes.cmp(bytes);
                match self.comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                }
            }
            Wanted::Text(pattern) => {
                // What is not known is neither equal nor different.
                let value = self.fact.read(disk);
                let same = text_matches(pattern, &value);
                let wants_same = self.comparison != Comparison::NotEqual;
                !value.is_empty() && same == wants_same
            }
        }
    }

    /// What the disk has instead, for messages.
    #[must_use]
    pub fn found(&self, disk: &Disk) -> String {
        let found = self.fact.read(disk);
        if found.is_empty() {
            format!("no {}", self.fact.key())
        } else {
            format!("{}={found}", self.fact.key())
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.fact.key(), self.comparison.symbol())?;
        match &self.wanted {
            Wanted::Text(text) => f.write_str(text),
            Wanted::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

/// Without regard to case; `*` at either end of the pattern matches the rest.
fn text_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let open_start = pattern.starts_with('*');
    let open_end = pattern.len() > 1 && pattern.ends_with('*');
    let core = pattern.strip_prefix('*').unwrap_or(&pattern);
    let core = if open_end {
        core.strip_suffix('*').unwrap_or(core)
    } else {
        core
    };
    match (open_start, open_end) {
        (true, true) => text.contains(core),
        (true, false) => text.ends_with(core),
        (false, true) => text.starts_with(core),
        (false, false) => text == core,
    }
}

/// A rule: all conditions must hold, and for exactly one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRule {
    /// As the operator wrote it.
    pub text: String,
    /// Empty: the only disk that may be written at all.
    pub conditions: Vec<Condition>,
}

impl DiskRule {
    /// Whether it names disks on USB, which are left alone otherwise.
    #[must_use]
    pub fn asks_for_usb(&self) -> bool {
        self.conditions.iter().any(|condition| {
            condition.fact == Fact::Transport
                && condition.comparison == Comparison::Equal
                && condition.wanted == Wanted::Text("usb".to_owned())
        })
    }

    /// The rule as an agent understands it.
    #[must_use]
    pub fn to_wire(&self) -> wire::DiskRule {
        let conditions = self.conditions.iter().map(|condition| {
            let (text, bytes) = match &condition.wanted {
                Wanted::Text(text) => (text.clone(), 0),
                Wanted::Bytes(bytes) => (String::new(), *bytes),
            };
            wire::DiskCondition {
                fact: condition.fact.to_wire().into(),
                comparison: condition.comparison.to_wire().into(),
                text,
                bytes,
            }
        });
        wire::DiskRule {
            text: self.text.clone(),
            conditions: conditions.collect(),
        }
    }
}
