//! What a server's network is to be: one model, what it is read from, and what it is written for.
//!
//! - [`model`]: links (physical ones by MAC address, bonds, VLANs, bridges), their addresses, DHCP, routes, name servers.
//! - [`read`]: OpenStack's `network_data.json` and network-config version 2 into the model; all errors at once, with
//!   path and line.
//! - [`check`]: what no reader can see alone: members that are not there, circles, gateways out of reach.
//! - [`render`]: the model as files of netplan, systemd-networkd, NetworkManager, ifupdown, ifcfg, wicked, and of
//!   cloud-init's network-config.
//! - [`compare`]: the kernel's state held against the model.
//! - [`kept`]: the form in which an installed system keeps what it was given.
//!
//! Invariants: no I/O, no clock; the same model gives the same bytes; no text, however broken, makes it panic or use
//! more memory than [`read::MAX_TEXT`] and the bounds of the readers allow; `read(render(model, CloudInit))` is the model.

pub mod check;
pub mod compare;
pub mod kept;
mod mac;
pub mod model;
mod name;
mod problem;
pub mod read;
pub mod render;

pub use mac::{BadMac, MacAddress};
pub use model::Network;
pub use name::{BadName, LinkName, MAX_NAME};
pub use problem::{Problem, Refused};
pub use read::{Read, read};
pub use render::{File, Format, Rendered, cloud_init_loses, render};
