//! See `imprint_fuzz::facts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::facts(data));
