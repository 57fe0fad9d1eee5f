//! An SDI card for the lab: a smart NIC that shows a server network volumes as disks of its own, as a process beside it.
//!
//! On one side it is a gRPC server of OPI's storage API (package `opi_api.storage.v1`), which Imprint's controller and
//! foreign clients speak with; on the other it plugs disks into a virtual server by QMP. Its books ([`books`]) say what it
//! was asked for, [`wanted`] says purely what the server is to see of that, and a thread ([`present`]) makes it so, now or as
//! soon as the server is switched on. Between server and storage stands a relay ([`relay`]), as a real card does: when the
//! card is gone, the disk's requests wait.
//!
//! Its storage network is NBD, where that of a real card is NVMe/TCP: a `volume_name_ref` is an export of `--storage`, or a
//! namespace of a remote controller, whose paths then say the NBD server (`traddr`, `trsvcid`) and its export (`subnqn`).
//! Limits of a volume are kept and answered, and limit nothing.
//!
//! A server that was started paused (`-S`) is let go when its disks are there, so that firmware finds them.
//!
//! [`faults`] can be put into it over a socket with a line for each command ([`control`]).

pub mod books;
pub mod control;
pub mod desk;
pub mod faults;
pub mod names;
mod nvme;
pub mod present;
pub mod relay;
mod remote;
mod serve;
mod virtio_blk;
pub mod wanted;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use desk::Desk;
pub use serve::{Served, run, serve};

use relay::Address;

/// What a card is started with.
#[derive(Debug, Clone, clap::Args)]
pub struct CardOptions {
    /// Where OPI's gRPC is served, without TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// The virtual server: a QMP socket of its own, there or still to come; without one the card only keeps its books
    #[arg(long, value_name = "SOCKET", requires = "relays")]
    pub qmp: Option<PathBuf>,
    /// Gets a socket for each disk, by which the server reaches the storage
    #[arg(long, value_name = "FOLDER")]
    pub relays: Option<PathBuf>,
    /// The NBD server of volumes that are named by their export alone: HOST:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub storage: Option<Address>,
    /// PCI functions: as many root ports `sdi0`, `sdi1`, … does the server have
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub functions: u8,
    /// What the server reads as the disks' serial numbers
    #[arg(long, value_enum, default_value_t = Serial::Volume)]
    pub serial: Serial,
    /// Keeps the books over a restart
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Takes commands that put faults into the card
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// How long a server may hold a disk that is taken away
    #[arg(long, value_name = "S", default_value_t = 20)]
    pub unplug_seconds: u64,
    /// How long a disk's requests wait for a storage that is gone
    #[arg(long, value_name = "S", default_value_t = 120)]
    pub patience_seconds: u32,
}

/// What disks call themselves. Cards differ in this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Serial {
    /// Nothing, except for NVMe, which demands something
    None,
    /// All the same
    Fixed,
    /// The first 20 characters of the disk's id; of the subsystem's serial number for NVMe
    Volume,
}
