//! The one connection that changes go through, and how they become durable together.
//!
//! SQLite has one writer at a time. Writers on connections of their own would wait for each other by sleeping and asking
//! again, and would hold the connections that readers wait for. So changes stand in line for one connection, in the order
//! in which they came. Their commits write to the log without flushing it; whoever has committed then waits for a flush
//! that has begun after that. A flush takes milliseconds, so under load one serves many commits: a fleet that comes back
//! all at once waits for a few hundred of them, and not for ten thousand.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

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
        let options = pool
            .connect_options()
            .as_ref()
            .clone()
            .create_if_missing(false)
            .synchronous(SqliteSynchronous::Normal);
        let mut log = options.get_filename().to_path_buf().into_os_string();
        log.push("-wal");
        let line = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Self {
            line,
            flush: Arc::new(Flush::of(PathBuf::from(log))),
        }
    }

    /// Stands in line, and begins a transaction that can write.
    ///
    /// # Errors
    /// When the database does not let it.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.line.begin_with("BEGIN IMMEDIATE").await
    }

    /// Commits, and returns once that would survive a loss of power.
    ///
    /// # Errors
    /// When that is not certain.
    pub async fn commit(&self, tx: Transaction<'static, Sqlite>) -> Result<(), sqlx::Error> {
        tx.commit().await?;
        self.flush.durable().await.map_err(sqlx::Error::Io)
    }

    /// Its one connection.
    #[cfg(test)]
    pub(crate) fn line(&self) -> &SqlitePool {
        &self.line
    }

    /// Closes its connection.
    pub async fn close(&self) {
        self.line.close().await;
    }
}

/// Flushes of the database's log, each for all who wait.
#[derive(Debug)]
struct Flush {
    log: PathBuf,
    committed: AtomicU64,
    flushed: AtomicU64,
    turn: Mutex<()>,
}

impl Flush {
    fn of(log: PathBuf) -> Self {
        Self {
            log,
            committed: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            turn: Mutex::const_new(()),
        }
    }

    /// Returns once a flush has ended that began after this was called.
    async fn durable(&self) -> io::Result<()> {
        let mine = self.committed.fetch_add(1, SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.flushed.load(SeqCst) >= mine {
            return Ok(());
        }
        let up_to = self.committed.load(SeqCst);
        let log = self.log.clone();
        // Opened each time: SQLite removes the file when all connections are closed, and makes another one.
        let flushed = tokio::task::spawn_blocking(move || match File::open(&log) {
            Ok(file) => file.sync_data(),
            // Then it has been written back into the database, and that was flushed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        flushed.await.map_err(io::Error::other)??;
        self.flushed.fetch_max(up_to, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db;

    #[tokio::test]
    async fn changes_stand_in_line_and_all_of_them_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let pool = db::open(dir.path(), true).await.unwrap();
        let writer = Writer::beside(&pool);
        sqlx::query("CREATE TABLE counted (n INTEGER)")
            .execute(&pool)
            .await
            .unwrap();
        sqlx::query("INSERT INTO counted VALUES (0)")
            .execute(&pool)
            .await
            .unwrap();
        let changes = (0..200).map(|_| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let mut tx = writer.begin().await.unwrap();
                let n: i64 = sqlx::query_scalar("SELECT n FROM counted")
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
                sqlx::query("UPDATE counted SET n = ?")
                    .bind(n + 1)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                writer.commit(tx).await.unwrap();
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.unwrap();
        }
        let n: i64 = sqlx::query_scalar("SELECT n FROM counted")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(n, 200);
        assert_eq!(
            writer.flush.flushed.load(SeqCst),
            200,
            "each waited for a flush after its commit"
        );
        let dropped = writer.begin().await.unwrap();
        drop(dropped);
        assert!(
            writer.begin().await.is_ok(),
            "a change that is dropped leaves the line free"
        );
        writer.close().await;
    }

    #[tokio::test]
    async fn nobody_is_told_by_a_flush_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        // A folder cannot be opened as a log: `sync_data` of it works, so the way to it is made impossible instead.
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let flush = Flush::of(file.join("log"));
        assert!(flush.durable().await.is_err());
        assert_eq!(flush.flushed.load(SeqCst), 0);
    }
}
