//! Power and boot of servers: the controller's client with the lab's BMC, with all its oddities, and with those of others.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod consoles;
mod ipmi;
mod oddities;
mod power;
mod qemu;
mod refusals;
mod site;
mod sushy;
