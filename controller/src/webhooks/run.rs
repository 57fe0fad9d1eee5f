//! The tasks: one for each active webhook.

use std::{collections::HashMap, time::Duration};

use jiff::SignedDuration;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Webhook, WebhookError, WebhookState, Webhooks,
    message::Message,
    record::MISSED,
    schedule::{self, Patience, Refused, Then},
    table,
};
use crate::{
    api::rest::problem::chain,
    app::App,
    events::{Author, Event, EventQuery, NewEvent, doing},
};

/// How long nothing is tried after the database or the secret has failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Events that are read at once.
const PAGE: u32 = 500;

struct Running {
    version: i64,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Sends events to all active webhooks until the controller ends.
pub async fn run(app: App) {
    let webhooks = app.webhooks.clone();
    let mut changed = webhooks.0.changed.subscribe();
    let mut running: HashMap<String, Running> = HashMap::new();
    loop {
        changed.borrow_and_update();
        let wait = match webhooks.settle(&mut running, &app.shutdown).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(error = %chain(&error), "the webhooks could not be read");
                Some(AGAIN)
            }
        };
        tokio::select! {
            () = app.shutdown.cancelled() => break,
            _ = changed.changed() => {}
            () = pause(wait) => {}
        }
    }
    for (_, one) in running {
        one.stop.cancel();
        if let Err(error) = one.task.await {
            tracing::error!(%error, "the task of a webhook died");
        }
    }
}

async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

