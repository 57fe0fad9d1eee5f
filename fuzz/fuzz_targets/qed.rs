//! See `imprint_fuzz::qed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::qed(data));
