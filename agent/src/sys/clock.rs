//! The machine's clock.

use std::io;

use jiff::Timestamp;
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

/// Sets the system clock.
///
/// # Errors
/// When the process may not.
pub fn set(now: Timestamp) -> io::Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(now.as_second(), 0))?;
    Ok(())
}
