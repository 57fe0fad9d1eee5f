//! Long work that goes on after its request was answered: imports, copies, exports, checks of the store.
//!
//! ```text
//! request --start--> row (queued) --slot of its kind--> running --work--> succeeded | failed | cancelled
//!                        |                                 |
//!                        +--- task of its own: waits, runs, keeps progress, writes the end with its event
//! ```
//!
//! The row is the truth; progress is kept in memory and written about once a second, only so that a controller that
//! was restarted can say how far it had come. Every end is written once, in one transaction with the event that tells
//! it. A controller that ends leaves its rows as they are: the next one finds them and fails them cleanly, with the
//! type `interrupted`, or takes them up again where their kind can (`recover.rs`).
//!
//! Invariants: a job ends once; a cancelled job has cleaned up before it says so, since its work returns first; a key
//! makes one job.

mod cancel;
mod context;
mod error;
mod kind;
mod list;
mod record;
mod recover;
mod run;
mod start;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::SqlitePool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use context::JobContext;
pub use error::JobError;
pub use kind::JobKind;
pub use list::{JobPage, JobQuery};
pub use record::{Job, JobProgress, JobState};
pub(crate) use recover::interrupted;
pub use recover::{Interrupted, ResumeWork};
pub use start::NewJob;

use crate::{clock::Clock, events::EventLog};

/// The jobs of the controller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: SqlitePool,
    events: EventLog,
    clock: Clock,
    shutdown: CancellationToken,
    /// One semaphore for each kind.
    slots: HashMap<JobKind, Arc<Semaphore>>,
    /// Jobs that have a task.
    live: Mutex<HashMap<String, Live>>,
}

/// A job that has a task.
#[derive(Debug, Clone)]
struct Live {
    cancel: CancellationToken,
    /// Cancelled when its task has ended, and with it the job, unless the controller ends.
    ended: CancellationToken,
    progress: Arc<Mutex<JobProgress>>,
}

impl Jobs {
    /// Over the database. All jobs stop, and stay as they are for the next start, when `shutdown` is cancelled.
    #[must_use]
    pub fn new(db: SqlitePool, events: EventLog, clock: Clock, shutdown: CancellationToken) -> Self {
        let slots = JobKind::ALL
            .iter()
            .map(|kind| (*kind, Arc::new(Semaphore::new(kind.at_once()))));
        Self(Arc::new(Inner {
            db,
            events,
            clock,
            shutdown,
            slots: slots.collect(),
            live: Mutex::default(),
        }))
    }
}

impl Jobs {
    /// Waits until a job has no task any more: its end and its events are written, unless the controller ends.
    pub async fn settled(&self, id: &str) {
        if let Some(live) = self.0.live(id) {
            live.ended.cancelled().await;
        }
    }
}

#[cfg(test)]
impl Jobs {
    /// Waits until no job has a task.
    pub(crate) async fn quiet(&self) {
        loop {
            let running = {
                let live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
                live.values().next().cloned()
            };
            match running {
                Some(live) => live.ended.cancelled().await,
                None => return,
            }
        }
    }
}

impl Inner {
    fn live(&self, id: &str) -> Option<Live> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(id).cloned()
    }

    /// The job with the newest progress there is.
    fn fresh(&self, mut job: Job) -> Job {
        if let Some(live) = self.live(&job.id).filter(|_| !job.state.is_end()) {
            let newest = live.progress.lock().unwrap_or_else(PoisonError::into_inner);
            job.progress = newest.clone();
        }
        job
    }
}
