//! The open sessions of agents, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use imprint_proto::agent::v1::ControllerMessage;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::decide::Agent;

/// What a session sends. On the heap, as a queue has room for dozens of them before there is the first: a session that has
/// nothing to say is small.
#[derive(Debug)]
pub enum Outgoing {
    /// A message for the agent.
    Message(Box<ControllerMessage>),
    /// Why the session ends.
    LastWord(Box<Status>),
}

/// A session's place in the hub.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The node.
    pub node_id: String,
    number: u64,
    /// Cancelled when another session takes over.
    pub superseded: CancellationToken,
}

#[derive(Debug)]
struct Session {
    number: u64,
    outbox: mpsc::Sender<Outgoing>,
    superseded: CancellationToken,
    ca_pem: Arc<str>,
    opened_at: Timestamp,
    busy_with: Option<String>,
    task_sent: Option<(String, Timestamp)>,
    cancel_sent: Option<String>,
}

impl Session {
    fn sent_at(&self, task_id: &str) -> Option<Timestamp> {
        self.task_sent
            .as_ref()
            .filter(|(sent, _)| sent == task_id)
            .map(|(_, at)| *at)
    }
}

/// An agent may be just about to end an older task, and then leaves a new one aside: it is told again after this.
const RESEND_AFTER: SignedDuration = SignedDuration::from_secs(3);

fn is_long_ago(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) >= RESEND_AFTER
}

/// How far a task is, by the figures that may only rise.
#[derive(Debug)]
struct Moved {
    task_id: String,
    done: u64,
    fetched: u64,
    at: Timestamp,
}

/// What the figures of a task are about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub task_id: String,
    pub deployment_id: String,
    pub project_id: String,
    /// When the table said so.
    pub asked_at: Timestamp,
}

/// How long that is taken for true: the deployment may be about to end just when the table is asked.
const SUBJECT_HOLDS: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<String, Session>,
    moved: HashMap<String, Moved>,
    subjects: HashMap<String, Subject>,
    opened: u64,
}

/// The open sessions; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Mutex<Inner>>);

