//! When nodes were last heard of: noted in memory, and kept for all of them together every few seconds. After a crash the
//! last few seconds are not known, and every agent calls again anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::SqliteConnection;

use super::nodes::Nodes;
use crate::{
    api::rest::problem::chain,
    events::{DatabaseError, doing},
};

/// Nodes that are kept in one change: others wait for it.
const AT_ONCE: usize = 500;

/// Nodes with the time in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<String, i64>>>);

impl Nodes {
    /// Notes that a node was heard of.
    pub fn seen(&self, node_id: &str) {
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(node_id.to_owned(), self.clock.now_ms());
    }

    /// Keeps what was noted.
    pub async fn keep_seen(&self) {
        let noted = std::mem::take(&mut *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner));
        let noted: Vec<(String, i64)> = noted.into_iter().collect();
        for some in noted.chunks(AT_ONCE) {
            if let Err(error) = self.keep_some(some).await {
                tracing::warn!(error = %chain(&error), "when nodes were last heard of is not kept yet");
                let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
                for (id, at) in some {
                    seen.entry(id.clone()).or_insert(*at);
                }
            }
        }
    }

    /// Keeps in a change that a node was heard of.
    pub(crate) async fn record_seen(
        &self,
        connection: &mut SqliteConnection,
        node_id: &str,
    ) -> Result<(), DatabaseError> {
        sqlx::query("UPDATE nodes SET last_seen_at = ? WHERE id = ?")
            .bind(self.clock.now_ms())
            .bind(node_id)
            .execute(connection)
            .await
            .map_err(doing("keep when the node was seen"))?;
        Ok(())
    }

    async fn keep_some(&self, noted: &[(String, i64)]) -> Result<(), DatabaseError> {
        let noted: serde_json::Map<String, serde_json::Value> =
            noted.iter().map(|(id, at)| (id.clone(), (*at).into())).collect();
        let mut change = self.events.begin().await?;
        sqlx::query(
            "UPDATE nodes SET last_seen_at = s.value FROM json_each(?) s \
             WHERE nodes.id = s.key AND COALESCE(last_seen_at, 0) < s.value",
        )
        .bind(serde_json::Value::Object(noted).to_string())
        .execute(change.connection())
        .await
        .map_err(doing("keep when nodes were seen"))?;
        change.commit().await
    }
}
