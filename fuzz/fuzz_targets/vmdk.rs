//! See `imprint_fuzz::vmdk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imprint_fuzz::vmdk(data));
