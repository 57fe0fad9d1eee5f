//! See `imprint_fuzz::vhdx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::vhdx(data));
