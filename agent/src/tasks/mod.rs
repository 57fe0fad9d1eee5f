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
use imprint_image::seal::DataKey;
use imprint_proto::agent::v1::{
    AfterWipe, Cancelled, Failure, Outcome, Progress, RescueTask, Step, Success, Task, WipeCertificate,
    outcome::Result as Ended, task::Kind,
};
use jiff::Timestamp;
use tokio::{sync::watch, task::AbortHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod choice;
mod course;
pub mod deploy;
pub(crate) mod disk;
mod image;
mod image_key;
pub mod record;
pub mod report;
mod rescue;
mod volume;
mod wipe;

pub use disk::{Disarmed, Trouble};
use image_key::KeyHolder;
use record::{Record, RecordFile};
use report::{Reporter, StepFailure};

use crate::{
    finish::Places,
    identity::{BootIdentity, Credentials, NodeKey},
    log::Log,
    machine::Machine,
    rescue::Place,
    session::outbox::Outbox,
    wipe::draft::Drafts,
};

/// What the machine does when the life of the ramdisk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It restarts.
    Restart,
    /// It loses power.
    PowerOff,
}

/// What ends the life of the ramdisk; the machine's own end in earnest, something harmless in tests.
pub type Restart = Arc<dyn Fn(Leave) + Send + Sync>;

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
    /// What is worked on.
    pub machine: Arc<dyn Machine>,
    /// What the agent says, for the controller.
    pub log: Log,
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
    image_key: KeyHolder,
    renewed: watch::Sender<Option<RescueTask>>,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Running {
    task_id: String,
    cancel: CancellationToken,
    /// Its outcome is decided: the controller may take this agent for free before it is.
    ending: bool,
    /// What came meanwhile and is begun afterwards.
    next: Option<(Task, Option<DataKey>)>,
    /// Ends it where it is, as the end of the process would.
    abort: Option<AbortHandle>,
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
            image_key: KeyHolder::default(),
            renewed: watch::Sender::new(None),
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
                self.start(record, None);
            }
        }
        Ok(())
    }

    /// Takes a task. One that is here already goes on; a second one beside a running one is refused, since two can't
    /// have the machine: the controller cancels the first one when it means it.
    pub fn accept(self: &Arc<Self>, mut task: Task) {
        let key = image_key::take_out(&mut task);
        self.accept_with(task, key);
    }

    /// As [`Self::accept`], of a task without the key of its image, which is never kept with it.
    fn accept_with(self: &Arc<Self>, task: Task, key: Option<DataKey>) {
        if self.outbox.has_refused(&task.task_id) {
            return; // its outcome is sent until it is acknowledged
        }
        if let Some(running) = self.running().as_mut() {
            if running.task_id == task.task_id {
                if let Some(key) = key {
                    self.image_key.arrived(&task.task_id, key);
                }
                if let Some(Kind::Rescue(rescue)) = task.kind {
                    self.renewed.send_replace(Some(rescue));
                }
                return;
            }
            if running.ending {
                running.next = Some((task, key));
                return;
            }
            tracing::error!(
                task.id = task.task_id,
                running = running.task_id,
                "a second task is refused while one runs; cancel the running one first"
            );
            self.outbox.refuse(&task.task_id, busy(&running.task_id));
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
        self.start(record, key);
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

    /// Leaves the running task where it is: the process ends, and the next one goes on from the record.
    pub fn abandon(&self) {
        if let Some(abort) = self.running().as_mut().and_then(|running| running.abort.take()) {
            abort.abort();
        }
    }

    fn start(self: &Arc<Self>, mut record: Record, key: Option<DataKey>) {
        let cancel = CancellationToken::new();
        let task_id = record.task_id().to_owned();
        if needs_image_key(&record) {
            self.image_key.begin(&task_id, key);
        }
        *self.running() = Some(Running {
            task_id: task_id.clone(),
            cancel: cancel.clone(),
            ending: record.ended,
            next: None,
            abort: None,
        });
        self.outbox.begin(&task_id);
        self.around.log.set_task(&task_id);
        if let Some(Kind::Deploy(task)) = record.task.as_ref().and_then(|task| task.kind.as_ref())
            && let Some(guest) = task.finish.as_ref().and_then(|plan| plan.guest.as_ref())
        {
            self.around.log.never_show(&guest.report_token);
        }
        let tasks = Arc::clone(self);
        let work = self.tracker.spawn(async move {
            let work = AssertUnwindSafe(tasks.work(&mut record, &cancel));
            if work.catch_unwind().await.is_err() {
                tasks.fault(&mut record).await;
            }
            tasks.progress.send_replace(None);
            let next = tasks.running().take().and_then(|running| running.next);
            if let Some((task, key)) = next {
                tasks.accept_with(task, key);
            }
        });
        if let Some(running) = self.running().as_mut()
            && running.task_id == task_id
        {
            running.abort = Some(work.abort_handle());
        }
    }

    /// One task from wherever it is to its end.
    async fn work(&self, record: &mut Record, cancel: &CancellationToken) {
        let task_id = record.task_id().to_owned();
        tracing::info!(task.id = task_id, "task begins");
        if !record.ended
            && let Some(end) = self.outbox.end(&task_id)
        {
            // An earlier agent was killed right after it had told the end.
            let leave = if end.success { leaves(record) } else { None };
            self.end(record, leave);
        }
        if !record.ended {
            let mut certificates = Vec::new();
            let rescue = rescue::Rescue::new(&self.around, self, cancel);
            let result = match record.task.clone().and_then(|task| task.kind) {
                Some(Kind::Deploy(_) | Kind::Wipe(_)) if rescue.is_loaded() => {
                    ended(rescue.restart_out_of_it(record).await, false)
                }
                Some(Kind::Deploy(task)) => {
                    let job = deploy::Deploy::new(&self.around, self, &task, cancel);
                    job.run(record)
                        .await
                        .map_or_else(|failure| ended(failure, record.touched), Ended::Success)
                }
                Some(Kind::Wipe(task)) => {
                    let job = wipe::Wipe::new(&self.around, self, &task, cancel);
                    let result = job.run(record, &mut certificates).await;
                    result.map_or_else(|failure| ended(failure, false), Ended::Success)
                }
                Some(Kind::Rescue(task)) => {
                    let result = rescue.run(record, task).await;
                    // Whoever asked for its end wants the restart: no later word keeps the machine here.
                    record.leaves_anyway = result.is_ok();
                    result.map_or_else(|failure| ended(failure, false), Ended::Success)
                }
                Some(Kind::Reboot(_)) => Ended::Success(Success::default()),
                None => Ended::Failure(Failure {
                    cause: "this agent does not know the kind of task".to_owned(),
                    remedy: "build the ramdisk again from the controller's version".to_owned(),
                    ..Failure::default()
                }),
            };
            let leave = match result {
                Ended::Success(_) => leaves(record),
                _ => None,
            };
            self.tell(result, certificates);
            self.end(record, leave);
            Drafts::of(&self.around.state, &task_id).clear();
        }
        if record.restart {
            if let Some(end) = self.outbox.end(&task_id) {
                tracing::info!(
                    task.id = task_id,
                    "waiting for the controller to keep the outcome, then leaving the ramdisk"
                );
                let refused = tokio::select! {
                    biased;
                    () = cancel.cancelled(), if !record.leaves_anyway => true,
                    () = self.outbox.acknowledged(&task_id, end.number) => {
                        cancel.is_cancelled() && !record.leaves_anyway
                    }
                };
                if refused {
                    return self.refused(record).await;
                }
            }
            let leave = if record.power_off {
                Leave::PowerOff
            } else {
                Leave::Restart
            };
            tracing::info!(task.id = task_id, ?leave, "the machine leaves the ramdisk");
            self.around.machine.leave(leave);
        }
    }

    /// Hands the outcome to the outbox. That comes before anything else: the outbox knows from then on that the task
    /// has ended, whatever happens to this process before [`Self::end`].
    fn tell(&self, result: Ended, certificates: Vec<WipeCertificate>) {
        if let Some(running) = self.running().as_mut() {
            running.ending = true;
        }
        self.outbox.push_outcome(Outcome {
            result: Some(result),
            certificates,
            ..Outcome::default()
        });
    }

    /// The outcome is in the outbox.
    fn end(&self, record: &mut Record, leave: Option<Leave>) {
        record.ended = true;
        record.restart = leave.is_some();
        record.power_off = leave == Some(Leave::PowerOff);
        // Nobody needs the secrets of the task any more.
        self.image_key.forget();
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
        if record.leaves_traces() {
            for trouble in self.disarm(record, false).await.troubles {
                tracing::error!(
                    cause = trouble.cause,
                    remedy = trouble.remedy,
                    "the disk of the cancelled deployment is not as it should be left"
                );
            }
        }
        record.restart = false;
        self.save(record);
    }

    /// The agent itself has failed inside of the task; the panic's own words are in the log.
    async fn fault(&self, record: &mut Record) {
        if record.ended || self.outbox.end(record.task_id()).is_some() {
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
        rescue::end_all(&Place::below(&self.around.root, &self.around.state)).await;
        if record.leaves_traces() {
            let disarmed = self.disarm(record, false).await;
            failure.head_cleared = disarmed.head_cleared;
            disarmed.tell(&mut failure.cause, &mut failure.remedy);
        }
        self.tell(Ended::Failure(failure), Vec::new());
        self.end(record, None);
    }

    /// Leaves the disk of a task without anything that boots and without secrets.
    async fn disarm(&self, record: &mut Record, hung: bool) -> Disarmed {
        if record.seeded && !record.ended {
            // An agent that is killed meanwhile must not go on as if they were there.
            record
                .finished
                .retain(|finished| !matches!(finished.step(), Step::Seed | Step::Guest));
            self.save(record);
        }
        self.around.machine.disarm(record, hung).await
    }

    fn save(&self, record: &Record) {
        if let Err(error) = self.file.save(record) {
            tracing::error!(%error, "cannot keep the state of the task; a restarted agent would begin it anew");
        }
    }

    /// What comes of a rescue that runs.
    fn renewed(&self) -> watch::Receiver<Option<RescueTask>> {
        let mut renewed = self.renewed.subscribe();
        // It may have come before anybody listened.
        renewed.mark_changed();
        renewed
    }

    fn reporter(&self) -> Reporter {
        Reporter::new(Arc::clone(&self.outbox))
    }
}

/// Whether what is left to do of the task needs the data key of an encrypted image.
fn needs_image_key(record: &Record) -> bool {
    match record.task.as_ref().and_then(|task| task.kind.as_ref()) {
        Some(Kind::Deploy(task)) if !record.written && !record.ended => {
            task.image.as_ref().and_then(image_key::id_of).is_some()
        }
        _ => false,
    }
}

/// What the machine does after the success of the task; none: it stays.
fn leaves(record: &Record) -> Option<Leave> {
    match record.task.as_ref().and_then(|task| task.kind.as_ref())? {
        Kind::Deploy(task) => task.reboot.then_some(Leave::Restart),
        Kind::Reboot(_) | Kind::Rescue(_) => Some(Leave::Restart),
        Kind::Wipe(task) => match task.after() {
            AfterWipe::Unspecified => None,
            AfterWipe::Restart => Some(Leave::Restart),
            AfterWipe::PowerOff => Some(Leave::PowerOff),
        },
    }
}

/// The answer to a task that comes while another one runs.
fn busy(running: &str) -> Outcome {
    let failure = Failure {
        cause: format!("the agent already works on another task ({running})"),
        remedy: "wait until the other deployment of this node has ended or cancel it, then deploy again"
            .to_owned(),
        retryable: true,
        ..Failure::default()
    };
    Outcome {
        result: Some(Ended::Failure(failure)),
        ..Outcome::default()
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
