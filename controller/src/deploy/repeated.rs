//! Requests that are sent again: with a key, the answer is what the first one made.

use serde::Serialize;
use serde_json::json;
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use super::error::DeployError;
use crate::{
    events::doing,
    identity::{Caller, RequestKey},
};

/// How long a request that is sent again is recognised.
const REMEMBER_KEYS_MS: i64 = 24 * 3600 * 1000;

/// What a request has made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Made<'a> {
    /// The deployment with this id.
    Deployment(&'a str),
    /// The batch with this id.
    Batch(&'a str),
}

/// A request with a key.
#[derive(Debug)]
pub(super) struct Keyed {
    key: String,
    hash: blake3::Hash,
}

impl Keyed {
    pub(super) fn new(
        by: &Caller,
        key: &str,
        request: &impl Serialize,
        digests: &RequestKey,
    ) -> Result<Self, DeployError> {
        if key.is_empty() || key.len() > 255 || key.chars().any(|c| c.is_control()) {
            return Err(DeployError::BadKey(key.chars().count()));
        }
        Ok(Self {
            // Keys are each project's own: nobody learns that somebody else has used one.
            key: format!("{}:{key}", by.project_id),
            hash: digests.digest(Zeroizing::new(json!(request).to_string()).as_bytes()),
        })
    }

    /// The id of what an earlier request with this key made.
    pub(super) async fn earlier(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<String>, DeployError> {
        let row: Option<(Vec<u8>, String)> = sqlx::query_as(
            "SELECT request_hash, COALESCE(deployment_id, batch_id) FROM idempotency_keys WHERE key = ?",
        )
        .bind(&self.key)
        .fetch_optional(connection)
        .await
        .map_err(doing("look for the request's key"))?;
        match row {
            // The same request: what it made is of the same kind.
            Some((known, id)) if known == self.hash.as_bytes() => Ok(Some(id)),
            Some(_) => Err(DeployError::KeyReused),
            None => Ok(None),
        }
    }

    /// Keeps what this one has made, and forgets old keys.
    pub(super) async fn keep(
        &self,
        connection: &mut SqliteConnection,
        made: Made<'_>,
        now_ms: i64,
    ) -> Result<(), DeployError> {
        let (deployment_id, batch_id) = match made {
            Made::Deployment(id) => (Some(id), None),
            Made::Batch(id) => (None, Some(id)),
        };
        sqlx::query("DELETE FROM idempotency_keys WHERE created_at < ?")
            .bind(now_ms - REMEMBER_KEYS_MS)
            .execute(&mut *connection)
            .await
            .map_err(doing("forget old keys of requests"))?;
        sqlx::query(
            "INSERT INTO idempotency_keys (key, request_hash, deployment_id, batch_id, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&self.key)
        .bind(self.hash.as_bytes().as_slice())
        .bind(deployment_id)
        .bind(batch_id)
        .bind(now_ms)
        .execute(connection)
        .await
        .map_err(doing("keep the request's key"))?;
        Ok(())
    }
}
