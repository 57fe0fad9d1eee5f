//! See `imprint_fuzz::qcow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::qcow(data));
