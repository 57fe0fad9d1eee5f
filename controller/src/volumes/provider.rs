//! Who makes volumes appear in servers as disks.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ProviderError;
use crate::words::words;

/// A serial number of virtio-blk and NVMe has no more characters.
pub const SERIAL_CHARS: usize = 20;

/// A volume, as whoever presents it needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// ULID.
    pub id: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What holds its bytes.
    pub backing: Backing,
    /// What it may use.
    pub limits: Limits,
}

impl Volume {
    /// What it is called on cards: OPI wants a letter first, and no capitals.
    #[must_use]
    pub fn card_id(&self) -> String {
        card_id(&self.id)
    }

    /// What its disk says as its serial number, on cards that let it say something.
    #[must_use]
    pub fn serial(&self) -> String {
        serial_of(&self.id)
    }
}

/// What the disk of a volume with this id says as its serial number, on cards that let it say something.
#[must_use]
pub fn serial_of(volume_id: &str) -> String {
    card_id(volume_id).chars().take(SERIAL_CHARS).collect()
}

/// What a volume with this id is called on cards.
#[must_use]
pub fn card_id(volume_id: &str) -> String {
    format!("v{}", volume_id.to_ascii_lowercase())
}

/// The volume's id, from what something on a card is called; `None` when that is no volume of ours.
#[must_use]
pub fn volume_id(card_id: &str) -> Option<String> {
    let id = card_id.strip_prefix('v')?.to_ascii_uppercase();
    ulid::Ulid::from_string(&id).is_ok().then_some(id)
}

/// What holds a volume's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Backing {
    /// A storage system that speaks NVMe/TCP.
    NvmeTcp {
        /// NQN of its subsystem.
        subsystem: String,
        /// Number of the namespace in it.
        namespace: u32,
        /// The ways to it; several are used when one fails.
        #[schema(value_type = Vec<String>, example = json!(["192.0.2.7:4420"]))]
        addresses: Vec<SocketAddr>,
    },
    /// A volume that the card knows already, by the card's name for it: an export of its own storage, for example.
    Named {
        /// The card's name for it.
        name: String,
    },
    /// A disk that somebody else has presented to the server already: no card is asked for it. It has a serial number, a
    /// WWN, or both.
    Static {
        /// What the disk says as its serial number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<String>,
        /// Its world-wide name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wwn: Option<String>,
    },
}

impl Backing {
    /// Whether no card has a part in it.
    #[must_use]
    pub fn is_static(&self) -> bool {
        matches!(self, Self::Static { .. })
    }
}

/// What a volume may use at most; `None` where it may use all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests a second, in thousands.
    pub kiops: Option<u32>,
    /// Megabytes a second.
    pub mb_per_s: Option<u32>,
}

/// Where in a server a disk is to appear, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Seat {
    /// The card's function.
    pub function: PciFunction,
    /// As what.
    pub kind: DiskKind,
}

/// A PCI function of a card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PciFunction {
    /// The card's port to the server.
    #[serde(default)]
    pub port: u16,
    /// Number of the physical function.
    pub physical: u16,
    /// Number of the virtual function; 0 is the physical one itself.
    #[serde(default, rename = "virtual")]
    pub virtual_: u16,
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "port {} function {}.{}",
            self.port, self.physical, self.virtual_
        )
    }
}

words! {
    /// What a server takes a disk for.
    DiskKind, "kind of disk", {
        /// virtio-blk.
        VirtioBlk => "virtio-blk",
        /// NVMe.
        Nvme => "nvme",
    }
}

/// The disk by which the server's agent will know the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedDisk {
    /// What it is called on the card.
    pub name: String,
    /// Its serial number, if the card sets those that it is asked to. Some present a fixed one, some none: then function and
    /// size tell.
    pub serial: String,
    /// Where it was asked for.
    pub function: PciFunction,
    /// As what.
    pub kind: DiskKind,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Something on a card that stands for a volume, or for the way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The card's name for it.
    pub name: String,
    /// The volume; `None`: somebody else has made it.
    pub volume_id: Option<String>,
    /// Where the server sees it; `None` for what only leads to the storage.
    pub seat: Option<Seat>,
}

/// Whether a server sees a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The card knows nothing of it.
    Absent,
    /// The card shows it.
    Shown,
    /// The card shows it, and does not reach the storage behind it.
    Offline,
    /// The card says a state that this controller does not know.
    Unclear(i32),
}

/// What makes volumes appear as disks of one server.
///
/// Everything may be asked twice: after a restart the caller doesn't know what was done of the last time. What answers has
/// tried again where that can help, so an error stays until something is changed.
#[tonic::async_trait]
pub trait VolumeProvider: fmt::Debug + Send + Sync {
    /// Makes the volume appear. A failure leaves nothing behind, or says what.
    async fn attach(&self, volume: &Volume, seat: &Seat) -> Result<ExpectedDisk, ProviderError>;

    /// Makes it disappear, with all that led to it. Without effect where nothing is.
    async fn detach(&self, volume_id: &str) -> Result<(), ProviderError>;

    /// Whether it is there.
    async fn status(&self, volume_id: &str) -> Result<Presence, ProviderError>;

    /// All that there is, also what nobody here has asked for.
    async fn list(&self) -> Result<Vec<Presented>, ProviderError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_cards_lead_back() {
        let id = ulid::Ulid::from_parts(1_790_000_000_000, u128::MAX).to_string();
        let name = card_id(&id);
        assert!(
            name.starts_with(|first: char| first.is_ascii_lowercase()),
            "{name}"
        );
        assert_eq!(volume_id(&name), Some(id));
        for other in ["opi-1", "v1", "volume", "", "V01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(volume_id(other), None, "{other}");
        }
    }
}
