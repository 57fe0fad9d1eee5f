//! From an upload to an image that can be deployed.
//!
//! ```text
//! request body --pieces--> detection --> reader of the format --> ArtifactWriter --> packs --> store
//!  (async task)  (bounded)  (one blocking thread, and the writer's own)                manifest, catalogue
//! ```
//!
//! The import runs in a task of its own, not in the request's: when the caller goes away in the middle, the task sees
//! the end of the pieces without their end mark, fails, and removes what it has written. Every object is noted in the
//! database before it is written, so a crash in the middle is cleaned up at the next start.

mod body;
mod convert;
mod error;
mod sink;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::Body;
use imprint_image::{Manifest, source::Format};
use serde_json::json;
use tokio::{
    runtime::Handle,
    sync::{RwLock, Semaphore},
};
use ulid::Ulid;

pub use error::ImportError;

use crate::{
    catalog::{Catalog, CatalogError, Image, NewImage, check_name},
    clock::Clock,
    events::{EventLog, NewEvent},
    identity::Authority,
    store::{Store, StoreObject},
};
use body::{BodyReader, CancelOnDrop};

const SPOOL: &str = "spool";
/// Each import uses all cores; more at once would only take turns.
const AT_ONCE: usize = 2;

/// What a caller wants to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The new image's name.
    pub name: String,
    /// The format that the caller declares, as written; `None` and "auto" leave it to detection.
    pub format: Option<String>,
    /// Of the request.
    pub idempotency_key: Option<String>,
    /// Length of the file, when it is known beforehand.
    pub length: Option<u64>,
    /// Who imports, for the event log.
    pub by: String,
}

/// Imports images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authority: Authority,
    catalog: Catalog,
    store: Store,
    events: EventLog,
    clock: Clock,
    spool: PathBuf,
    slots: Semaphore,
    /// Names that running imports will take.
    names: Mutex<HashSet<String>>,
    /// Read while an object is noted and written, written while orphans are looked for and removed.
    sweeping: RwLock<()>,
}

fn declared(format: Option<&str>) -> Result<Option<Format>, ImportError> {
    match format {
        None | Some("" | "auto") => Ok(None),
        Some(name) => Ok(Some(name.parse()?)),
    }
}

impl Ingest {
    /// Over store and catalogue, with a folder for files that cannot be read as a stream.
    pub fn new(
        data_dir: &Path,
        authority: Authority,
        catalog: Catalog,
        store: Store,
        events: EventLog,
        clock: Clock,
    ) -> io::Result<Self> {
        let spool = data_dir.join(SPOOL);
        fs::create_dir_all(&spool)?;
        Ok(Self(Arc::new(Inner {
            authority,
            catalog,
            store,
            events,
            clock,
            spool,
            slots: Semaphore::new(AT_ONCE),
            names: Mutex::default(),
            sweeping: RwLock::default(),
        })))
    }

    /// Removes what imports have left that ended with the controller. Called before anything is served.
    pub async fn recover(&self) -> Result<(), ImportError> {
        let interrupted = self.0.catalog.pending_imports().await?;
        for import_id in &interrupted {
            let removed = self.0.sweep(import_id).await?;
            tracing::info!(
                import.id = import_id,
                removed,
                "removed what an interrupted import had left"
            );
        }
        if !interrupted.is_empty() {
            self.0.catalog.forget_chunks_without_pack().await?;
        }
        Ok(())
    }

    /// Imports the file that `body` carries.
    pub async fn import(&self, request: ImportRequest, body: Body) -> Result<Image, ImportError> {
        check_name(&request.name)?;
        let declared = declared(request.format.as_deref())?;
        if let Some(image) = self.made_before(&request).await? {
            return Ok(image);
        }
        let name = self.reserve(&request.name).await?;
        self.0.store.require_space(0)?;
        let _slot = self
            .0
            .slots
            .acquire()
            .await
            .expect("the semaphore is never closed");

        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(cancelled.clone());
        let (reader, feed) = body::bridge(body);
        let inner = self.0.clone();
        let job = tokio::spawn(async move {
            let result = inner.run(&request, declared, reader, &cancelled).await;
            drop(name);
            result
        });
        feed.run().await;
        job.await.map_err(ImportError::Task)?
    }

    /// The image that the same request made before, when it is sent again.
    async fn made_before(&self, request: &ImportRequest) -> Result<Option<Image>, ImportError> {
        let Some(key) = &request.idempotency_key else {
            return Ok(None);
        };
        match self.0.catalog.made_by(key).await? {
            Some(image) if image.name == request.name => Ok(Some(image)),
            Some(image) => Err(ImportError::KeyReused { name: image.name }),
            None => Ok(None),
        }
    }

