//! Making a backup, while the controller runs or not.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::NamedTempFile;

use super::{
    BackupError,
    archive::{self, List},
};
use crate::{
    clock::Clock,
    db,
    setup::{self, OpenError},
};

const BUSY: Duration = Duration::from_secs(60);
pub(super) const IDENTITY: &str = "identity";

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The archive.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3 digest, hex.
    pub digest: String,
    /// How many files are in it.
    pub files: usize,
    /// The newest event in it.
    pub newest_event: i64,
}

/// Makes a backup of a data folder into a new file that only this user can read. The database is a snapshot: what is
/// committed while it is made is in it as a whole or not at all.
pub async fn take(data_dir: &Path, to: &Path, clock: &Clock) -> Result<Taken, BackupError> {
    if !setup::is_initialised(data_dir) {
        let path = data_dir.to_owned();
        return Err(OpenError::NotInitialised { path }.into());
    }
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let folder = match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("."),
    };
    // Beside the archive, where there has to be room anyway; both are for this user alone.
    let snapshot = NamedTempFile::new_in(&folder).map_err(BackupError::write(&folder))?;
    let taken_at = clock.now_ms();
    let (schema, newest_event) = snapshot_of(&data_dir.join(db::FILE_NAME), snapshot.path()).await?;
    let mut files = vec![(db::FILE_NAME.to_owned(), snapshot.path().to_owned())];
    files.extend(identity(data_dir)?);
    let token = data_dir.join(setup::ADMIN_TOKEN);
    if token.exists() {
        files.push((setup::ADMIN_TOKEN.to_owned(), token));
    }
    let list = List::new(taken_at, schema, newest_event);
    let target = to.to_owned();
    let written = tokio::task::spawn_blocking(move || -> Result<Taken, BackupError> {
        let draft = NamedTempFile::new_in(&folder).map_err(BackupError::write(&folder))?;
        let list = archive::write(draft.as_file(), list, &files)?;
        drop(snapshot);
        let (bytes, digest) = archive::look(draft.path()).map_err(BackupError::read(draft.path()))?;
        draft
            .persist_noclobber(&target)
            .map_err(|error| BackupError::write(&target)(error.error))?;
        Ok(Taken {
            path: target,
            bytes,
            digest,
            files: list.files.len(),
            newest_event,
        })
    });
    written.await.unwrap_or_else(|error| {
        Err(BackupError::Write {
            path: to.to_owned(),
            source: std::io::Error::other(error),
        })
    })
}

/// Copies the database as it is at one moment; its schema and its newest event. Reads alone: whoever serves on it is not
/// disturbed, and no schema is changed by a newer program.
async fn snapshot_of(from: &Path, to: &Path) -> Result<(i64, i64), BackupError> {
    let failed = BackupError::database;
    let options = SqliteConnectOptions::new()
        .filename(from)
        .read_only(true)
        .busy_timeout(BUSY);
    let mut source = SqliteConnection::connect_with(&options)
        .await
        .map_err(failed("open"))?;
    let path = to.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?")
        .bind(path)
        .execute(&mut source)
        .await
        .map_err(failed("take a snapshot of"))?;
    source.close().await.map_err(failed("close"))?;
    // What is in the archive is what was looked at.
    let options = SqliteConnectOptions::new().filename(to).read_only(true);
    let mut copy = SqliteConnection::connect_with(&options)
        .await
        .map_err(failed("open the snapshot of"))?;
    check(&mut copy).await?;
    let schema = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut copy)
        .await
        .map_err(failed("read the schema of"))?;
    let newest = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM events")
        .fetch_one(&mut copy)
        .await
        .map_err(failed("read the events of"))?;
    copy.close().await.map_err(failed("close"))?;
    Ok((schema, newest))
}

/// Refuses a database that is damaged.
pub(super) async fn check(copy: &mut SqliteConnection) -> Result<(), BackupError> {
    let damage = db::damage(copy).await.map_err(BackupError::database("check"))?;
    match damage {
        None => Ok(()),
        Some(source) => Err(BackupError::Database {
            what: "trust",
            source,
        }),
    }
}

fn identity(data_dir: &Path) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let folder = data_dir.join(IDENTITY);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(BackupError::read(&folder))? {
        let entry = entry.map_err(BackupError::read(&folder))?;
        let kind = entry.file_type().map_err(BackupError::read(entry.path()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Drafts of files that are just being replaced.
        if kind.is_file() && !name.ends_with(".new") {
            files.push((format!("{IDENTITY}/{name}"), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}
