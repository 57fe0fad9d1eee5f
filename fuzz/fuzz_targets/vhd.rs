//! See `imprint_fuzz::vhd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::vhd(data));