    async fn reserve(&self, name: &str) -> Result<Reservation, ImportError> {
        let reservation = Reservation::make(&self.0, name)?;
        if self.0.catalog.has_name(name).await? {
            return Err(CatalogError::NameTaken {
                name: name.to_owned(),
            }
            .into());
        }
        Ok(reservation)
    }
}

/// A name that a running import will take; free again when this is dropped.
struct Reservation {
    inner: Arc<Inner>,
    name: String,
}

impl Reservation {
    fn make(inner: &Arc<Inner>, name: &str) -> Result<Self, ImportError> {
        if inner
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned())
        {
            Ok(Self {
                inner: inner.clone(),
                name: name.to_owned(),
            })
        } else {
            Err(ImportError::Running {
                name: name.to_owned(),
            })
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

impl Inner {
    async fn run(
        self: &Arc<Self>,
        request: &ImportRequest,
        declared: Option<Format>,
        reader: BodyReader,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Image, ImportError> {
        let import_id = Ulid::generate().to_string();
        tracing::info!(import.id = import_id, image = request.name, "import started");
        let result = self
            .import(&import_id, request, declared, reader, cancelled)
            .await;
        // Whatever the catalogue has not taken over is removed; after a success that is nothing, or all the packs of
        // an image whose content was known.
        if let Err(error) = self.sweep(&import_id).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                import.id = import_id,
                error,
                "cannot remove what the import left; the next start will"
            );
        }
        self.tell(request, &result).await;
        result
    }

    async fn import(
        self: &Arc<Self>,
        import_id: &str,
        request: &ImportRequest,
        declared: Option<Format>,
        reader: BodyReader,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Image, ImportError> {
        let job = convert::Conversion {
            inner: self.clone(),
            runtime: Handle::current(),
            import_id: import_id.to_owned(),
            declared,
            length: request.length,
            cancelled: cancelled.clone(),
        };
        let (manifest, format) = tokio::task::spawn_blocking(move || job.run(reader))
            .await
            .map_err(ImportError::Task)??;
        if cancelled.load(Ordering::SeqCst) {
            return Err(ImportError::Disconnected);
        }
        self.finish(import_id, request, &manifest, format.name()).await
    }

    /// Signs and stores the manifest and enters the image.
    async fn finish(
        &self,
        import_id: &str,
        request: &ImportRequest,
        manifest: &Manifest,
        format: &str,
    ) -> Result<Image, ImportError> {
        let _alone = self.sweeping.write().await;
        let known = self.catalog.manifest_of(&manifest.image_digest).await?;
        let fresh = known.is_none();
        let manifest_digest = match known {
            Some(digest) => digest,
            None => {
                let signed = self.authority.sign_manifest(manifest);
                let object = StoreObject::Manifest(manifest.image_digest);
                self.catalog.note_pending(import_id, &object).await?;
                self.store.put(&object, signed.encode().into()).await?;
                signed.manifest_digest().to_string()
            }
        };
        let new = NewImage {
            name: &request.name,
            manifest,
            manifest_digest,
            fresh,
            source_format: format,
            created_at_ms: self.clock.now_ms(),
            idempotency_key: request.idempotency_key.as_deref(),
            import_id,
        };
        let inserted = self.catalog.insert(&new).await;
        // Nobody else enters chunks meanwhile: this import still holds off all others.
        if inserted.is_err()
            && fresh
            && let Err(error) = self.catalog.forget_chunks_without_pack().await
        {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                import.id = import_id,
                error,
                "chunks of a failed import stay entered"
            );
        }
        Ok(inserted?)
    }

    /// Removes the objects of an import that nobody uses, and forgets about it.
    async fn sweep(&self, import_id: &str) -> Result<usize, ImportError> {
        let _alone = self.sweeping.write().await;
        let orphans = self.catalog.orphans(import_id).await?;
        for object in &orphans {
            self.store.delete(object).await?;
        }
        self.catalog.forget_pending(import_id).await?;
        Ok(orphans.len())
    }

    async fn tell(&self, request: &ImportRequest, result: &Result<Image, ImportError>) {
        let (kind, message, details) = match result {
            Ok(image) => (
                "image.imported",
                format!("Image {} was imported.", image.name),
                json!({ "image_id": image.id, "image_digest": image.image_digest, "by": request.by }),
            ),
            Err(error) => (
                "image.import-failed",
                format!("The import of image {} failed.", request.name),
                json!({ "cause": crate::api::rest::problem::chain(error), "by": request.by }),
            ),
        };
        let event = NewEvent {
            kind,
            node_id: None,
            deployment_id: None,
            message,
            details,
        };
        if let Err(error) = self.events.append(event).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "the event of an import was not kept");
        }
    }
}
