//! The rows: made, found, changed, deleted.

use imprint_image::seal::DataKey;
use serde_json::json;
use sqlx::SqliteConnection;
use ulid::Ulid;
use zeroize::Zeroizing;

use super::{Webhook, WebhookError, WebhookState, Webhooks, message, wanted::WantedWebhook};
use crate::{
    events::{Change, NewEvent, doing},
    identity::Caller,
};

/// So many tasks wait for the bell of the log.
const MOST: i64 = 100;

/// A webhook that was just made.
#[derive(Debug)]
pub struct Created {
    /// The webhook.
    pub webhook: Webhook,
    /// What its messages are signed with, as `whsec_` and base64. Told here and nowhere else.
    pub secret: Zeroizing<String>,
}

/// A page of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookPage {
    /// The webhooks, oldest first.
    pub items: Vec<Webhook>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// What the secret of a webhook is wrapped for.
pub(crate) fn context(id: &str) -> Vec<u8> {
    format!("imprint.webhook:{id}").into_bytes()
}

impl Webhooks {
    /// Makes a webhook and its secret.
    pub async fn create(&self, by: &Caller, wanted: &WantedWebhook) -> Result<Created, WebhookError> {
        let inner = &*self.0;
        let url = wanted.check(inner.config.allow_http)?;
        inner.fetcher.look(&url).await.map_err(WebhookError::Address)?;
        let id = Ulid::generate().to_string();
        let secret = DataKey::generate();
        let wrapped = inner.keys.wrap_for(&secret, &context(&id)).await?;
        let author = by.author();
        let actor = author.actor.clone().unwrap_or_default();
        let mut change = inner.events.begin_by(author).await?;
        let (count, taken): (i64, bool) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM webhooks), EXISTS (SELECT 1 FROM webhooks WHERE name = ?)",
        )
        .bind(&wanted.name)
        .fetch_one(change.connection())
        .await
        .map_err(doing("read the webhooks"))?;
        if taken {
            return Err(WebhookError::Taken(wanted.name.clone()));
        }
        if count >= MOST {
            return Err(WebhookError::TooMany(count));
        }
        sqlx::query(
            "INSERT INTO webhooks (id, name, url, kinds, project_id, secret, secret_by, state, cursor, created_by, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', COALESCE(?8, (SELECT COALESCE(MAX(id), 0) FROM events)), ?9, ?10)",
        )
        .bind(&id)
        .bind(&wanted.name)
        .bind(url.as_str())
        .bind(json!(wanted.kinds).to_string())
        .bind(&wanted.project_id)
        .bind(wrapped.bytes)
        .bind(wrapped.by)
        .bind(wanted.after)
        .bind(actor)
        .bind(inner.clock.now_ms())
        .execute(change.connection())
        .await
        .map_err(doing("make the webhook"))?;
        let webhook = read(change.connection(), &id).await?;
        // Not the whole URL: what is secret may be in its path.
        let host = url.host_str().unwrap_or_default();
        let message = format!("Webhook {} was made: events are sent to {host}.", webhook.name);
        tell(&mut change, "webhook.created", &webhook, message).await?;
        change.commit().await?;
        self.ring();
        Ok(Created {
            webhook,
            secret: Zeroizing::new(message::shown(&secret)),
        })
    }

    /// The webhook with this id or name.
    pub async fn get(&self, wanted: &str) -> Result<Webhook, WebhookError> {
        let mut connection = self.0.db.acquire().await.map_err(doing("read the webhook"))?;
        read(&mut connection, wanted).await
    }

    /// A page of all webhooks; 100 when nothing is said, 1,000 at most.
    pub async fn list(&self, page_size: u32, page_token: Option<&str>) -> Result<WebhookPage, WebhookError> {
        let after = match page_token.filter(|token| !token.is_empty()) {
            None => String::new(),
            Some(token) => match token.parse::<Ulid>() {
                Ok(id) => id.to_string(),
                Err(_) => return Err(WebhookError::BadPageToken(token.chars().take(64).collect())),
            },
        };
        let limit = match page_size {
            0 => 100,
            size => size.min(1000) as usize,
        };
        let mut items: Vec<Webhook> =
            sqlx::query_as("SELECT * FROM webhooks WHERE id > ? ORDER BY id LIMIT ?")
                .bind(after)
                .bind(limit as i64 + 1)
                .fetch_all(&self.0.db)
                .await
                .map_err(doing("list the webhooks"))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| last.id.clone());
        Ok(WebhookPage { items, next })
    }

    /// Deletes it with its secret. What was not delivered is not sent any more.
    pub async fn delete(&self, by: &Caller, wanted: &str) -> Result<Webhook, WebhookError> {
        let mut change = self.0.events.begin_by(by.author()).await?;
        let webhook = read(change.connection(), wanted).await?;
        sqlx::query("DELETE FROM webhooks WHERE id = ?")
            .bind(&webhook.id)
            .execute(change.connection())
            .await
            .map_err(doing("delete the webhook"))?;
        let message = format!("Webhook {} was deleted.", webhook.name);
        tell(&mut change, "webhook.deleted", &webhook, message).await?;
        change.commit().await?;
        self.ring();
        Ok(webhook)
    }

    /// Sends nothing more until it is enabled. A second time changes nothing.
    pub async fn disable(&self, by: &Caller, wanted: &str) -> Result<Webhook, WebhookError> {
        let mut change = self.0.events.begin_by(by.author()).await?;
        let webhook = read(change.connection(), wanted).await?;
        if webhook.state == WebhookState::Disabled {
            return Ok(webhook);
        }
        let why = "somebody disabled it".to_owned();
        let disabled = disable_in(&mut change, &webhook, &why).await?;
        change.commit().await?;
        self.ring();
        Ok(disabled)
    }

    /// Goes on behind the last event that was taken, or, when `skip` is said, with what happens from now on.
    pub async fn enable(&self, by: &Caller, wanted: &str, skip: bool) -> Result<Webhook, WebhookError> {
        let mut change = self.0.events.begin_by(by.author()).await?;
        let webhook = read(change.connection(), wanted).await?;
        sqlx::query(
            "UPDATE webhooks SET state = 'active', why = '', attempts = 0, failing_since = NULL, next_at = NULL, \
             last_error = '', version = version + 1, \
             cursor = CASE WHEN ? THEN (SELECT COALESCE(MAX(id), 0) FROM events) ELSE cursor END WHERE id = ?",
        )
        .bind(skip)
        .bind(&webhook.id)
        .execute(change.connection())
        .await
        .map_err(doing("enable the webhook"))?;
        let message = match skip {
            true => format!(
                "Webhook {} was enabled; what it has missed is left out.",
                webhook.name
            ),
            false => format!("Webhook {} was enabled.", webhook.name),
        };
        tell(&mut change, "webhook.enabled", &webhook, message).await?;
        let webhook = read(change.connection(), &webhook.id).await?;
        change.commit().await?;
        self.ring();
        Ok(webhook)
    }

    /// What it signs with.
    pub(super) async fn secret(&self, id: &str) -> Result<DataKey, WebhookError> {
        let row: Option<(Vec<u8>, String)> =
            sqlx::query_as("SELECT secret, secret_by FROM webhooks WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.0.db)
                .await
                .map_err(doing("read the secret of the webhook"))?;
        let (bytes, by) = row.ok_or_else(|| WebhookError::NotFound(id.to_owned()))?;
        Ok(self.0.keys.unwrap_for(&bytes, &by, &context(id)).await?)
    }
}

