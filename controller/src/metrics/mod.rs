//! Figures for Prometheus: how many there are of what, how long things take, and what goes wrong.
//!
//! Three sources. What *is* (nodes by state, open sessions, queues) is read when somebody asks ([`standing`]). What
//! *happened* (steps, retries, missed deadlines, bytes) is counted by one follower of the event log ([`follow`]), so that
//! no other part knows of figures. Requests are measured where they come in ([`requests`]), errors of database and store
//! where they are met ([`faults`]).
//!
//! Names, types and labels are a contract: `metrics.txt` beside the crate and `docs/metrics.md` have them, and a test
//! compares both with what is served. Values of labels come from fixed lists, never from nodes, images or callers.

mod declared;
mod faults;
mod follow;
mod labels;
pub mod requests;
mod standing;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::text, registry::Registry};

pub use declared::Families;
pub use faults::{database_error, met, store_error};
pub use follow::run;
use labels::BuildLabels;

use crate::{app::App, clock::Clock, events::DatabaseError};

/// What the text of [`Metrics::render`] is, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of this controller; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    families: Families,
    /// One asks at a time: what is, is read and shown together.
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Figures that begin with zero, of a controller that starts now.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let mut registry = Registry::with_prefix("imprint");
        let families = Families::default();
        families.register(&mut registry);
        families
            .build
            .get_or_create(&BuildLabels {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        families.started.set(clock.now().as_second());
        Self(Arc::new(Inner {
            registry,
            families,
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// The figures themselves.
    #[must_use]
    pub fn families(&self) -> &Families {
        &self.0.families
    }

    /// A message was sent to a webhook.
    pub fn delivered(&self, taken: bool) {
        let result = if taken { "delivered" } else { "refused" };
        let deliveries = &self.0.families.webhook_deliveries;
        deliveries.get_or_create(&labels::ResultLabels { result }).inc();
    }

    /// Everything in OpenMetrics text.
    pub async fn render(&self, app: &App) -> Result<String, DatabaseError> {
        let _turn = self.0.turn.lock().await;
        standing::read(app, &self.0.families).await?;
        let mut page = String::with_capacity(64 << 10);
        text::encode(&mut page, &self.0.registry).expect("a string takes what is written to it");
        Ok(page)
    }
}
