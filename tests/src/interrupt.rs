//! Ctrl-C and SIGTERM: whoever waits, waits here, and stops waiting when the operator has had enough. The error
//! travels up like any other, so that every guard on the way (machines, bridge, temporary folders) cleans up.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

/// The operator has stopped the run.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Takes over SIGINT, SIGTERM and SIGHUP. To be called before any other thread exists, since threads inherit the mask.
pub fn install() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let watcher = thread::Builder::new().name("signals".to_owned());
    watcher
        .spawn(move || {
            while signals.wait().is_ok() {
                *INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner) = true;
                CHANGED.notify_all();
            }
        })
        .context("cannot start the signal thread")?;
    Ok(())
}

/// An error once the operator has stopped the run.
pub fn check() -> Result<()> {
    if *INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner) {
        return Err(Interrupted.into());
    }
    Ok(())
}

/// Waits; an error as soon as the operator stops the run.
pub fn pause(duration: Duration) -> Result<()> {
    let guard = INTERRUPTED.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = CHANGED.wait_timeout_while(guard, duration, |interrupted| !*interrupted);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
    check()
}

/// Adds what surrounds a failure to its message, behind the cause, where it does not hide it.
pub trait Explain<T> {
    /// `surroundings` is asked only when there was a failure, and not when the operator has stopped the run.
    fn explain(self, surroundings: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Explain<T> for Result<T> {
    fn explain(self, surroundings: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            if error.is::<Interrupted>() {
                return error;
            }
            anyhow::anyhow!("{error:#}\n{}", surroundings())
        })
    }
}

/// Waits without regard to interruption, for the few moments that cleaning up takes.
pub fn grace(duration: Duration) {
    let until = Instant::now() + duration;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() >= timeout {
            anyhow::bail!("waited {} s for {what}", timeout.as_secs());
        }
        pause(Duration::from_millis(200))?;
    }
}
