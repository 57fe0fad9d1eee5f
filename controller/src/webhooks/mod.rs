//! Events, sent to where somebody waits for them: CloudEvents over HTTP, signed, in order, at least once.
//!
//! Each webhook is a cursor into the event log. One task for each reads the log behind its cursor, sends the first event
//! that is for it, and moves the cursor when that was taken with a 2xx. Nothing else is kept: what was not taken is in
//! the log. A message that is refused is sent again, later and later, and nothing behind it is sent meanwhile; when it
//! was refused for too long, the webhook is disabled and an event says why. Its cursor stays, so that enabling it loses
//! nothing.
//!
//! - [`message`](message): what is sent, and its signature. Pure.
//! - [`schedule`](schedule): what follows a refusal. Pure.
//! - `table`: the rows; `run`: the tasks; `send`: one message.
//!
//! Addresses are looked at before anything is sent to them, as those of imports are ([`crate::ingest::fetch`]), and no
//! redirect is followed. The secret of a webhook is made here, shown once, and kept wrapped as the keys of images are.

mod error;
mod message;
mod record;
mod run;
mod schedule;
mod send;
mod table;
#[cfg(test)]
mod tests;
mod wanted;

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::watch;
use url::Url;

pub use error::WebhookError;
pub use record::{Webhook, WebhookState};
pub use run::run;
pub use send::TestResult;
pub(crate) use table::context;
pub use table::{Created, WebhookPage};
pub use wanted::WantedWebhook;

use crate::{
    clock::Clock,
    config::WebhookConfig,
    events::EventLog,
    identity::ImageKeys,
    ingest::fetch::{AddressPolicy, Fetcher, Resolver},
    metrics::Metrics,
};

/// All webhooks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    keys: ImageKeys,
    metrics: Metrics,
    fetcher: Fetcher,
    config: WebhookConfig,
    /// What messages say they come from.
    source: Url,
    /// Rung when a webhook was made or changed.
    changed: watch::Sender<u64>,
}

impl Webhooks {
    /// The webhooks of the database.
    ///
    /// # Errors
    /// When the CAs of the configuration cannot be read.
    pub fn new(
        db: SqlitePool,
        clock: Clock,
        events: EventLog,
        keys: ImageKeys,
        metrics: Metrics,
        config: WebhookConfig,
        source: Url,
    ) -> std::io::Result<Self> {
        let mut authorities = Vec::new();
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path)?;
            authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(std::io::Error::other)?;
        }
        let policy = AddressPolicy::new(config.allow_networks.clone());
        Ok(Self(Arc::new(Inner {
            db,
            clock,
            events,
            keys,
            metrics,
            fetcher: Fetcher::new(policy, Resolver::system(), authorities),
            config,
            source,
            changed: watch::Sender::new(0),
        })))
    }

    fn ring(&self) {
        self.0.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}
