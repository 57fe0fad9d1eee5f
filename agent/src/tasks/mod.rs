//! What the controller asks for: one task at a time, kept so that a restarted agent goes on with it.
//!
//! The session hands tasks to [`Tasks::accept`]; each runs in a tokio task of its own, with a token that
//! [`Tasks::cancel`] pulls. Its reports go into the durable outbox, whatever the session is doing.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imprint_proto::agent::v1::{
    Cancelled, Failure, Outcome, Progress, Success, Task, outcome::Result as Ended, task::Kind,
};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod deploy;
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

    fn start(self: &Arc<Self>, record: Record) {
        let cancel = CancellationToken::new();
        let task_id = record.task_id().to_owned();
        *self.running() = Some(Running {
            task_id: task_id.clone(),
            cancel: cancel.clone(),
        });
        self.outbox.begin(&task_id);
        let tasks = Arc::clone(self);
        self.tracker.spawn(async move {
            tasks.work(record, &cancel).await;
            *tasks.running() = None;
            tasks.progress.send_replace(None);
        });
    }

    /// One task from wherever it is to its end.
    async fn work(&self, mut record: Record, cancel: &CancellationToken) {
        let task_id = record.task_id().to_owned();
        tracing::info!(task.id = task_id, "task begins");
        if !record.ended {
            let (result, restart) = match record.task.clone().and_then(|task| task.kind) {
                Some(Kind::Deploy(task)) => {
                    let restart = task.reboot;
                    let job = deploy::Deploy::new(&self.around, self, &task, cancel);
                    match job.run(&mut record).await {
                        Ok(success) => (Ended::Success(success), restart),
                        Err(failure) => (ended(failure), false),
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
            record.ended = true;
            record.restart = restart;
            // Nobody needs the secrets of the task any more.
            record.task = Some(Task {
                task_id: task_id.clone(),
                kind: None,
            });
            self.save(&record);
        }
        if record.restart {
            if let Some(number) = self.outbox.has_outcome(&task_id) {
                tracing::info!(
                    task.id = task_id,
                    "waiting for the controller to keep the outcome, then restarting"
                );
                self.outbox.acknowledged(&task_id, number).await;
            }
            tracing::info!(task.id = task_id, "restarting the machine");
            (self.around.restart)();
        }
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

fn ended(failure: StepFailure) -> Ended {
    if failure.cancelled {
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
