//! A webhook as it is kept, and as callers see it.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, sqlite::SqliteRow};
use utoipa::ToSchema;

use crate::{clock::timestamp_from_ms, events::Event, words::words};

words! {
    /// Whether a webhook is sent anything.
    WebhookState, "state of webhooks", {
        /// Events are sent to it.
        Active => "active",
        /// Nothing is sent: somebody disabled it, or it refused for too long.
        Disabled => "disabled",
    }
}

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Webhook {
    /// ULID.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// Where its messages go.
    pub url: String,
    /// Kinds of events, and beginnings of kinds (`alarm.*`); empty: all.
    pub kinds: Vec<String>,
    /// Only events of this project; null: of all.
    pub project_id: Option<String>,
    /// Whether it is sent anything.
    pub state: WebhookState,
    /// Why it is disabled; empty while it is not.
    pub why: String,
    /// The id of the last event that was delivered, or is not for it.
    pub cursor: i64,
    /// How often the first event after that was refused in a row.
    pub failed_attempts: i64,
    /// Since when it refuses; null: it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// What went wrong last; empty when the last message was taken.
    pub last_error: String,
    /// When that event is sent again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// Events that were taken.
    pub delivered: i64,
    /// When the last one was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[serde(skip)]
    pub(super) version: i64,
}

/// Events were deleted before a webhook was sent them.
pub(super) const MISSED: &str = "webhook.events-missed";

impl Webhook {
    /// Whether the event is for it. What it has missed for good is, whatever its kinds are.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let missed = event.kind == MISSED && event.details["webhook_id"] == self.id;
        missed || self.kinds.is_empty() || self.kinds.iter().any(|wanted| matches(wanted, &event.kind))
    }
}

fn matches(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => wanted == kind,
    }
}

impl sqlx::FromRow<'_, SqliteRow> for Webhook {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let kinds: String = row.try_get("kinds")?;
        let state: String = row.try_get("state")?;
        let time = |column: &str| -> Result<_, sqlx::Error> {
            Ok(row.try_get::<Option<i64>, _>(column)?.map(timestamp_from_ms))
        };
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            url: row.try_get("url")?,
            kinds: serde_json::from_str(&kinds).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            project_id: row.try_get("project_id")?,
            state: state
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            why: row.try_get("why")?,
            cursor: row.try_get("cursor")?,
            failed_attempts: row.try_get("attempts")?,
            failing_since: time("failing_since")?,
            last_error: row.try_get("last_error")?,
            next_attempt_at: time("next_at")?,
            delivered: row.try_get("delivered")?,
            delivered_at: time("delivered_at")?,
            created_by: row.try_get("created_by")?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
            version: row.try_get("version")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_whole_or_a_beginning() {
        for (wanted, kind, is) in [
            ("deployment.failed", "deployment.failed", true),
            ("deployment.failed", "deployment.failed.late", false),
            ("deployment.*", "deployment.step.failed", true),
            ("deployment.*", "deployment", false),
            ("alarm.*", "deployment.failed", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(wanted, kind), is, "{wanted} {kind}");
        }
    }
}
