//! See `imprint_fuzz::signed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::signed(data));
