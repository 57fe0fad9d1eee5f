//! Boot services: how a machine without an operating system gets to the agent's ramdisk.
//!
//! ```text
//! firmware --DHCP--> boot file name --TFTP/HTTP--> iPXE --DHCP--> /boot/start.ipxe --> /boot/node.ipxe
//!     --> kernel + ramdisk + identity initrd (one boot token)      or      local disk
//! ```
//!
//! Machines with Secure Boot come by shim and GRUB, which loads all of it by TFTP (`script/grub.rs`).
//! Three servers, each optional but HTTP: [`dhcp`] (proxyDHCP beside another server, or own addresses on an isolated
//! network), [`tftp`] and [`http`]; what both of the latter answer is decided in [`site`]. [`BootServices::bind`] takes all sockets and checks all files
//! before anything is served, so that a mistake in the configuration is one message at start and not a machine that hangs.
//! Nothing secret is in a script or on a kernel command line: the boot token travels in the identity initrd.

pub mod dhcp;
pub mod facts;
pub mod http;
pub mod identity_initrd;
pub mod media;
pub mod script;
pub mod serve;
pub mod site;
pub mod tftp;
pub mod tokens;

pub use facts::{BootAction, BootFacts, MacAddress, Platform};
pub use script::{RESCUE_ARGUMENT, RESCUE_IMAGE};
pub use serve::{BootError, BootServices};
pub use tokens::{BootTokens, IssueError, IssuedToken, RedeemError, Redeemed};
