//! See `imprint_fuzz::pack_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::pack_index(data));
