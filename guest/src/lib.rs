//! The guest plugin: what stays in the installed system.
//!
//! So far it does one thing, `report`: it tells the controller, once, from the first boot of the installed system, that
//! the system is up. Only that report ends a deployment.
//!
//! - [`config`]: `/etc/imprint/guest.json`, left by the agent; the report token is in it until the report is made.
//! - [`facts`]: what the report says, read from `/proc`, `/sys`, `/etc` and `/run`. No program is run.
//! - [`report`]: the call over TLS, with retries; stops where another try cannot help.
//! - [`fault`]: what a failed call means, in words for an operator.
//!
//! Invariants: the only CA trusted is the one in the configuration; the token is never logged; nothing but
//! `guest.json` is ever written.

pub mod config;
pub mod facts;
pub mod fault;
pub mod report;

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
