//! The one connection that changes go through, and how they become durable together.
//!
//! SQLite has one writer at a time. Writers on connections of their own would wait for each other by sleeping and asking
//! again, and would hold the connections that readers wait for. So changes stand in line for one connection, in the order
//! in which they came. Their commits write to the log without flushing it; whoever has committed then waits for a
//! [`Flush`] that has begun after that. A flush takes milliseconds, so under load one serves many commits: a fleet that
//! comes back all at once waits for a few hundred of them, and not for ten thousand.
//!
//! Readers see a change once it is committed, which is a moment before it is durable. Whoever promises something on the
//! strength of what he read, such as an acknowledgement or a cursor, waits for [`Writer::settled`].

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqlitePoolOptions, SqliteSynchronous},
};

use super::flush::{Disk, FileSystem, Flush};

/// What it keeps of the database in memory, in the words of `PRAGMA cache_size`: what SQLite takes by itself.
const CACHE: &str = "-2000";

const BEGIN: &str = "BEGIN IMMEDIATE";

/// The longest that a change stands in line.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins changes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    line: SqlitePool,
    flush: Arc<Flush>,
}

impl Writer {
    /// For the database of a pool.
    #[must_use]
    pub fn beside(pool: &SqlitePool) -> Self {
        Self::onto(pool, FileSystem)
    }

    fn onto(pool: &SqlitePool, disk: impl Disk) -> Self {
        let options = pool
            .connect_options()
            .as_ref()
            .clone()
            .create_if_missing(false)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("cache_size", CACHE);
        let mut log = options.get_filename().to_path_buf().into_os_string();
        log.push("-wal");
        let line = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            // To stand in line is what a fleet does that comes back all at once, and no news.
            .acquire_slow_threshold(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Self {
            line,
            flush: Arc::new(Flush::of(PathBuf::from(log), pool.clone(), disk)),
        }
    }

    /// Stands in line, and begins a transaction that can write.
    ///
    /// # Errors
    /// When the database does not let it.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        match self.line.begin_with(BEGIN).await {
            // After some errors, a full disk above all, SQLite has ended the transaction by itself (sqlite.org/lang_transaction.html,
            // section 2.3), and the library counts one that is there no more. The connection is of no use then.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.line.acquire().await?.close().await?;
                self.line.begin_with(BEGIN).await
            }
            begun => begun,
        }
    }

    /// Commits, and returns once that would survive a loss of power. What has begun is ended even when nobody waits for it
    /// any more, with `then` if it is durable.
    ///
    /// # Errors
    /// When that is not certain. Then it may have been committed all the same, and nobody may act on that before
    /// [`Self::settled`].
    pub async fn commit(
        &self,
        tx: Transaction<'static, Sqlite>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), sqlx::Error> {
        let flush = Arc::clone(&self.flush);
        to_its_end(async move {
            let number = flush.begins();
            let committed = tx.commit().await;
            flush.has_ended(number);
            committed?;
            flush.durable(number).await?;
            then();
            Ok(())
        })
        .await
    }

    /// Returns once all that can be read now would survive a loss of power; mostly that is at once.
    ///
    /// # Errors
    /// When that is not certain.
    pub async fn settled(&self) -> Result<(), sqlx::Error> {
        let Some(number) = self.flush.open_until() else {
            return Ok(());
        };
        let flush = Arc::clone(&self.flush);
        to_its_end(async move { Ok(flush.durable(number).await?) }).await
    }

    /// Its one connection.
    #[cfg(test)]
    pub(crate) fn line(&self) -> &SqlitePool {
        &self.line
    }

    /// Closes its connection, once the change that has it is over.
    pub async fn close(&self) {
        self.line.close().await;
    }
}

/// Work that nobody can leave half done: whoever stops to wait for it does not stop it.
async fn to_its_end(
    work: impl Future<Output = Result<(), sqlx::Error>> + Send + 'static,
) -> Result<(), sqlx::Error> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(sqlx::Error::Io(io::Error::other(error))))
}

#[cfg(test)]
mod tests;
