//! See `fuzz/src/network.rs`.
#![no_main]

#[path = "../src/network.rs"]
#[allow(dead_code, reason = "each program runs one of the targets")]
mod network;

libfuzzer_sys::fuzz_target!(|data: &[u8]| network::network_data(data));
