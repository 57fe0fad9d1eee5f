//! Traces for OpenTelemetry, where somebody wants them: of requests, and of deployments.
//!
//! Spans are made where something has ended ([`requests`], `deployments`), wait in a queue of bounded length and are sent
//! by one task ([`run`]) to the collector of the configuration. Without one, nothing of all this is there. Spans are lossy:
//! when the collector is away or slow they are dropped, which is counted and logged, and nobody waits.

mod context;
mod deployments;
pub mod requests;
mod send;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;
use url::Url;

pub use send::run;

use crate::config::TelemetryConfig;

/// Spans that wait.
const QUEUE: usize = 4096;

/// Where spans go; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    endpoint: Url,
    queue: mpsc::Sender<SpanData>,
    waiting: Mutex<Option<mpsc::Receiver<SpanData>>>,
    /// For want of room, since it was looked at last.
    dropped: AtomicU64,
    /// In all.
    lost: AtomicU64,
}

impl Telemetry {
    /// As configured.
    #[must_use]
    pub fn new(config: &TelemetryConfig) -> Self {
        Self(config.otlp_endpoint.clone().map(|endpoint| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            Arc::new(Inner {
                endpoint,
                queue,
                waiting: Mutex::new(Some(waiting)),
                dropped: AtomicU64::new(0),
                lost: AtomicU64::new(0),
            })
        }))
    }

    /// Whether anybody wants spans.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands over a span that has ended; never waits.
    fn tell(&self, span: SpanData) {
        if let Some(inner) = &self.0
            && inner.queue.try_send(span).is_err()
        {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The other end of the queue, once.
    fn take_waiting(&self) -> Option<(Arc<Inner>, mpsc::Receiver<SpanData>)> {
        let inner = self.0.as_ref()?;
        let waiting = inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some((Arc::clone(inner), waiting))
    }
}
