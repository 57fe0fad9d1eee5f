//! The durable outbox: step events and the outcome of a task, numbered, kept until the controller has acknowledged
//! them, also over a restart of the agent.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use imprint_proto::agent::v1::{
    AgentMessage, Outcome, StepEvent, StepKind, agent_message::Message as Kind, outcome::Result as Ended,
};
use prost::Message as _;
use tokio::sync::watch;

use crate::identity::private_file;

/// Retries are told in the words of the engine, which thins them out; a controller that is away for hours must not
/// make the agent collect without end.
const MOST_PENDING: usize = 2000;

/// Refused tasks that a controller which does not listen may leave here.
const MOST_REFUSED: usize = 16;

/// What is kept in the file.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(string, tag = "1")]
    task_id: String,
    /// The last number given.
    #[prost(uint64, tag = "2")]
    last: u64,
    #[prost(uint64, tag = "3")]
    acknowledged: u64,
    #[prost(message, repeated, tag = "4")]
    pending: Vec<AgentMessage>,
    /// How the task ended, also once that is acknowledged.
    #[prost(message, optional, tag = "5")]
    end: Option<End>,
    /// Outcomes of tasks that were refused, each with a task of its own.
    #[prost(message, repeated, tag = "6")]
    refused: Vec<Outcome>,
}

/// The outcome of the task, in short.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct End {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Whether it is a success.
    #[prost(bool, tag = "2")]
    pub success: bool,
}

/// Messages that must arrive.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    kept: Mutex<Kept>,
    changed: watch::Sender<u64>,
}

