//! See `imprint_fuzz::vdi`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::vdi(data));