/// By id, else by name.
async fn read(connection: &mut SqliteConnection, wanted: &str) -> Result<Webhook, WebhookError> {
    let found: Option<Webhook> =
        sqlx::query_as("SELECT * FROM webhooks WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1")
            .bind(wanted)
            .fetch_optional(connection)
            .await
            .map_err(doing("read the webhook"))?;
    found.ok_or_else(|| {
        let shown = wanted.chars().filter(|c| !c.is_control()).take(64).collect();
        WebhookError::NotFound(shown)
    })
}

/// Disables it in a change, with the event that says why.
pub(super) async fn disable_in(
    change: &mut Change,
    webhook: &Webhook,
    why: &str,
) -> Result<Webhook, WebhookError> {
    sqlx::query(
        "UPDATE webhooks SET state = 'disabled', why = ?, next_at = NULL, version = version + 1 WHERE id = ?",
    )
    .bind(why)
    .bind(&webhook.id)
    .execute(change.connection())
    .await
    .map_err(doing("disable the webhook"))?;
    let message = format!(
        "Webhook {} is disabled: {why}. `imprint webhook enable {}` goes on where it stopped.",
        webhook.name, webhook.name
    );
    let disabled = read(change.connection(), &webhook.id).await?;
    tell(change, "webhook.disabled", &disabled, message).await?;
    Ok(disabled)
}

async fn tell(
    change: &mut Change,
    kind: &str,
    webhook: &Webhook,
    message: String,
) -> Result<(), WebhookError> {
    change
        .append(NewEvent {
            kind,
            node_id: None,
            deployment_id: None,
            message,
            details: json!({ "webhook_id": webhook.id, "name": webhook.name, "why": webhook.why }),
        })
        .await?;
    Ok(())
}
