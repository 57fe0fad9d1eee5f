//! See `imprint_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::frame(data));
