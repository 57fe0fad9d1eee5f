//! The SDI card of the lab: by our own client code, by a foreign client, and with a real QEMU behind it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod controller;
mod grpc;
mod pydpu;
mod sdi;
mod server;
mod volumes;

use imprint_tests::card::{CardOptions, Serial};

/// A card that keeps its books, and shows them to nobody.
fn options() -> CardOptions {
    CardOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        qmp: None,
        relays: None,
        storage: None,
        functions: 2,
        serial: Serial::Volume,
        state: None,
        control: None,
        unplug_seconds: 20,
        patience_seconds: 20,
    }
}
