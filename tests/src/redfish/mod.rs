//! A BMC for the lab that speaks Redfish: power, boot once, sessions, virtual media, sensors, and the oddities that real ones
//! have ([`Oddities`]). What it switches is a [`Machine`]: a model in memory for tests, or a virtual server.
//!
//! Its rules are [`service`], which knows no sockets; [`serve`] puts TLS around it.

mod lab;
mod machine;
mod oddities;
pub mod qemu;
mod resources;
mod serve;
mod service;
mod sessions;

pub use lab::{LabBmc, socket};
pub use machine::{Machine, Model, Power};
pub use oddities::{Etags, Oddities, Overrides};
pub use serve::{Served, serve};
pub use service::{Identity, Service};

/// Who is let in.
pub const USER: &str = "root";
/// With what.
pub const PASSWORD: &str = "calvin-of-the-lab";
