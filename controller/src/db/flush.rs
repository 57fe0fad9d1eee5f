//! Flushes of the database's log, each for all who wait.
//!
//! A flush that failed is remembered. The system reports such a failure once, and takes what it could not write for
//! written: the next flush would succeed over a hole in the log, and a start after a loss of power reads the log up to the hole.
//! So nothing is acknowledged from then on until the whole log has been written back into the database, and begins anew.

use std::{
    fmt::Debug,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use sqlx::SqlitePool;
use tokio::sync::Mutex;

use super::empty_log;

/// How what was written to a file gets onto its disk.
pub(super) trait Disk: Debug + Send + Sync + 'static {
    /// Returns once it is there.
    fn flush(&self, file: &File) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn flush(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Numbers commits, and says which of them are durable.
#[derive(Debug)]
pub(super) struct Flush {
    /// Commits that have begun. They are numbered in their order, which is that of the line.
    begun: AtomicU64,
    /// The newest commit that has ended.
    ended: AtomicU64,
    /// The newest commit that is durable.
    durable: AtomicU64,
    path: PathBuf,
    db: SqlitePool,
    disk: Arc<dyn Disk>,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// Kept open, as a failure is reported to those who have the file open when it happens.
    file: Option<Arc<File>>,
    /// There may be a hole in it.
    doubtful: bool,
}

impl Flush {
    /// Of the log with this path, which belongs to the database.
    pub(super) fn of(path: PathBuf, db: SqlitePool, disk: impl Disk) -> Self {
        Self {
            // The first stands for what an earlier life has left in the log.
            begun: AtomicU64::new(1),
            ended: AtomicU64::new(1),
            durable: AtomicU64::new(0),
            path,
            db,
            disk: Arc::new(disk),
            log: Mutex::default(),
        }
    }

    /// A commit begins; its number. Only whoever has the line may say so.
    pub(super) fn begins(&self) -> u64 {
        self.begun.fetch_add(1, SeqCst) + 1
    }

    /// The commit of this number has ended, however it did, and so have all before.
    pub(super) fn has_ended(&self, number: u64) {
        self.ended.fetch_max(number, SeqCst);
    }

    /// The newest commit that may be seen and is not durable yet; `None` when all are.
    pub(super) fn open_until(&self) -> Option<u64> {
        let begun = self.begun.load(SeqCst);
        (self.durable.load(SeqCst) < begun).then_some(begun)
    }

    /// Returns once a flush has ended that began after this was called, or that this commit needs none. Not to be dropped
    /// half way: what became of the flush would not be noted.
    pub(super) async fn durable(&self, number: u64) -> io::Result<()> {
        let mut log = self.log.lock().await;
        if self.durable.load(SeqCst) >= number {
            return Ok(());
        }
        let until = self.ended.load(SeqCst);
        if !log.doubtful {
            let flushed = self.flush(&mut log).await;
            if let Err(error) = flushed {
                tracing::error!(%error, log = %self.path.display(), "the database's log could not be flushed");
                log.doubtful = true;
            }
        }
        if log.doubtful {
            self.write_back().await?;
            log.doubtful = false;
            tracing::info!(log = %self.path.display(), "the database's log was written back and begins anew");
        }
        self.durable.fetch_max(until, SeqCst);
        Ok(())
    }

    async fn flush(&self, log: &mut Log) -> io::Result<()> {
        let (path, known, disk) = (self.path.clone(), log.file.take(), Arc::clone(&self.disk));
        // Closing this file takes no lock from SQLite: those are on the database and on the index of the log.
        let work = tokio::task::spawn_blocking(move || -> io::Result<Option<Arc<File>>> {
            let Some(file) = opened(&path, known)? else {
                return Ok(None);
            };
            disk.flush(&file)?;
            Ok(Some(file))
        });
        log.file = work.await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Writes all of the log into the database, flushes that, and has the log begin anew.
    async fn write_back(&self) -> io::Result<()> {
        match empty_log(&self.db).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other(
                "the database's log could not be flushed, and is not written back yet since the database is in use",
            )),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// The log; `None` when there is none: then all connections had been closed, and the last of them wrote it back.
fn opened(path: &Path, known: Option<Arc<File>>) -> io::Result<Option<Arc<File>>> {
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(known) = known {
        let same = known.metadata()?;
        if (same.dev(), same.ino()) == (there.dev(), there.ino()) {
            return Ok(Some(known));
        }
    }
    Ok(Some(Arc::new(File::open(path)?)))
}
