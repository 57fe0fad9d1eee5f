//! What the operator sees while commands prepare things: one line a step, with the time it began.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Starts the clock that the steps show.
pub fn start() {
    START.get_or_init(Instant::now);
}

/// Tells what begins now.
pub fn step(text: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("[{:3}:{:02}] {text}", seconds / 60, seconds % 60);
}
