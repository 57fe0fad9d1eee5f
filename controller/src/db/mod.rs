//! The embedded database: SQLite with a write-ahead log, brought to this binary's version when it is opened.
//!
//! Writers begin with `BEGIN IMMEDIATE` (sqlx: `begin_with`), so that two of them wait for each other instead of
//! failing when a reader turns into a writer. `synchronous = FULL`: what has been acknowledged to an agent survives
//! a power cut. Changes with events, which are nearly all, go through the [`writer`], which keeps the same promise with fewer
//! flushes. None of the database's files but its log may be opened here: closing them would give up SQLite's locks.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, SqliteExecutor, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

mod flush;
pub mod writer;

pub use writer::Writer;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Name of the database in the data folder.
pub const FILE_NAME: &str = "imprint.db";

const CONNECTIONS: u32 = 8;
/// What each of them keeps of the database in memory, in the words of `PRAGMA cache_size`; the system keeps the file.
const READER_CACHE: &str = "-256";
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite could not open it.
    #[error("cannot open the database {}; check that it exists and that this user may write to it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The file is no database, or a damaged one.
    #[error("the database {} is damaged; stop the controller and restore the data folder from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// A newer controller has written it.
    #[error(
        "the database {} was written by a newer controller (schema {version}); install that version again or \
         restore the backup from before the upgrade", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first schema step that this binary does not know.
        version: i64,
    },
    /// A schema step failed.
    #[error("cannot bring the database {} to this version's schema", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Which step, and why.
        #[source]
        source: MigrateError,
    },
}

/// Opens the database of a data folder. `create` makes it when it is not there.
pub async fn open(data_dir: &Path, create: bool) -> Result<SqlitePool, DbError> {
    let path = data_dir.join(FILE_NAME);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Deleted user-data and tokens are overwritten, not only unlinked.
        .pragma("secure_delete", "ON")
        .pragma("cache_size", READER_CACHE)
        .busy_timeout(BUSY_TIMEOUT);
    let opened = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .connect_with(options)
        .await;
    let pool = opened.map_err(|source| describe(path.clone(), source))?;
    match MIGRATOR.run(&pool).await {
        Ok(()) => Ok(pool),
        Err(error) => {
            pool.close().await;
            Err(match error {
                MigrateError::VersionMissing(version) => DbError::Newer { path, version },
                MigrateError::Execute(source) if is_damage(&source) => DbError::Damaged { path, source },
                source => DbError::Migrate { path, source },
            })
        }
    }
}

/// Writes the log back into the database and empties it, so that what was deleted is in neither of the two. False when
/// readers or writers were in the way; they wait for this at most half a second.
pub async fn empty_log(pool: &SqlitePool) -> Result<bool, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    sqlx::query("PRAGMA busy_timeout = 500")
        .execute(&mut *connection)
        .await?;
    let blocked: Result<i64, _> = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *connection)
        .await;
    let restore = AssertSqlSafe(format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis()));
    sqlx::query(restore).execute(&mut *connection).await?;
    match blocked {
        Ok(blocked) => Ok(blocked == 0),
        // SQLITE_BUSY or SQLITE_LOCKED
        Err(error) if code(&error).is_some_and(|code| matches!(code & 0xff, 5 | 6)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the log back into the database and closes it.
pub async fn close(pool: &SqlitePool) {
    if let Err(error) = sqlx::query("PRAGMA optimize").execute(pool).await {
        tracing::debug!(%error, "the database was not optimised at the end");
    }
    pool.close().await;
}

fn describe(path: PathBuf, source: sqlx::Error) -> DbError {
    if is_damage(&source) {
        DbError::Damaged { path, source }
    } else {
        DbError::Open { path, source }
    }
}

/// SQLITE_CORRUPT and SQLITE_NOTADB, with their extended codes.
fn is_damage(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|c| matches!(c & 0xff, 11 | 26))
}

/// SQLite's extended result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .and_then(|c| c.parse().ok())
}

/// The first thing that is wrong with a database, by SQLite's own quick check; `None`: it is whole.
///
/// # Errors
/// When it cannot be checked.
pub async fn damage(database: impl SqliteExecutor<'_>) -> Result<Option<sqlx::Error>, sqlx::Error> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(database)
        .await?;
    Ok((found != "ok").then(|| sqlx::Error::Protocol(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opens_twice_and_tells_a_newer_and_a_damaged_database() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(open(dir.path(), false).await, Err(DbError::Open { .. })));
        let pool = open(dir.path(), true).await.unwrap();
        let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (999999, 'from the future', TRUE, x'00', 0)";
        sqlx::query(insert).execute(&pool).await.unwrap();
        close(&pool).await;
        let newer = open(dir.path(), false).await.unwrap_err();
        assert!(
            matches!(newer, DbError::Newer { version: 999_999, .. }),
            "{newer}"
        );
        std::fs::write(dir.path().join(FILE_NAME), vec![7; 8192]).unwrap();
        assert!(matches!(
            open(dir.path(), false).await,
            Err(DbError::Damaged { .. })
        ));
    }
}
