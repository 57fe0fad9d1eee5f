//! The seam: what a management controller is asked, whatever it speaks.

use std::fmt;

use futures::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use super::BmcError;
use crate::words::words;

words! {
    /// Whether a server is on.
    PowerState, "power state", {
        /// It is.
        On => "on",
        /// It is not.
        Off => "off",
        /// On the way from one to the other.
        Changing => "changing",
        /// Nobody can tell.
        Unknown => "unknown",
    }
}

words! {
    /// What a server boots once, past its boot order.
    BootTarget, "boot target", {
        /// Network, by the firmware's PXE.
        Pxe => "pxe",
        /// Network, by the firmware's HTTP client.
        UefiHttp => "uefi-http",
        /// The virtual CD.
        Cd => "cd",
        /// Its disk.
        Disk => "disk",
    }
}

words! {
    /// How something is.
    Health, "health", {
        /// As it should be.
        Ok => "ok",
        /// It wants attention.
        Warning => "warning",
        /// It has failed, or is about to.
        Critical => "critical",
        /// Nothing is told of it.
        Unknown => "unknown",
    }
}

words! {
    /// What a sensor measures.
    SensorKind, "kind of sensor", {
        /// Degrees.
        Temperature => "temperature",
        /// How fast a fan turns.
        Fan => "fan",
        /// What is consumed.
        Power => "power",
        /// A voltage.
        Voltage => "voltage",
        /// Something else.
        Other => "other",
    }
}

/// One change of power, as the hardware does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Power on.
    On,
    /// Power off, now.
    Off,
    /// Ask the system to shut down.
    ShutDown,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::ShutDown => "shut down",
        })
    }
}

/// How an override of the boot order was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// It holds for one boot.
    Once,
    /// It holds until it is taken back.
    Stays,
    /// It was taken, and cannot be read back.
    Unconfirmed,
}

/// What a server consists of and how it is, as its management controller tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Hardware {
    /// Who made it; empty: not told, here and below.
    pub vendor: String,
    /// The product.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// SMBIOS UUID.
    pub uuid: String,
    /// Version of its BIOS or UEFI.
    pub firmware_version: String,
    /// Version of the management controller itself.
    pub bmc_version: String,
    /// Processors; 0: not told.
    pub processors: u32,
    /// Memory in bytes; 0: not told.
    pub memory_bytes: u64,
    /// How the server is as a whole.
    pub health: Health,
    /// Whether it is on.
    pub power: PowerState,
    /// Temperatures, fans, power.
    pub sensors: Vec<Sensor>,
    /// What could not be asked, and why.
    pub missing: Vec<String>,
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes these enums derives no default"
)]
impl Default for Health {
    fn default() -> Self {
        Self::Unknown
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the macro that makes these enums derives no default"
)]
impl Default for PowerState {
    fn default() -> Self {
        Self::Unknown
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Sensor {
    /// What it is called.
    pub name: String,
    /// What it measures.
    pub kind: SensorKind,
    /// Its reading; null: it says nothing at the moment.
    pub reading: Option<f64>,
    /// Of the reading: Cel, RPM, %, W, V.
    pub unit: String,
    /// How it is.
    pub health: Health,
}

/// A management controller. Every call has a deadline, and may be made twice.
pub trait Bmc: fmt::Debug + Send + Sync {
    /// Whether the server is on.
    fn power(&self) -> BoxFuture<'_, Result<PowerState, BmcError>>;

    /// Has the power changed. The change itself may take a while: [`Bmc::power`] tells.
    fn switch(&self, switch: Switch) -> BoxFuture<'_, Result<(), BmcError>>;

    /// Has the server boot something else at its next start.
    fn boot_once(&self, target: BootTarget) -> BoxFuture<'_, Result<Override, BmcError>>;

    /// Takes an override of the boot order back.
    fn boot_as_ordered(&self) -> BoxFuture<'_, Result<(), BmcError>>;

    /// Puts an image into the virtual CD, or takes it out.
    fn set_media<'a>(&'a self, url: Option<&'a str>) -> BoxFuture<'a, Result<(), BmcError>>;

    /// What the server consists of and how it is.
    fn hardware(&self) -> BoxFuture<'_, Result<Hardware, BmcError>>;

    /// Gives back what the conversation holds. That it fails is no news: the controller forgets it by itself.
    fn close(&self) -> BoxFuture<'_, ()>;
}
