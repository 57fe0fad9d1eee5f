//! See `fuzz/src/inventory.rs`.
#![no_main]

#[path = "../src/inventory.rs"]
#[allow(dead_code, reason = "each program runs one of the targets")]
mod inventory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| inventory::contents(data));
