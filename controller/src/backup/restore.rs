//! Restoring a backup into an empty folder.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use sqlx::SqlitePool;

use super::{
    BackupError,
    archive::{self, List},
    hold::HoldReason,
    mark::{Marked, Older, mark},
    take::{IDENTITY, check},
};
use crate::{
    clock::{Clock, timestamp_from_ms},
    db,
    events::{DatabaseError, EventLog},
    setup,
    store::Store,
};

/// The database waits here until all else is in its place: a folder without it is not initialised.
const WAITING: &str = "restoring";

/// A backup that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The folder.
    pub data_dir: PathBuf,
    /// When the backup was made.
    pub taken_at: Timestamp,
    /// Nodes that are on hold.
    pub nodes: u64,
    /// Deployments that were running then.
    pub deployments: u64,
}

/// Restores a backup into a folder that is empty or not there, and puts all nodes on hold. What fails leaves it empty.
pub async fn restore(from: &Path, data_dir: &Path, clock: &Clock) -> Result<Restored, BackupError> {
    let made = claim(data_dir)?;
    let done = fill(from, data_dir, clock).await;
    if done.is_err() {
        clear(data_dir, made);
    }
    done
}

/// True: the folder was made.
fn claim(data_dir: &Path) -> Result<bool, BackupError> {
    match fs::read_dir(data_dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(BackupError::NotEmpty {
                path: data_dir.to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
            made.map_err(BackupError::write(data_dir))?;
            Ok(true)
        }
        Err(error) => Err(BackupError::read(data_dir)(error)),
    }
}

/// Leaves the folder as it was found: it was empty, so all that is there is ours.
fn clear(data_dir: &Path, made: bool) {
    let cleared = if made {
        fs::remove_dir_all(data_dir)
    } else {
        fs::read_dir(data_dir).and_then(|entries| {
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    fs::remove_dir_all(path)?;
                } else {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        })
    };
    if let Err(error) = cleared {
        tracing::warn!(%error, folder = %data_dir.display(), "what was restored by half could not be removed");
    }
}

async fn fill(from: &Path, data_dir: &Path, clock: &Clock) -> Result<Restored, BackupError> {
    let private = Permissions::from_mode(0o700);
    fs::set_permissions(data_dir, private.clone()).map_err(BackupError::write(data_dir))?;
    let waiting = data_dir.join(WAITING);
    for folder in [&waiting, &data_dir.join(IDENTITY)] {
        let made = DirBuilder::new().mode(0o700).create(folder);
        made.map_err(BackupError::write(folder))?;
    }
    let (archive, folder) = (from.to_owned(), data_dir.to_owned());
    let read = tokio::task::spawn_blocking(move || archive::read(&archive, &folder, place));
    let list = read
        .await
        .unwrap_or_else(|error| Err(BackupError::read(from)(io::Error::other(error))))?;
    if !waiting.join(db::FILE_NAME).exists() {
        return Err(BackupError::Damaged {
            path: from.to_owned(),
            reason: "it has no database".to_owned(),
        });
    }
    let pool = db::open(&waiting, false).await?;
    let events = EventLog::new(pool.clone(), clock.clone());
    let marked = mark_restored(&pool, &events, &list, clock).await;
    events.close().await;
    db::close(&pool).await;
    let Marked { nodes, deployments } = marked?;
    Store::create(data_dir)?;
    let log = waiting.join(format!("{}-wal", db::FILE_NAME));
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(BackupError::Write {
            path: log,
            source: io::Error::other("the database's log was not written back"),
        });
    }
    // From here on the folder is a data folder.
    let (ready, place) = (waiting.join(db::FILE_NAME), data_dir.join(db::FILE_NAME));
    fs::rename(&ready, &place).map_err(BackupError::write(&place))?;
    fs::remove_dir_all(&waiting).map_err(BackupError::write(&waiting))?;
    fs::File::open(data_dir)
        .and_then(|folder| folder.sync_all())
        .map_err(BackupError::write(data_dir))?;
    Ok(Restored {
        data_dir: data_dir.to_owned(),
        taken_at: timestamp_from_ms(list.taken_at_ms),
        nodes,
        deployments,
    })
}

/// Where a file of an archive goes.
fn place(path: &str) -> Option<PathBuf> {
    if path == db::FILE_NAME {
        return Some(Path::new(WAITING).join(db::FILE_NAME));
    }
    if path == setup::ADMIN_TOKEN {
        return Some(PathBuf::from(path));
    }
    let name = path.strip_prefix(IDENTITY)?.strip_prefix('/')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !name.is_empty() && name.len() <= 128 && name.chars().all(plain) && !name.starts_with('.');
    is_name.then(|| PathBuf::from(path))
}

/// Marks the database as older than the world, if it is whole.
async fn mark_restored(
    db: &SqlitePool,
    events: &EventLog,
    list: &List,
    clock: &Clock,
) -> Result<Marked, BackupError> {
    let mut connection = db.acquire().await.map_err(BackupError::database("open"))?;
    check(&mut connection).await?;
    drop(connection);
    let older = Older {
        reason: HoldReason::Restored,
        taken_at_ms: list.taken_at_ms,
        newest_event: list.newest_event,
        seen_event: list.newest_event,
    };
    let marked = mark(events, &older, clock.now_ms()).await;
    marked.map_err(|error| BackupError::Database {
        what: "prepare",
        source: error.source,
    })
}

impl From<DatabaseError> for BackupError {
    fn from(error: DatabaseError) -> Self {
        Self::Database {
            what: "use",
            source: error.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_data_folder_have_a_place() {
        for good in [
            "imprint.db",
            "admin.token",
            "identity/ca.key",
            "identity/image-keys",
        ] {
            assert!(place(good).is_some(), "{good}");
        }
        for bad in [
            "identity/",
            "identity/../x",
            "identity/a/b",
            "/etc/passwd",
            "../x",
            "store/packs/x",
            "identity/.ssh",
            "lock",
        ] {
            assert!(place(bad).is_none(), "{bad}");
        }
    }
}
