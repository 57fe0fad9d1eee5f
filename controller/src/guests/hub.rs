//! The open sessions of guest plugins, and who waits for an answer of one. In memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imprint_proto::agent::v1::{GuestDisk, GuestOrder};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What a session sends. On the heap, as a queue has room for dozens of them before there is the first.
pub type Outgoing = Box<GuestOrder>;

/// A session's place in the hub.
#[derive(Debug, Clone)]
pub struct GuestSeat {
    /// The node.
    pub node_id: String,
    /// The deployment of its certificate.
    pub deployment_id: String,
    number: u64,
    /// Cancelled when another session takes over, or the certificate is good no more.
    pub ended: CancellationToken,
}

/// What an order is made for.
#[derive(Debug, Clone)]
pub(super) struct Reachable {
    pub(super) deployment_id: String,
    pub(super) boot_id: String,
    pub(super) sealing_key: Vec<u8>,
    pub(super) outbox: mpsc::Sender<Outgoing>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    ended: CancellationToken,
    reachable: Reachable,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<String, Session>,
    opened: u64,
    /// By order: who waits for the answer.
    waiting: HashMap<String, oneshot::Sender<()>>,
    /// By order: whose disks are looked at, and who waits for them.
    looking: HashMap<String, (String, oneshot::Sender<Vec<GuestDisk>>)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Hub(Arc<Mutex<Inner>>);

impl Hub {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session; a former one of the node is told to end.
    pub(super) fn open(&self, node_id: &str, reachable: Reachable) -> GuestSeat {
        let mut inner = self.inner();
        inner.opened += 1;
        let seat = GuestSeat {
            node_id: node_id.to_owned(),
            deployment_id: reachable.deployment_id.clone(),
            number: inner.opened,
            ended: CancellationToken::new(),
        };
        let session = Session {
            number: seat.number,
            ended: seat.ended.clone(),
            reachable,
        };
        if let Some(former) = inner.sessions.insert(node_id.to_owned(), session) {
            former.ended.cancel();
        }
        seat
    }

    #[cfg(test)]
    pub(super) fn seat_for_test(&self, node_id: &str, deployment_id: &str) -> GuestSeat {
        GuestSeat {
            node_id: node_id.to_owned(),
            deployment_id: deployment_id.to_owned(),
            number: self.inner().opened + 1,
            ended: CancellationToken::new(),
        }
    }

    /// Closes a session, unless another one has taken its place.
    pub(super) fn close(&self, seat: &GuestSeat) {
        let mut inner = self.inner();
        let mine = inner
            .sessions
            .get(&seat.node_id)
            .is_some_and(|session| session.number == seat.number);
        if mine {
            inner.sessions.remove(&seat.node_id);
        }
    }

    /// Ends the session of a node whose certificate is good no more.
    pub(super) fn end(&self, node_id: &str) {
        if let Some(session) = self.inner().sessions.remove(node_id) {
            session.ended.cancel();
        }
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.inner().sessions.len()
    }

    pub(super) fn is_connected(&self, node_id: &str) -> bool {
        self.inner().sessions.contains_key(node_id)
    }

    pub(super) fn reach(&self, node_id: &str) -> Option<Reachable> {
        self.inner()
            .sessions
            .get(node_id)
            .map(|session| session.reachable.clone())
    }

    /// Rings when the order has its answer.
    pub(super) fn wait_for(&self, order_id: &str) -> oneshot::Receiver<()> {
        let (bell, ring) = oneshot::channel();
        self.inner().waiting.insert(order_id.to_owned(), bell);
        ring
    }

    /// Brings the disks of a node, when it has told them.
    pub(super) fn look(&self, node_id: &str, order_id: &str) -> oneshot::Receiver<Vec<GuestDisk>> {
        let (bell, ring) = oneshot::channel();
        let looking = (node_id.to_owned(), bell);
        self.inner().looking.insert(order_id.to_owned(), looking);
        ring
    }

    /// A node has told its disks; an order of another node is not this one's to answer.
    pub(super) fn tell(&self, node_id: &str, order_id: &str, disks: Vec<GuestDisk>) {
        let mut inner = self.inner();
        if inner.looking.get(order_id).is_some_and(|(of, _)| of == node_id)
            && let Some((_, bell)) = inner.looking.remove(order_id)
        {
            // Whoever waited may have gone.
            let _ = bell.send(disks);
        }
    }

    /// Nobody waits any longer.
    pub(super) fn looked(&self, order_id: &str) {
        self.inner().looking.remove(order_id);
    }

    /// The order is answered, or nobody waits any longer.
    pub(super) fn answered(&self, order_id: &str) {
        if let Some(bell) = self.inner().waiting.remove(order_id) {
            // Whoever waited may have gone.
            let _ = bell.send(());
        }
    }
}
