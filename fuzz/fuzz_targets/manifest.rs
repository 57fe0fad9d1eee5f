//! See `imprint_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::manifest(data));
