//! Which logs go.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use jiff::{SignedDuration, Timestamp};
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::{LogError, Logs, file};
use crate::events::{DatabaseError, doing};

/// Ids that the database is asked for at once.
const AT_ONCE: usize = 500;

/// Old logs could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The files.
    #[error(transparent)]
    Files(#[from] LogError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The task that removes files.
    #[error("the task that removes old logs died")]
    Task(#[from] tokio::task::JoinError),
}

/// A log as the folder has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    deployment_id: String,
    bytes: u64,
    written_at: Timestamp,
}

impl Logs {
    /// Removes logs of deployments that are not known any more, those that were not written to for long, and the
    /// quietest ones when all together are too large.
    ///
    /// # Errors
    /// When the folder or the database cannot be read, or a file cannot be removed.
    pub async fn sweep(&self, db: &SqlitePool) -> Result<(), SweepError> {
        let logs = self.clone();
        let mut found = tokio::task::spawn_blocking(move || logs.found()).await??;
        let mut known = HashSet::new();
        for some in found.chunks(AT_ONCE) {
            let mut sql = QueryBuilder::<Sqlite>::new("SELECT id FROM deployments WHERE id IN (");
            let mut ids = sql.separated(", ");
            for log in some {
                ids.push_bind(&log.deployment_id);
            }
            sql.push(")");
            let rows: Vec<String> = sql
                .build_query_scalar()
                .fetch_all(db)
                .await
                .map_err(doing("look for the deployments of logs"))?;
            known.extend(rows);
        }
        found.sort_by_key(|log| log.written_at);
        let gone = self.gone(found, &known);
        let logs = self.clone();
        Ok(tokio::task::spawn_blocking(move || logs.remove(&gone)).await??)
    }

    /// Of all logs, the quietest first, those that go.
    fn gone(&self, found: Vec<Found>, known: &HashSet<String>) -> Vec<PathBuf> {
        let keep = SignedDuration::from_hours(24 * i64::from(self.0.config.keep_days));
        let now = self.0.clock.now();
        let mut total: u64 = found.iter().map(|log| log.bytes).sum();
        let mut gone = Vec::new();
        for log in found {
            let old = now.duration_since(log.written_at) > keep;
            if old || !known.contains(&log.deployment_id) || total > self.0.config.total_bytes {
                total -= log.bytes;
                gone.push(log.path);
            }
        }
        gone
    }

    fn found(&self) -> Result<Vec<Found>, LogError> {
        let failed = |source| LogError {
            operation: "look at",
            path: self.0.folder.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.0.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if let Some(log) = look_at(&path).map_err(failed)? {
                found.push(log);
            }
        }
        Ok(found)
    }

    fn remove(&self, paths: &[PathBuf]) -> Result<(), LogError> {
        let _files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths {
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError {
                        operation: "remove",
                        path: path.clone(),
                        source,
                    });
                }
                _ => {}
            }
        }
        if !paths.is_empty() {
            tracing::info!(logs = paths.len(), "removed old logs of deployments");
        }
        Ok(())
    }
}

fn look_at(path: &Path) -> io::Result<Option<Found>> {
    let is_log = path
        .extension()
        .is_some_and(|extension| extension == file::EXTENSION);
    let id = path.file_stem().and_then(|stem| stem.to_str());
    let Some(id) = id.filter(|_| is_log) else {
        return Ok(None);
    };
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Found {
        path: path.to_owned(),
        deployment_id: id.to_owned(),
        bytes: facts.len(),
        written_at: Timestamp::try_from(facts.modified()?).unwrap_or(Timestamp::MIN),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        config::{Config, LogConfig},
    };

    #[test]
    fn the_unknown_the_old_and_the_quietest_go() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut config = Config::loopback("/none");
        config.logs = LogConfig {
            deployment_bytes: 1 << 20,
            total_bytes: 250,
            keep_days: 10,
        };
        let logs = Logs::new(&config, Clock::fake(now));
        let log = |id: &str, days: i64| Found {
            path: id.into(),
            deployment_id: id.to_owned(),
            bytes: 100,
            written_at: now - SignedDuration::from_hours(24 * days + 1),
        };
        let known: HashSet<String> = ["old", "a", "b", "c"].map(str::to_owned).into();
        let gone = |found: Vec<Found>| -> Vec<String> {
            let gone = logs.gone(found, &known).into_iter();
            gone.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(gone(vec![]), [""; 0]);
        assert_eq!(gone(vec![log("a", 9), log("b", 1)]), [""; 0]);
        assert_eq!(
            gone(vec![log("old", 10), log("a", 9), log("stranger", 2), log("b", 1)]),
            ["old", "a", "stranger"]
        );
        assert_eq!(gone(vec![log("a", 9), log("b", 2), log("c", 1)]), ["a"]);
    }
}
