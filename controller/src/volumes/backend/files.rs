//! Volumes as sparse files in a folder of the controller's host.
//!
//! ```text
//! FOLDER/exports/  one file a volume, by its name on cards; served over NBD
//! FOLDER/bases/    DIGEST.raw: the disk of an image, of which volumes are cloned
//! FOLDER/parts/    what is not finished; removed at the start
//! ```
//!
//! A file is made in `parts` and moved when it is whole and on the disk, so that no crash leaves half of one anywhere else.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use ulid::Ulid;

use super::{
    BackendError, BackendKind, Fill, VolumeBackend,
    sparse::{SparseWriter, clone_into},
};

const BASE_END: &str = ".raw";

/// The folder of a back-end's folder whose files are served.
pub(super) fn exports_in(folder: &Path) -> PathBuf {
    folder.join("exports")
}

/// Volumes as sparse files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FilesBackend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    exports: PathBuf,
    bases: PathBuf,
    parts: PathBuf,
    /// Bases that are being written, cloned or removed.
    locks: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

/// A file that is being made; dropped before it is moved, it is removed.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Puts it where it is to be, in the place of what is there. All of it is on the disk before, and its name after.
    fn finish(self, place: &Path) -> Result<(), BackendError> {
        self.file
            .sync_all()
            .map_err(BackendError::file("write", &self.path))?;
        fs::rename(&self.path, place).map_err(BackendError::file("make", place))?;
        sync_folder_of(place)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "half a volume stays until the next start");
            }
            _ => {}
        }
    }
}

fn sync_folder_of(path: &Path) -> Result<(), BackendError> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(BackendError::file("write", folder))
}

fn remove(path: &Path) -> Result<(), BackendError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackendError::file("remove", path)(error)),
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>, BackendError> {
    let fault = || BackendError::file("list", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault())? {
        let name = entry.map_err(fault())?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

impl FilesBackend {
    /// In a folder, which is made when it is not there. What an earlier run has not finished is removed.
    pub fn open(folder: &Path) -> Result<Self, BackendError> {
        let exports = exports_in(folder);
        let [bases, parts] = ["bases", "parts"].map(|name| folder.join(name));
        for path in [&exports, &bases, &parts] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(BackendError::file("make", path))?;
        }
        for name in names_in(&parts)? {
            remove(&parts.join(name))?;
        }
        Ok(Self(Arc::new(Inner {
            exports,
            bases,
            parts,
            locks: Mutex::default(),
        })))
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(died) if died.is_panic() => std::panic::resume_unwind(died.into_panic()),
            Err(_) => Err(BackendError::Interrupted),
        }
    }

    /// One at a time has to do with a base.
    async fn base(&self, base: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(base).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    locks.insert(base.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

impl Inner {
    fn part(&self) -> Result<Part, BackendError> {
        let path = self.parts.join(Ulid::generate().to_string());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(BackendError::file("make", &path))?;
        Ok(Part { file, path })
    }

    fn export_of(&self, name: &str) -> PathBuf {
        self.exports.join(name)
    }

    fn base_of(&self, base: &str) -> PathBuf {
        self.bases.join(format!("{base}{BASE_END}"))
    }
}

#[tonic::async_trait]
impl VolumeBackend for FilesBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Files
    }

    async fn create(&self, name: &str, size_bytes: u64) -> Result<(), BackendError> {
        let name = name.to_owned();
        self.on_a_thread(move |inner| {
            let part = inner.part()?;
            let place = inner.export_of(&name);
            let grown = part.file.set_len(size_bytes);
            grown.map_err(BackendError::file("make", &place))?;
            part.finish(&place)
        })
        .await
    }

    async fn write_base(&self, base: &str, fill: Fill) -> Result<(), BackendError> {
        let lock = self.base(base).await;
        let base = base.to_owned();
        self.on_a_thread(move |inner| {
            let _lock = lock;
            let place = inner.base_of(&base);
            if place
                .try_exists()
                .map_err(BackendError::file("look for", &place))?
            {
                return Ok(());
            }
            let part = inner.part()?;
            let mut writer = SparseWriter::new(&part.file);
            fill(&mut writer).map_err(BackendError::Content)?;
            writer.finish().map_err(BackendError::file("write", &place))?;
            part.finish(&place)
        })
        .await
    }

    async fn clone_base(&self, base: &str, name: &str, size_bytes: u64) -> Result<(), BackendError> {
        let lock = self.base(base).await;
        let (base, name) = (base.to_owned(), name.to_owned());
        self.on_a_thread(move |inner| {
            let _lock = lock;
            let (base, place) = (inner.base_of(&base), inner.export_of(&name));
            let from = File::open(&base).map_err(BackendError::file("open", &base))?;
            let base_bytes = from.metadata().map_err(BackendError::file("read", &base))?.len();
            if base_bytes > size_bytes {
                return Err(BackendError::TooSmall {
                    size_bytes,
                    base_bytes,
                });
            }
            let part = inner.part()?;
            clone_into(&from, &part.file).map_err(BackendError::file("write", &place))?;
            let grown = part.file.set_len(size_bytes);
            grown.map_err(BackendError::file("write", &place))?;
            part.finish(&place)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), BackendError> {
        let name = name.to_owned();
        self.on_a_thread(move |inner| remove(&inner.export_of(&name)))
            .await
    }

    async fn list(&self) -> Result<Vec<String>, BackendError> {
        self.on_a_thread(|inner| names_in(&inner.exports)).await
    }

    async fn bases(&self) -> Result<Vec<String>, BackendError> {
        let names = self.on_a_thread(|inner| names_in(&inner.bases)).await?;
        let bases = names.iter().filter_map(|name| name.strip_suffix(BASE_END));
        Ok(bases.map(str::to_owned).collect())
    }

    async fn delete_base(&self, base: &str) -> Result<(), BackendError> {
        let lock = self.base(base).await;
        let base = base.to_owned();
        self.on_a_thread(move |inner| {
            let _lock = lock;
            remove(&inner.base_of(&base))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
