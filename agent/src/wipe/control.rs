//! What the work on one disk is told, and what it tells: to stop, how far it is, and how long nothing may move.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use imprint_proto::agent::v1::WipeCommand;
use tokio::sync::watch;

/// Commands that a certificate keeps.
const MOST_COMMANDS: usize = 64;
/// How long reading, writing and zeroing may stand still.
pub const IO_PATIENCE: Duration = Duration::from_secs(600);

/// How far one disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskProgress {
    /// Its name.
    pub disk: String,
    /// What is done: "overwrite", "sanitize, block erase".
    pub doing: String,
    /// Done of `total`, in bytes; a command of the disk counts by its share.
    pub done: u64,
    /// Size of the disk, in bytes.
    pub total: u64,
    /// The disk works by itself and can't be stopped.
    pub by_itself: bool,
}

/// Pulled once; whoever waits is woken.
#[derive(Debug, Default)]
pub struct Stop {
    pulled: Mutex<bool>,
    bell: Condvar,
}

impl Stop {
    /// All work ends as soon as it can.
    pub fn pull(&self) {
        *self.lock() = true;
        self.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Pulse {
    moved: Instant,
    patience: Duration,
}

/// One disk's end of the line.
#[derive(Debug, Clone)]
pub struct Control {
    index: usize,
    stop: Arc<Stop>,
    progress: watch::Sender<Vec<DiskProgress>>,
    pulse: Arc<Mutex<Pulse>>,
    commands: Arc<Mutex<Vec<WipeCommand>>>,
    poll: Duration,
}

impl Control {
    /// For the disk at this place of the list. `poll`: how often a disk that works by itself is asked.
    #[must_use]
    pub fn new(
        index: usize,
        stop: Arc<Stop>,
        progress: watch::Sender<Vec<DiskProgress>>,
        poll: Duration,
    ) -> Self {
        Control {
            index,
            stop,
            progress,
            pulse: Arc::new(Mutex::new(Pulse {
                moved: Instant::now(),
                patience: IO_PATIENCE,
            })),
            commands: Arc::default(),
            poll,
        }
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.stop.lock()
    }

    /// Waits until the disk is asked again; true when it is to stop instead.
    #[must_use]
    pub fn pause(&self) -> bool {
        let stopped = self.stop.lock();
        let (stopped, _) = self
            .stop
            .bell
            .wait_timeout_while(stopped, self.poll, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }

    /// Something new begins, at nothing.
    pub fn begin(&self, doing: &str, patience: Duration, by_itself: bool) {
        self.pulse().patience = patience;
        self.tell(|progress| {
            doing.clone_into(&mut progress.doing);
            progress.done = 0;
            progress.by_itself = by_itself;
        });
    }

    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        self.tell(|progress| progress.done = progress.done.saturating_add(bytes).min(progress.total));
    }

    /// So much is done, in parts of 65536. The same share again is no movement.
    pub fn share(&self, share: u16) {
        let at = |total: u64| u64::try_from((u128::from(total) * u128::from(share)) >> 16).unwrap_or(total);
        let before = self
            .progress
            .borrow()
            .get(self.index)
            .map(|now| (now.done, now.total));
        if before.is_some_and(|(done, total)| done != at(total)) {
            self.tell(|progress| progress.done = at(progress.total));
        }
    }

    /// It goes on, though there is nothing to show.
    pub fn moved(&self) {
        self.pulse().moved = Instant::now();
    }

    /// How long it has stood still, when that is longer than it may.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let pulse = self.pulse();
        let silent = pulse.moved.elapsed();
        (silent >= pulse.patience).then_some(silent)
    }

    /// Notes a command and its answer for the certificate.
    pub fn command(&self, name: &str, code: u16, answer: &str, began: Instant) {
        tracing::info!(command = name, code, answer, "told a disk");
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() < MOST_COMMANDS {
            commands.push(WipeCommand {
                name: name.to_owned(),
                code: code.into(),
                answer: answer.to_owned(),
                duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
    }

    /// All commands so far.
    #[must_use]
    pub fn commands(&self) -> Vec<WipeCommand> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the disk works by itself and can't be stopped.
    #[must_use]
    pub fn is_by_itself(&self) -> bool {
        self.progress
            .borrow()
            .get(self.index)
            .is_some_and(|now| now.by_itself)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut DiskProgress)) {
        self.moved();
        self.progress.send_modify(|all| {
            if let Some(progress) = all.get_mut(self.index) {
                change(progress);
            }
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The line of a disk of this size that is asked without pause, and its other end.
    pub(in crate::wipe) fn control(total: u64) -> (Control, watch::Receiver<Vec<DiskProgress>>, Arc<Stop>) {
        let (sender, receiver) = watch::channel(vec![DiskProgress {
            disk: "disk".to_owned(),
            doing: String::new(),
            done: 0,
            total,
            by_itself: false,
        }]);
        let stop = Arc::new(Stop::default());
        (
            Control::new(0, Arc::clone(&stop), sender, Duration::ZERO),
            receiver,
            stop,
        )
    }

    #[test]
    fn shares_and_bytes_show_and_silence_is_noticed() {
        let (control, seen, stop) = control(1 << 20);
        control.begin("sanitize", Duration::ZERO, true);
        control.share(0x8000);
        assert_eq!(seen.borrow()[0].done, 512 << 10);
        assert!(control.is_by_itself());
        assert!(control.silence().is_some(), "no patience at all");
        control.begin("overwrite", IO_PATIENCE, false);
        assert!(control.silence().is_none());
        control.advance(u64::MAX);
        assert_eq!(
            (seen.borrow()[0].done, seen.borrow()[0].by_itself),
            (1 << 20, false)
        );
        assert!(!control.pause());
        stop.pull();
        assert!(control.pause() && control.is_cancelled());
    }
}
