//! What a job's work has at hand.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::JobProgress;

/// Handed to the work of a job.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// Id of the job.
    pub id: String,
    /// Cancelled when somebody asks for it, or when the controller ends. The work then takes away what it has begun
    /// and returns, with any error; nothing else stops it. Work whose job was cancelled before its turn is called with
    /// a token that is cancelled already, so that it can take away what its request has left.
    pub cancel: CancellationToken,
    pub(super) progress: Arc<Mutex<JobProgress>>,
}

impl JobContext {
    /// Says how far the work is. May be called as often as one likes: it only changes a value in memory. A `total` of
    /// 0 says that nobody knows.
    pub fn progress(&self, step: &str, done: u64, total: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.step != step {
            step.clone_into(&mut progress.step);
        }
        progress.bytes_done = done;
        progress.bytes_total = total;
    }

    /// A context without a job, for work that runs in its caller's request.
    #[must_use]
    pub fn detached(cancel: CancellationToken) -> Self {
        Self {
            id: String::new(),
            cancel,
            progress: Arc::default(),
        }
    }
}