impl Webhooks {
    /// Starts and ends tasks, so that each active webhook has one that knows its newest version.
    async fn settle(
        &self,
        running: &mut HashMap<String, Running>,
        shutdown: &CancellationToken,
    ) -> Result<(), WebhookError> {
        let wanted: Vec<Webhook> = sqlx::query_as("SELECT * FROM webhooks WHERE state = 'active'")
            .fetch_all(&self.0.db)
            .await
            .map_err(doing("read the webhooks"))?;
        let is_wanted = |id: &String, one: &Running| {
            let same = |webhook: &Webhook| webhook.id == *id && webhook.version == one.version;
            wanted.iter().any(same)
        };
        let ended: Vec<String> = running
            .iter()
            .filter(|(id, one)| !is_wanted(id, one) || one.task.is_finished())
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            if let Some(one) = running.remove(&id) {
                one.stop.cancel();
                // Two at once would send out of order.
                if let Err(error) = one.task.await {
                    tracing::error!(%error, webhook.id = id, "the task of a webhook died");
                }
            }
        }
        for webhook in wanted {
            if running.contains_key(&webhook.id) {
                continue;
            }
            let stop = shutdown.child_token();
            let (id, version) = (webhook.id.clone(), webhook.version);
            let task = tokio::spawn(self.clone().serve(webhook, stop.clone()));
            running.insert(id, Running { version, stop, task });
        }
        Ok(())
    }

    /// The life of one webhook's task.
    async fn serve(self, mut webhook: Webhook, stop: CancellationToken) {
        let mut bell = self.0.events.bell();
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.deliver(&mut webhook, &mut bell) => ended,
            };
            match ended {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(
                        webhook.id = webhook.id, error = %chain(&error), "events could not be sent to a webhook"
                    );
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
            }
        }
    }

    /// Sends one event after the other. Returns when the webhook is disabled.
    async fn deliver(
        &self,
        webhook: &mut Webhook,
        bell: &mut watch::Receiver<u64>,
    ) -> Result<(), WebhookError> {
        let secret = self.secret(&webhook.id).await?;
        loop {
            // Marked before reading: what is committed after the read rings once more.
            bell.borrow_and_update();
            let Some(event) = self.next(webhook).await? else {
                if bell.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            };
            self.wait(webhook).await;
            let message = Message::of(&event, &self.0.source);
            match self.0.send(webhook, &secret, &message).await {
                Ok(()) => self.taken(webhook, &event).await?,
                Err(refused) => {
                    if self.refused(webhook, &refused).await? == WebhookState::Disabled {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The first event behind the cursor that is for it. The cursor goes on over whole pages without any.
    async fn next(&self, webhook: &mut Webhook) -> Result<Option<Event>, WebhookError> {
        let mut after = webhook.cursor;
        loop {
            let page = self
                .0
                .events
                .list(&EventQuery {
                    after,
                    project_id: webhook.project_id.clone(),
                    page_size: PAGE,
                    ..EventQuery::default()
                })
                .await?;
            // Asked after the rows, as the log does it.
            if let Some(up_to) = self.0.events.missing_after(after) {
                self.missed(webhook, up_to).await?;
                after = up_to;
                continue;
            }
            let Some(last) = page.items.last().map(|event| event.id) else {
                return Ok(None);
            };
            if let Some(event) = page.items.into_iter().find(|event| webhook.wants(event)) {
                return Ok(Some(event));
            }
            after = last;
            if page.next.is_some() {
                self.passed(webhook, last).await?;
            } else {
                // Kept in memory alone: it would be a write for each event of others.
                webhook.cursor = last;
                return Ok(None);
            }
        }
    }

    /// Events that it was not sent are too old, and gone: an event tells it, which it is sent whatever its kinds are.
    async fn missed(&self, webhook: &mut Webhook, up_to: i64) -> Result<(), WebhookError> {
        let (from, name) = (webhook.cursor + 1, &webhook.name);
        let author = match &webhook.project_id {
            Some(project) => Author::default().in_project(project),
            None => Author::default(),
        };
        let mut change = self.0.events.begin_by(author).await?;
        let kept = sqlx::query("UPDATE webhooks SET cursor = ? WHERE id = ? AND version = ?")
            .bind(up_to)
            .bind(&webhook.id)
            .bind(webhook.version)
            .execute(change.connection())
            .await
            .map_err(doing("keep how far a webhook is"))?;
        if kept.rows_affected() == 1 {
            change
                .append(NewEvent {
                    kind: MISSED,
                    node_id: None,
                    deployment_id: None,
                    message: format!(
                        "Webhook {name} was not sent the events {from} to {up_to}: they were too old, and are deleted. \
                         Read the present state anew; [events] keep_days says how long events stay."
                    ),
                    details: json!({ "webhook_id": webhook.id, "name": name, "from": from, "to": up_to }),
                })
                .await?;
        }
        change.commit().await?;
        webhook.cursor = up_to;
        Ok(())
    }

    async fn wait(&self, webhook: &Webhook) {
        let Some(at) = webhook.next_attempt_at else { return };
        let wait = at.duration_since(self.0.clock.now());
        if wait > SignedDuration::ZERO {
            tokio::time::sleep(wait.unsigned_abs()).await;
        }
    }

    async fn passed(&self, webhook: &mut Webhook, cursor: i64) -> Result<(), WebhookError> {
        sqlx::query("UPDATE webhooks SET cursor = ? WHERE id = ? AND version = ?")
            .bind(cursor)
            .bind(&webhook.id)
            .bind(webhook.version)
            .execute(&self.0.db)
            .await
            .map_err(doing("keep how far a webhook is"))?;
        webhook.cursor = cursor;
        Ok(())
    }

    async fn taken(&self, webhook: &mut Webhook, event: &Event) -> Result<(), WebhookError> {
        let now = self.0.clock.now();
        sqlx::query(
            "UPDATE webhooks SET cursor = ?, attempts = 0, failing_since = NULL, next_at = NULL, last_error = '', \
             delivered = delivered + 1, delivered_at = ? WHERE id = ? AND version = ?",
        )
        .bind(event.id)
        .bind(now.as_millisecond())
        .bind(&webhook.id)
        .bind(webhook.version)
        .execute(&self.0.db)
        .await
        .map_err(doing("keep how far a webhook is"))?;
        webhook.cursor = event.id;
        webhook.failed_attempts = 0;
        webhook.failing_since = None;
        webhook.next_attempt_at = None;
        Ok(())
    }

    async fn refused(&self, webhook: &mut Webhook, refused: &Refused) -> Result<WebhookState, WebhookError> {
        let now = self.0.clock.now();
        let since = *webhook.failing_since.get_or_insert(now);
        webhook.failed_attempts += 1;
        let seconds = |seconds: u64| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let patience = Patience {
            first_wait: seconds(self.0.config.retry_seconds),
            give_up: seconds(self.0.config.give_up_seconds),
        };
        let then = schedule::after(refused, webhook.failed_attempts, since, now, patience, jitter());
        webhook.next_attempt_at = match &then {
            Then::Again { at } => Some(*at),
            Then::Disable { .. } => None,
        };
        tracing::warn!(
            webhook.name,
            webhook.failed_attempts,
            error = refused.error,
            "a webhook has refused an event"
        );
        let mut change = self.0.events.begin().await?;
        // The version: somebody may have changed it meanwhile, and then this refusal is not of what it is now.
        let kept = sqlx::query(
            "UPDATE webhooks SET attempts = ?, failing_since = ?, next_at = ?, last_error = ? WHERE id = ? AND version = ?",
        )
        .bind(webhook.failed_attempts)
        .bind(since.as_millisecond())
        .bind(webhook.next_attempt_at.map(|at| at.as_millisecond()))
        .bind(&refused.error)
        .bind(&webhook.id)
        .bind(webhook.version)
        .execute(change.connection())
        .await
        .map_err(doing("keep that a webhook refuses"))?;
        let mut state = WebhookState::Active;
        if let Then::Disable { why } = &then
            && kept.rows_affected() == 1
        {
            table::disable_in(&mut change, webhook, why).await?;
            state = WebhookState::Disabled;
        }
        change.commit().await?;
        Ok(state)
    }
}

/// 0 to 1.
fn jitter() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.5,
    }
}
