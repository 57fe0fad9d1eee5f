//! See `imprint_fuzz::detect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::detect(data));
