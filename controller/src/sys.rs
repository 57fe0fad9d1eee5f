//! The memory of the process. The only module of this program with `unsafe` code.
//!
//! A session takes buffers of 16 and 8 KiB that it hardly fills. glibc's allocator makes them of memory that was used before,
//! and keeps what others have left; jemalloc hands out pages that nobody has touched, which cost nothing until they are, and
//! gives back what is free. docs/reliability.md tells what that comes to for ten thousand sessions.
#![allow(
    unsafe_code,
    reason = "the allocator reads its options from a symbol of a fixed name"
)]

use std::ffi::c_char;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc takes at the start, a C string (`jemalloc(3)`, "TUNING"): free pages go back at once, and few arenas, as the
/// free parts of each one are only its own.
const OPTIONS: &[u8] = b"narenas:2,dirty_decay_ms:0,muzzy_decay_ms:0,tcache_max:4096\0";

// SAFETY: jemalloc declares this name as a pointer to a C string, which it reads once before anything else runs; this is one,
// with its end, that lives as long as the process. Nothing else has the name.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
static CONFIGURATION: Option<&'static c_char> = {
    // SAFETY: the first byte of a constant that is not empty.
    Some(unsafe { &*OPTIONS.as_ptr().cast::<c_char>() })
};