impl Hub {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no code panics while it holds the hub")
    }

    /// Opens a session; a former one of the same node is told to end.
    #[must_use]
    pub fn open(
        &self,
        node_id: &str,
        outbox: mpsc::Sender<Outgoing>,
        ca_pem: &Arc<str>,
        now: Timestamp,
    ) -> Seat {
        let mut inner = self.inner();
        inner.opened += 1;
        let number = inner.opened;
        let superseded = CancellationToken::new();
        let session = Session {
            number,
            outbox,
            superseded: superseded.clone(),
            ca_pem: Arc::clone(ca_pem),
            opened_at: now,
            // Nothing is sent before it is known what the agent holds.
            busy_with: Some(String::new()),
            task_sent: None,
            cancel_sent: None,
        };
        if let Some(former) = inner.sessions.insert(node_id.to_owned(), session) {
            former.superseded.cancel();
        }
        Seat {
            node_id: node_id.to_owned(),
            number,
            superseded,
        }
    }

    /// Closes a session; false when another one has taken its place.
    #[must_use]
    pub fn close(&self, seat: &Seat) -> bool {
        let mut inner = self.inner();
        let mine = inner
            .sessions
            .get(&seat.node_id)
            .is_some_and(|session| session.number == seat.number);
        if mine {
            inner.sessions.remove(&seat.node_id);
        }
        mine
    }

    /// Ends the session of a node that is not known any more, or is switched off: its agent could be silent for a while
    /// before anybody noticed.
    pub(crate) fn dismiss(&self, node_id: &str) {
        if let Some(session) = self.inner().sessions.get(node_id) {
            session.superseded.cancel();
        }
    }

    /// Whether the agent's session is open.
    #[must_use]
    pub fn is_connected(&self, node_id: &str) -> bool {
        self.inner().sessions.contains_key(node_id)
    }

    /// Since when the agent's session is open.
    pub(super) fn called_at(&self, node_id: &str) -> Option<Timestamp> {
        let inner = self.inner();
        inner.sessions.get(node_id).map(|session| session.opened_at)
    }

    /// How many sessions are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.inner().sessions.len()
    }

    /// Where the agent is, as far as a task is concerned.
    #[must_use]
    pub fn agent(&self, node_id: &str, task_id: &str) -> Agent {
        self.inner()
            .sessions
            .get(node_id)
            .map_or(Agent::Away, |session| Agent::Connected {
                busy: session.busy_with.is_some(),
                task_sent: session.sent_at(task_id).is_some(),
                cancel_sent: session.cancel_sent.as_deref() == Some(task_id),
            })
    }

    /// Notes what the agent of a new session holds: an older task that it works on, or nothing that matters.
    pub(super) fn settle_busy(&self, seat: &Seat, task_id: Option<&str>) {
        let mut inner = self.inner();
        let session = inner.sessions.get_mut(&seat.node_id);
        if let Some(session) = session.filter(|session| session.number == seat.number) {
            session.busy_with = task_id.map(ToOwned::to_owned);
        }
    }

    /// Notes an older task that the agent holds.
    pub(super) fn set_busy(&self, node_id: &str, task_id: &str) {
        if let Some(session) = self.inner().sessions.get_mut(node_id) {
            session.busy_with = Some(task_id.to_owned());
        }
    }

    /// Notes that an older task is over.
    pub(super) fn clear_busy(&self, node_id: &str, task_id: &str) -> bool {
        let mut inner = self.inner();
        let Some(session) = inner.sessions.get_mut(node_id) else {
            return false;
        };
        let mine = session.busy_with.as_deref() == Some(task_id);
        if mine {
            session.busy_with = None;
        }
        mine
    }

    /// Whether the task was sent so long ago that it may be sent again.
    pub(super) fn may_resend(&self, node_id: &str, task_id: &str, now: Timestamp) -> bool {
        let inner = self.inner();
        let sent_at = inner
            .sessions
            .get(node_id)
            .and_then(|session| session.sent_at(task_id));
        sent_at.is_some_and(|at| is_long_ago(at, now))
    }

    /// The CA for a task of this node, if it is not sent just now; notes it as sent.
    pub(super) fn claim_task(&self, node_id: &str, task_id: &str, now: Timestamp) -> Option<Arc<str>> {
        let mut inner = self.inner();
        let session = inner.sessions.get_mut(node_id)?;
        if session.sent_at(task_id).is_some_and(|at| !is_long_ago(at, now)) {
            return None;
        }
        session.task_sent = Some((task_id.to_owned(), now));
        Some(Arc::clone(&session.ca_pem))
    }

    /// Takes back a note of [`Hub::claim_task`]: the task could not be made.
    pub(super) fn unclaim_task(&self, node_id: &str) {
        if let Some(session) = self.inner().sessions.get_mut(node_id) {
            session.task_sent = None;
        }
    }

    /// Notes that the cancellation is sent; false when it was already.
    pub(super) fn claim_cancel(&self, node_id: &str, task_id: &str) -> bool {
        let mut inner = self.inner();
        let Some(session) = inner.sessions.get_mut(node_id) else {
            return false;
        };
        if session.cancel_sent.as_deref() == Some(task_id) {
            return false;
        }
        session.cancel_sent = Some(task_id.to_owned());
        true
    }

    /// Sends to the open session, if there is one. One that does not read is closed: the agent calls again.
    pub(super) fn send(&self, node_id: &str, message: ControllerMessage) {
        let inner = self.inner();
        let Some(session) = inner.sessions.get(node_id) else {
            return;
        };
        if session
            .outbox
            .try_send(Outgoing::Message(Box::new(message)))
            .is_err()
        {
            tracing::warn!(
                node.id = node_id,
                "the agent does not read its session, which is closed"
            );
            session.superseded.cancel();
        }
    }

    /// Notes figures of a task; true when they have moved.
    pub(super) fn note_progress(
        &self,
        node_id: &str,
        task_id: &str,
        done: u64,
        fetched: u64,
        at: Timestamp,
    ) -> bool {
        let mut inner = self.inner();
        let known = inner.moved.get(node_id).filter(|moved| moved.task_id == task_id);
        let moved = known.is_none_or(|known| done > known.done || fetched > known.fetched);
        if moved {
            inner.moved.insert(
                node_id.to_owned(),
                Moved {
                    task_id: task_id.to_owned(),
                    done,
                    fetched,
                    at,
                },
            );
        }
        moved
    }

    /// When the figures of a task moved last.
    pub(super) fn moved_at(&self, node_id: &str, task_id: &str) -> Option<Timestamp> {
        self.inner()
            .moved
            .get(node_id)
            .filter(|moved| moved.task_id == task_id)
            .map(|moved| moved.at)
    }

    /// The clock was set back to `now`: what was later than that was now.
    pub(super) fn nothing_after(&self, now: Timestamp) {
        let mut inner = self.inner();
        for session in inner.sessions.values_mut() {
            session.opened_at = session.opened_at.min(now);
            if let Some((_, sent_at)) = &mut session.task_sent {
                *sent_at = (*sent_at).min(now);
            }
        }
        for moved in inner.moved.values_mut() {
            moved.at = moved.at.min(now);
        }
    }

    /// What the figures of a task are about, if that was noted a short time ago.
    pub(super) fn subject(&self, node_id: &str, task_id: &str, now: Timestamp) -> Option<Subject> {
        let inner = self.inner();
        let known = inner.subjects.get(node_id)?;
        let holds = now.duration_since(known.asked_at).abs() < SUBJECT_HOLDS;
        (known.task_id == task_id && holds).then(|| known.clone())
    }

    /// Notes what the figures of a node are about.
    pub(super) fn set_subject(&self, node_id: &str, subject: Subject) {
        self.inner().subjects.insert(node_id.to_owned(), subject);
    }

    /// Forgets the figures of a node, and what they were about.
    pub(super) fn forget_progress(&self, node_id: &str) {
        let mut inner = self.inner();
        inner.moved.remove(node_id);
        inner.subjects.remove(node_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_figures_are_about_is_asked_again_in_time() {
        let hub = Hub::default();
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let noted = || Subject {
            task_id: "t".to_owned(),
            deployment_id: "d".to_owned(),
            project_id: "p".to_owned(),
            asked_at: now,
        };
        let known = |task: &str, after: i64| hub.subject("n", task, now + SignedDuration::from_secs(after));
        hub.set_subject("n", noted());
        assert!(known("t", 0).is_some() && known("t", 9).is_some());
        for (task, after) in [("other", 0), ("t", 10), ("t", -10)] {
            assert!(known(task, after).is_none(), "{task} after {after} s");
        }
        hub.forget_progress("n");
        assert!(known("t", 0).is_none());
    }
}
