//! Ends the blocking part of an import, and remembers why.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use super::ImportError;

/// Why an import is to end before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Somebody cancelled its job, or the controller ends.
    Cancelled,
    /// The caller who sent the file is gone.
    Disconnected,
    /// It has run for too long.
    TimeLimit {
        /// How long it may run.
        seconds: u64,
    },
}

/// Looked at by all threads of an import. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    flag: Arc<AtomicBool>,
    reason: Arc<OnceLock<StopReason>>,
}

impl Stop {
    /// The first reason counts.
    pub(super) fn now(&self, reason: StopReason) {
        self.reason.get_or_init(|| reason);
        self.flag.store(true, Ordering::SeqCst);
    }

    /// For loops that only know flags.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Whether it is to end.
    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// The reason as an error, if there is one.
    pub(super) fn error(&self) -> Option<ImportError> {
        self.reason.get().map(|reason| match *reason {
            StopReason::Cancelled => ImportError::Cancelled,
            StopReason::Disconnected => ImportError::Disconnected,
            StopReason::TimeLimit { seconds } => ImportError::TimeLimit { seconds },
        })
    }
}
