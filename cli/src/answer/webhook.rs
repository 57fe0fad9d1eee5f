//! Answers about webhooks.

use jiff::Timestamp;
use serde::Deserialize;

/// Where events are sent to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Webhook {
    pub id: String,
    pub name: String,
    pub url: String,
    pub kinds: Vec<String>,
    pub project_id: Option<String>,
    pub state: String,
    pub why: String,
    pub cursor: i64,
    pub failed_attempts: i64,
    pub failing_since: Option<Timestamp>,
    pub last_error: String,
    pub delivered: i64,
    pub delivered_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
}
