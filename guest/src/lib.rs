//! The guest plugin: what stays in the installed system.
//!
//! `report` tells the controller, once, from the first boot, that the system is up; only that ends a deployment. `run` keeps
//! a session with the controller, in which the system tells what happened to it and takes the few orders there are. `network`
//! tells what of the network differs from what was given, and puts it back.
//!
//! - [`config`]: `/etc/imprint/guest.json`, left by the agent; the report token is in it until the report is made.
//! - [`identity`]: the key of this system and the certificate that the report was answered with.
//! - [`facts`]: what the report says, read from `/proc`, `/sys`, `/etc` and `/run`, and asked of systemd.
//! - [`network`]: the network as it was given, as it is, and the way back; on demand, without the controller.
//! - [`report`]: the call over TLS, with retries; stops where another try cannot help.
//! - [`session`]: the stream of events and orders.
//! - [`events`]: what happened, kept until the controller has it.
//! - [`password`]: an order to set a password, checked and carried out.
//! - [`drift`]: whether the plugin's own files are as they were installed.
//! - [`fault`]: what a failed call means, in words for an operator.
//!
//! Invariants: the only CA trusted is the one in the configuration; no token, key or password is ever logged; no program
//! is run, except the system's own: `network apply` has them read their files again, and `report` asks `systemctl`.

pub mod config;
mod connection;
pub mod disks;
pub mod drift;
pub mod events;
pub mod facts;
pub mod fault;
mod file;
pub mod identity;
pub mod network;
pub mod password;
pub mod report;
pub mod session;

use std::error::Error;

/// An error and all its causes in one line. No error of this crate repeats its source.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        // Errors of other crates do repeat their source at times.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
