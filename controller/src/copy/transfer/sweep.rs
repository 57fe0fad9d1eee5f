//! Transfers that nobody goes on with.

use super::{Inner, Transfers};
use crate::{copy::CopyFault, identity::Viewer};

/// How long what came is kept.
const KEEP_MS: i64 = 7 * 24 * 3600 * 1000;

impl Transfers {
    /// Gives a transfer up, and removes what came of it.
    pub async fn abandon(&self, viewer: &Viewer, id: &str) -> Result<(), CopyFault> {
        let record = self.0.find(viewer, id).await?;
        self.0.give_up(&record.id).await
    }

    /// Gives up those that nothing came of for a week.
    pub(super) async fn sweep_old(&self) -> Result<(), CopyFault> {
        let old: Vec<String> = sqlx::query_scalar("SELECT id FROM transfers WHERE touched_at < ?")
            .bind(self.0.clock.now_ms() - KEEP_MS)
            .fetch_all(&self.0.db)
            .await?;
        for id in old {
            tracing::info!(transfer.id = id, "gave up a transfer that nobody went on with");
            self.0.give_up(&id).await?;
        }
        Ok(())
    }
}

impl Inner {
    /// Forgets a transfer, and removes what came of it.
    pub(super) async fn give_up(&self, id: &str) -> Result<(), CopyFault> {
        sqlx::query("DELETE FROM transfers WHERE id = ?")
            .bind(id)
            .execute(&self.db)
            .await?;
        self.catalog.unreserve(id).await?;
        self.catalog.sweep(&self.store, id).await?;
        self.forget_named(id);
        Ok(())
    }
}
