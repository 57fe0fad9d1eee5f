//! The machines: who they are, what they consist of, which state they are in.
//!
//! A machine is recognised by its hardware: the pure function [`identity::identify`] compares what it shows with the
//! known nodes and refuses what contradicts itself. [`Nodes`] keeps the table.

mod assign;
mod delete;
mod enroll;
mod identity;
mod node;
mod nodes;
mod said;
mod seen;
mod service;
#[cfg(test)]
mod tests;

pub use enroll::EnrollError;
pub use identity::{Conflict, Identity, Known, Recognised, Shown, identify};
pub(crate) use identity::{own_serial, own_uuid};
pub use imprint_hardware::facts::{Disk, Firmware, Inventory, Nic};
pub use node::{Maintenance, Node, NodeProblem, NodeState};
pub use nodes::{InventoryError, NodePage, NodeQuery, Nodes};
pub(crate) use nodes::{load, transit};
pub use service::NewNode;
