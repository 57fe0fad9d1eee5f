//! What the controller asks for: one task at a time, kept so that a restarted agent goes on with it.
//!
//! The session hands tasks to [`Tasks::accept`]; each runs in a tokio task of its own, with a token that
//! [`Tasks::cancel`] pulls. Its reports go into the durable outbox, whatever the session is doing.

use std::{
    io,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt as _;
use imprint_proto::agent::v1::{
    Cancelled, Failure, Outcome, Progress, Success, Task, outcome::Result as Ended, task::Kind,
};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod deploy;
mod disk;
mod image;
pub mod record;
pub mod report;

use record::{Record, RecordFile};
use report::{Reporter, StepFailure};

use crate::{
    finish::Places,
    identity::{BootIdentity, Credentials, NodeKey},
    session::outbox::Outbox,
};

/// What ends the life of the ramdisk; the machine's restart in earnest, something harmless in tests.
pub type Restart = Arc<dyn Fn() + Send + Sync>;

/// What tasks work with.
#[derive(Clone)]
pub struct Surroundings {
    /// The controller and its keys.
    pub identity: BootIdentity,
    /// The key pair of this boot.
    pub key: Arc<NodeKey>,
    /// The newest certificate.
    pub credentials: watch::Receiver<Credentials>,
    /// `/`, or a tree of a test.
    pub root: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// Folders of the machine.
    pub places: Places,
    /// Restarts the machine.
    pub restart: Restart,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("identity", &self.identity)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The work of this agent.
#[derive(Debug)]
pub struct Tasks {
    around: Surroundings,
    outbox: Arc<Outbox>,
    file: RecordFile,
    running: Mutex<Option<Running>>,
    progress: watch::Sender<Option<Progress>>,
    tracker: TaskTracker,
}

#[derive(Debug, Clone)]
struct Running {
    task_id: String,
    cancel: CancellationToken,
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new(around: Surroundings, outbox: Arc<Outbox>) -> Arc<Self> {
        let file = RecordFile::of(&around.state);
        Arc::new(Self {
            around,
            outbox,
            file,
            running: Mutex::new(None),
            progress: watch::Sender::new(None),
            tracker: TaskTracker::new(),
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the task that runs.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.running().as_ref().map(|running| running.task_id.clone())
    }

    /// The newest progress.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }

    /// Goes on with the task that an agent which was killed has left.
    ///
    /// # Errors
    /// When the record can't be read.
    pub fn resume(self: &Arc<Self>) -> io::Result<()> {
        if let Some(record) = self.file.load()? {
            tracing::info!(
                task.id = record.task_id(),
                ended = record.ended,
                "an earlier agent of this boot left a task"
            );
            if !record.ended || record.restart {
                self.start(record);
            }
        }
        Ok(())
    }

    /// Takes a task. One that is here already goes on; a second one beside a running one is refused, since two can't
    /// have the machine: the controller cancels the first one when it means it.
    pub fn accept(self: &Arc<Self>, task: Task) {
        if let Some(running) = self.running().as_ref() {
            if running.task_id != task.task_id {
                tracing::error!(
                    task.id = task.task_id,
                    running = running.task_id,
                    "a second task is refused while one runs; cancel the running one first"
                );
            }
            return;
        }
        match self.file.load() {
            // Its outcome is in the outbox and is sent until it is acknowledged.
            Ok(Some(record)) if record.task_id() == task.task_id && record.ended => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the record of an earlier task is unreadable; it is replaced");
            }
        }
        let record = Record {
            task: Some(task),
            started_at: Timestamp::now().to_string(),
            ..Record::default()
        };
        if let Err(error) = self.file.save(&record) {
            tracing::error!(%error, "cannot keep the task; a restart of the agent would lose it");
        }
        self.start(record);
    }

    /// Stops the running task when it is the one that is meant.
    pub fn cancel(&self, task_id: &str, reason: &str) {
        match self.running().as_ref() {
            Some(running) if running.task_id == task_id => {
                tracing::warn!(task.id = task_id, reason, "the task is cancelled");
                running.cancel.cancel();
            }
            _ => tracing::info!(task.id = task_id, "asked to cancel a task that does not run"),
        }
    }

    /// Waits until the running task has come to a rest; it is kept and not cancelled for the controller.
    pub async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn start(self: &Arc<Self>, mut record: Record) {
        let cancel = CancellationToken::new();
        let task_id = record.task_id().to_owned();
        *self.running() = Some(Running {
            task_id: task_id.clone(),
            cancel: cancel.clone(),
        });
        self.outbox.begin(&task_id);
        let tasks = Arc::clone(self);
        self.tracker.spawn(async move {
            let work = AssertUnwindSafe(tasks.work(&mut record, &cancel));
            if work.catch_unwind().await.is_err() {
                tasks.fault(&mut record).await;
            }
            *tasks.running() = None;
            tasks.progress.send_replace(None);
        });
    }

    /// One task from wherever it is to its end.
    async fn work(&self, record: &mut Record, cancel: &CancellationToken) {
        let task_id = record.task_id().to_owned();
        tracing::info!(task.id = task_id, "task begins");
        if !record.ended
            && let Some(success) = self.outbox.outcome_is_success(&task_id)
        {
            // An earlier agent was killed right after it had told the end.
            self.end(record, success && restarts(record));
        }
        if !record.ended {
            let (result, restart) = match record.task.clone().and_then(|task| task.kind) {
                Some(Kind::Deploy(task)) => {
                    let restart = task.reboot;
                    let job = deploy::Deploy::new(&self.around, self, &task, cancel);
                    match job.run(record).await {
                        Ok(success) => (Ended::Success(success), restart),
                        Err(failure) => (ended(failure, record.touched), false),
                    }
                }
                Some(Kind::Reboot(_)) => (Ended::Success(Success::default()), true),
                None => (
                    Ended::Failure(Failure {
                        cause: "this agent does not know the kind of task".to_owned(),
                        remedy: "build the ramdisk again from the controller's version".to_owned(),
                        ..Failure::default()
                    }),
                    false,
                ),
            };
            self.outbox.push_outcome(Outcome {
                result: Some(result),
                ..Outcome::default()
            });
            self.end(record, restart);
        }
        if record.restart {
            if let Some(number) = self.outbox.has_outcome(&task_id) {
                tracing::info!(
                    task.id = task_id,
                    "waiting for the controller to keep the outcome, then restarting"
                );
                let refused = tokio::select! {
                    biased;
                    () = cancel.cancelled() => true,
                    () = self.outbox.acknowledged(&task_id, number) => cancel.is_cancelled(),
                };
                if refused {
                    return self.refused(record).await;
                }
            }
            tracing::info!(task.id = task_id, "restarting the machine");
            (self.around.restart)();
        }
    }

    /// The outcome is in the outbox.
    fn end(&self, record: &mut Record, restart: bool) {
        record.ended = true;
        record.restart = restart;
        // Nobody needs the secrets of the task any more.
        record.task = Some(Task {
            task_id: record.task_id().to_owned(),
            kind: None,
        });
        self.save(record);
    }

    /// The controller does not take the success: the machine must not come up with what is on its disk.
    async fn refused(&self, record: &mut Record) {
        tracing::warn!(
            task.id = record.task_id(),
            "cancelled after its end; the machine is not restarted"
        );
        if record.touched
            && let Err(trouble) = disk::clear_head(&self.around.places, record).await
        {
            tracing::error!(
                cause = trouble.cause,
                remedy = trouble.remedy,
                "the head of the disk could not be cleared; it may still boot the cancelled system"
            );
        }
        record.restart = false;
        self.save(record);
    }

    /// The agent itself has failed inside of the task; the panic's own words are in the log.
    async fn fault(&self, record: &mut Record) {
        if record.ended {
            tracing::error!(
                task.id = record.task_id(),
                "the agent has a fault; its task had ended"
            );
            return;
        }
        let mut failure = Failure {
            cause: "the agent has a fault and could not go on with the task".to_owned(),
            remedy:
                "restart this machine over the network and deploy again; report this with the agent's log \
                     (journalctl -u imprint-agent on the machine's console)"
                    .to_owned(),
            ..Failure::default()
        };
        if record.touched {
            match disk::clear_head(&self.around.places, record).await {
                Ok(()) => failure.head_cleared = true,
                Err(trouble) => {
                    failure.cause.push_str(&format!(
                        "; and the head of its disk could not be cleared: {}",
                        trouble.cause
                    ));
                    failure
                        .remedy
                        .push_str("; the disk may still boot the unfinished system: deploy again or wipe it");
                }
            }
        }
        self.outbox.push_outcome(Outcome {
            result: Some(Ended::Failure(failure)),
            ..Outcome::default()
        });
        self.end(record, false);
    }

    fn save(&self, record: &Record) {
        if let Err(error) = self.file.save(record) {
            tracing::error!(%error, "cannot keep the state of the task; a restarted agent would begin it anew");
        }
    }

    fn reporter(&self) -> Reporter {
        Reporter::new(Arc::clone(&self.outbox))
    }
}

/// Whether the machine restarts after the success of the task.
fn restarts(record: &Record) -> bool {
    match record.task.as_ref().and_then(|task| task.kind.as_ref()) {
        Some(Kind::Deploy(task)) => task.reboot,
        Some(Kind::Reboot(_)) => true,
        None => false,
    }
}

/// A cancel that has left a disk which may boot is a failure.
fn ended(failure: StepFailure, touched: bool) -> Ended {
    if failure.is_clean_cancel(touched) {
        return Ended::Cancelled(Cancelled {
            head_cleared: failure.head_cleared,
        });
    }
    Ended::Failure(Failure {
        step: failure.step as i32,
        cause: failure.cause,
        remedy: failure.remedy,
        head_cleared: failure.head_cleared,
        retryable: failure.retryable,
    })
}

#[cfg(test)]
mod tests {
    use imprint_proto::agent::v1::Step;

    use super::*;

    #[test]
    fn a_cancel_is_clean_only_without_a_disk_that_may_boot() {
        for (touched, head_cleared, clean) in [(false, false, true), (true, true, true), (true, false, false)]
        {
            let failure = StepFailure {
                step: Step::Write,
                cause: "c".into(),
                remedy: "r".into(),
                head_cleared,
                retryable: false,
                cancelled: true,
                hung: false,
            };
            let outcome = ended(failure, touched);
            assert_eq!(matches!(outcome, Ended::Cancelled(_)), clean, "{outcome:?}");
        }
    }
}