impl Outbox {
    /// Opens the outbox of a state folder, with what an earlier agent left in it.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn open(state: &Path) -> io::Result<Self> {
        let path = state.join("outbox.bin");
        let kept = match private_file::read(&path)? {
            Some(bytes) => Kept::decode(bytes.as_slice())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            None => Kept::default(),
        };
        Ok(Self {
            path,
            kept: Mutex::new(kept),
            changed: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, kept: &Kept) {
        if let Err(error) = private_file::write(&self.path, &kept.encode_to_vec()) {
            tracing::error!(path = %self.path.display(), %error, "cannot keep the outbox; a restart of the agent would lose events");
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// Begins the numbers of a task; one that has begun goes on.
    pub fn begin(&self, task_id: &str) {
        let mut kept = self.lock();
        if kept.task_id != task_id {
            *kept = Kept {
                task_id: task_id.to_owned(),
                refused: std::mem::take(&mut kept.refused),
                ..Kept::default()
            };
            self.save(&kept);
        }
    }

    /// Adds a step event; its task and number are filled in here.
    pub fn push_step(&self, mut event: StepEvent) {
        let mut kept = self.lock();
        if kept.pending.len() >= MOST_PENDING && event.kind() == StepKind::Retrying {
            return;
        }
        kept.last += 1;
        event.task_id.clone_from(&kept.task_id);
        event.sequence = kept.last;
        kept.pending.push(AgentMessage {
            message: Some(Kind::Step(event)),
        });
        self.save(&kept);
    }

    /// Adds the outcome; the answer is its number. A task ends once: a second outcome is dropped. That the task has
    /// ended is kept in the same moment as the outcome itself, and for longer than it.
    pub fn push_outcome(&self, mut outcome: Outcome) -> u64 {
        let mut kept = self.lock();
        if let Some(end) = kept.end {
            return end.number;
        }
        kept.last += 1;
        outcome.task_id.clone_from(&kept.task_id);
        outcome.sequence = kept.last;
        let end = End {
            number: kept.last,
            success: matches!(outcome.result, Some(Ended::Success(_))),
        };
        kept.end = Some(end);
        kept.pending.push(AgentMessage {
            message: Some(Kind::Outcome(Box::new(outcome))),
        });
        self.save(&kept);
        end.number
    }

    /// Adds the outcome of another task than the one whose messages are here: one that was never begun. Its first
    /// message is its last.
    pub fn refuse(&self, task_id: &str, mut outcome: Outcome) {
        let mut kept = self.lock();
        if kept.task_id == task_id || kept.refused.iter().any(|refused| refused.task_id == task_id) {
            return;
        }
        task_id.clone_into(&mut outcome.task_id);
        outcome.sequence = 1;
        kept.refused.push(outcome);
        let excess = kept.refused.len().saturating_sub(MOST_REFUSED);
        kept.refused.drain(..excess);
        self.save(&kept);
    }

    /// Whether the task was refused, and the controller may not know it yet.
    #[must_use]
    pub fn has_refused(&self, task_id: &str) -> bool {
        self.lock()
            .refused
            .iter()
            .any(|refused| refused.task_id == task_id)
    }

    /// Outcomes of refused tasks that are not acknowledged.
    #[must_use]
    pub fn refusals(&self) -> Vec<Outcome> {
        self.lock().refused.clone()
    }

    /// The controller has all up to this number. Words about another task are old.
    pub fn acknowledge(&self, task_id: &str, number: u64) {
        let mut kept = self.lock();
        if kept.refused.iter().any(|refused| refused.task_id == task_id) {
            kept.refused.retain(|refused| refused.task_id != task_id);
            self.save(&kept);
            return;
        }
        if kept.task_id != task_id || number <= kept.acknowledged {
            return;
        }
        kept.acknowledged = number.min(kept.last);
        let acknowledged = kept.acknowledged;
        kept.pending.retain(|message| sequence(message) > acknowledged);
        self.save(&kept);
    }

    /// All that is not acknowledged and has a number above `sent`.
    #[must_use]
    pub fn pending_after(&self, sent: u64) -> Vec<AgentMessage> {
        self.lock()
            .pending
            .iter()
            .filter(|message| sequence(message) > sent)
            .cloned()
            .collect()
    }

    /// The task whose messages are here, also when all are acknowledged.
    #[must_use]
    pub fn task(&self) -> String {
        self.lock().task_id.clone()
    }

    /// The task whose messages are here, while any is not acknowledged.
    #[must_use]
    pub fn unfinished_task(&self) -> Option<String> {
        let kept = self.lock();
        (!kept.pending.is_empty()).then(|| kept.task_id.clone())
    }

    /// Numbers of the task whose messages are here: the last one given, and up to which the controller has all.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        let kept = self.lock();
        (kept.last, kept.acknowledged)
    }

    /// How the task has ended, whether that is acknowledged or not; none while it has not.
    #[must_use]
    pub fn end(&self, task_id: &str) -> Option<End> {
        let kept = self.lock();
        kept.end.filter(|_| kept.task_id == task_id)
    }

    /// Tells of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until the controller has this number of the task.
    pub async fn acknowledged(&self, task_id: &str, number: u64) {
        let mut changes = self.changes();
        loop {
            {
                let kept = self.lock();
                if kept.task_id != task_id || kept.acknowledged >= number {
                    return;
                }
            }
            if changes.changed().await.is_err() {
                return; // the sender is part of self, which is borrowed
            }
        }
    }
}

/// The number of a durable message; 0 of any other.
#[must_use]
pub fn sequence(message: &AgentMessage) -> u64 {
    match &message.message {
        Some(Kind::Step(event)) => event.sequence,
        Some(Kind::Outcome(outcome)) => outcome.sequence,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(detail: &str) -> StepEvent {
        StepEvent {
            detail: detail.into(),
            ..StepEvent::default()
        }
    }

    fn numbers(outbox: &Outbox, sent: u64) -> Vec<u64> {
        outbox.pending_after(sent).iter().map(sequence).collect()
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_nothing_is_lost_or_sent_twice() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T1");
        outbox.push_step(event("a"));
        outbox.push_step(event("b"));
        outbox.acknowledge("T1", 1);
        outbox.acknowledge("T0", 9);
        drop(outbox);

        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T1");
        assert_eq!(numbers(&outbox, 0), [2]);
        outbox.push_step(event("c"));
        assert_eq!(outbox.end("T1"), None);
        assert_eq!(outbox.push_outcome(Outcome::default()), 4);
        let end = Some(End {
            number: 4,
            success: false,
        });
        assert_eq!((outbox.end("T1"), outbox.end("T2")), (end, None));
        assert_eq!(outbox.push_outcome(Outcome::default()), 4, "a task ends once");
        assert_eq!(
            (numbers(&outbox, 0), numbers(&outbox, 2)),
            (vec![2, 3, 4], vec![3, 4])
        );
        outbox.acknowledge("T1", 99);
        outbox.acknowledge("T1", 1);
        assert_eq!((numbers(&outbox, 0), outbox.unfinished_task()), (vec![], None));
        drop(outbox);
        let outbox = Outbox::open(state.path()).unwrap();
        assert_eq!(outbox.end("T1"), end, "an acknowledged end is still known");
        outbox.begin("T2");
        assert_eq!(outbox.end("T2"), None);
        outbox.push_step(event("d"));
        assert_eq!(numbers(&outbox, 0), [1], "each task counts from 1");
        let pending = outbox.pending_after(0);
        assert!(
            matches!(&pending[0].message, Some(Kind::Step(step)) if step.task_id == "T2" && step.detail == "d")
        );
    }

    #[test]
    fn a_refusal_waits_beside_the_task_until_it_is_acknowledged() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T1");
        outbox.push_step(event("a"));
        for refused in ["T1", "T2", "T2"] {
            outbox.refuse(refused, Outcome::default());
        }
        assert_eq!(
            numbers(&outbox, 0),
            [1],
            "the task's own messages are as they were"
        );
        drop(outbox);
        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T3");
        let refusals = outbox.refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!((refusals[0].task_id.as_str(), refusals[0].sequence), ("T2", 1));
        assert!(outbox.has_refused("T2") && !outbox.has_refused("T1"));
        outbox.acknowledge("T2", 1);
        assert!(outbox.refusals().is_empty());
        for number in 0..100 {
            outbox.refuse(&format!("R{number}"), Outcome::default());
        }
        assert_eq!(outbox.refusals().len(), MOST_REFUSED);
        assert!(outbox.has_refused("R99"));
    }

    #[test]
    fn retries_do_not_pile_up_without_end() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T");
        outbox.lock().pending = vec![AgentMessage::default(); MOST_PENDING];
        outbox.push_step(StepEvent {
            kind: StepKind::Retrying as i32,
            ..StepEvent::default()
        });
        assert_eq!(outbox.pending_after(0).len(), 0);
        outbox.push_step(event("finished"));
        assert_eq!(outbox.pending_after(0).len(), 1);
    }

    #[tokio::test]
    async fn waits_for_the_acknowledgement() {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(state.path()).unwrap();
        outbox.begin("T");
        let number = outbox.push_outcome(Outcome::default());
        tokio::join!(outbox.acknowledged("T", number), async {
            outbox.acknowledge("T", number);
        });
    }

    #[test]
    fn a_broken_file_is_an_error_and_no_empty_outbox() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("outbox.bin"), b"\xff\xff\xff").unwrap();
        assert!(Outbox::open(state.path()).is_err());
    }
}
