//! Why a backup cannot be made or restored.

use std::{io, path::PathBuf};

use crate::{db::DbError, setup::OpenError, store::StoreError};

/// A backup cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to be backed up.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The archive would take the place of something.
    #[error("{} is there already; name a file that is not", path.display())]
    Exists {
        /// The archive.
        path: PathBuf,
    },
    /// The folder to restore into holds something.
    #[error(
        "{} is not empty; stop the controller that uses it and name an empty or a new folder as --data-dir", path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}; check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}; check that its folder exists, that this user may write there, and that the disk has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no backup, or not all of it.
    #[error("{} is no whole backup: {reason}; take another copy of it, or an older backup", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version has made it.
    #[error("{} was made by a later version ({version}); restore it with that version", path.display())]
    Newer {
        /// The archive.
        path: PathBuf,
        /// Which one.
        version: String,
    },
    /// The snapshot could not be taken or prepared.
    #[error("cannot {what} the database")]
    Database {
        /// "take a snapshot of"
        what: &'static str,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// The restored database cannot be opened.
    #[error("the database of the backup cannot be used")]
    Open(#[from] DbError),
    /// The folders of the store.
    #[error("cannot make the folders of the artifact store")]
    Store(#[from] StoreError),
}

impl BackupError {
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }

    pub(super) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}
