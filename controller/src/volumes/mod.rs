//! Disks that an SDI card presents: a network volume that a server sees as a local disk.
//!
//! [`provider`] is the seam: what a volume and its place are, and what a card, or whatever stands for one, does with them.
//! [`opi`] speaks with cards of the open standard, OPI's storage API.

mod error;
pub mod opi;
pub mod provider;

pub use error::ProviderError;
pub use opi::OpiCard;
pub use provider::{
    Backing, DiskKind, ExpectedDisk, Limits, PciFunction, Presence, Presented, Seat, Volume, VolumeProvider,
};
