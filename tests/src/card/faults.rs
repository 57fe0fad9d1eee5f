//! What is wrong with the card, as somebody has told it ([`control`](super::control)): a layer around all of its services,
//! and a few switches that the rest of it looks at.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::{mpsc, watch};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Shared by all parts of the card.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    switches: Mutex<Switches>,
    lost: watch::Sender<bool>,
    restart: mpsc::Sender<u8>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.switches.fmt(f)
    }
}

/// How the card behaves at this moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switches {
    /// Waited before each call.
    pub delay: Duration,
    /// Calls that will fail.
    pub failing: Option<Failing>,
    /// How disks show up that are plugged in from now on.
    pub looks: Looks,
    /// Calls that have come.
    pub calls: u64,
}

/// Calls to come that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// So many.
    pub left: u32,
    /// With this status.
    pub code: Code,
    /// After they have been done, as when the answer gets lost.
    pub done: bool,
}

/// How a disk shows up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Looks {
    /// As it should.
    #[default]
    Right,
    /// With half of its size.
    WrongSize,
    /// With a serial number that nobody has asked for.
    WrongSerial,
    /// Not at all, although the card says so.
    Never,
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Each call waits.
    Slow(Duration),
    /// The next calls fail.
    Fail(Failing),
    /// How disks show up.
    Present(Looks),
    /// The storage is gone, or back.
    Lost(bool),
    /// The card's process ends, with this code.
    Restart(u8),
}

impl Faults {
    /// A healthy card. What comes out of `restart` ends it.
    pub fn none(restart: mpsc::Sender<u8>) -> Self {
        let (lost, _) = watch::channel(false);
        Self(Arc::new(Shared {
            switches: Mutex::default(),
            lost,
            restart,
        }))
    }

    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        *self.locked()
    }

    /// Whether the storage is gone, now and from now on.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.0.lost.subscribe()
    }

    /// Does as it is told.
    pub fn put(&self, fault: Fault) {
        match fault {
            Fault::Slow(delay) => self.locked().delay = delay,
            Fault::Fail(failing) => self.locked().failing = Some(failing).filter(|failing| failing.left > 0),
            Fault::Present(looks) => self.locked().looks = looks,
            Fault::Lost(lost) => drop(self.0.lost.send_replace(lost)),
            // Full means that it ends already.
            Fault::Restart(code) => self.0.restart.try_send(code).unwrap_or_default(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Switches> {
        self.0.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has come: how long it waits, and how it fails.
    fn call(&self) -> (Duration, Option<Failing>) {
        let mut switches = self.locked();
        switches.calls += 1;
        let fails = switches.failing;
        switches.failing = fails.and_then(|failing| {
            let left = failing.left.checked_sub(1).filter(|left| *left > 0)?;
            Some(Failing { left, ..failing })
        });
        (switches.delay, fails)
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty {
            inner,
            faults: self.clone(),
        }
    }
}

/// A service with faults.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that is ready.
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let (delay, fails) = self.faults.call();
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let status = fails.map(|failing| Status::new(failing.code, "the card was told to fail"));
            match (status, fails) {
                (Some(status), Some(Failing { done: false, .. })) => Ok(status.into_http()),
                (Some(status), _) => ready.call(request).await.map(|_| status.into_http()),
                (None, _) => ready.call(request).await,
            }
        })
    }
}
