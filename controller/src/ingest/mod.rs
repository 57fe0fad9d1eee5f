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
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::body::Body;
use imprint_image::{
    Manifest,
    seal::{DataKey, Seal},
    source::Format,
};
use serde_json::json;
use tokio::{runtime::Handle, sync::Semaphore};
use ulid::Ulid;

pub use error::ImportError;

use crate::{
    catalog::{
        Catalog, CatalogError, Finished, Image, ImageKind, ImageSpec, ImageState, NewDisk, NewImage, Source,
    },
    config::{Config, EncryptionConfig},
    events::{Author, EventLog, NewEvent},
    identity::{Authority, Caller, ImageKeys},
    store::{Store, StoreObject},
};
use body::{BodyReader, CancelOnDrop};

const SPOOL: &str = "spool";
/// Each import uses all cores; more at once would only take turns.
const AT_ONCE: usize = 2;

/// What a caller wants to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// What the new image is to be.
    pub spec: ImageSpec,
    /// The format that the caller declares, as written; `None` and "auto" leave it to detection.
    pub format: Option<String>,
    /// Of the request.
    pub idempotency_key: Option<String>,
    /// Length of the file, when it is known beforehand.
    pub length: Option<u64>,
    /// Who imports; the image belongs to the project that this caller acts for.
    pub by: Caller,
}

/// Imports images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authority: Authority,
    image_keys: ImageKeys,
    encryption: EncryptionConfig,
    catalog: Catalog,
    store: Store,
    events: EventLog,
    spool: PathBuf,
    slots: Semaphore,
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
        config: &Config,
        authority: Authority,
        image_keys: ImageKeys,
        catalog: Catalog,
        store: Store,
        events: EventLog,
    ) -> io::Result<Self> {
        let spool = config.data_dir.join(SPOOL);
        fs::create_dir_all(&spool)?;
        Ok(Self(Arc::new(Inner {
            authority,
            image_keys,
            encryption: config.encryption,
            catalog,
            store,
            events,
            spool,
            slots: Semaphore::new(AT_ONCE),
        })))
    }

    /// Removes what imports have left that ended with the controller. Called before anything is served.
    pub async fn recover(&self) -> Result<(), ImportError> {
        for image in self.0.catalog.abandon_unfinished().await? {
            tracing::info!(
                image.id = image.id,
                image = image.name,
                "an import ended with the controller"
            );
            let message = format!("The import of image {} ended with the controller.", image.name);
            let details = json!({ "image_id": image.id });
            self.0
                .append(
                    Author::default().in_project(&image.project_id),
                    "image.import-failed",
                    message,
                    details,
                )
                .await;
        }
        let interrupted = self.0.catalog.pending_imports().await?;
        for import_id in &interrupted {
            let removed = self.0.catalog.sweep(&self.0.store, import_id).await?;
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
        request.spec.check()?;
        let declared = declared(request.format.as_deref())?;
        if let Some(image) = self.made_before(&request).await? {
            return Ok(image);
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(cancelled.clone());
        let (reader, feed) = body::bridge(body);
        let inner = self.0.clone();
        let mut job = tokio::spawn(async move { inner.run(&request, declared, reader, &cancelled).await });
        tokio::select! {
            // Refused, while the caller may still be sending.
            done = &mut job => return done.map_err(ImportError::Task)?,
            () = feed.run() => {}
        }
        job.await.map_err(ImportError::Task)?
    }

    /// The image that the same request made before, when it is sent again.
    async fn made_before(&self, request: &ImportRequest) -> Result<Option<Image>, ImportError> {
        let Some(key) = &request.idempotency_key else {
            return Ok(None);
        };
        match self.0.catalog.made_by(&request.by.project_id, key).await? {
            Some(image) if image.name != request.spec.name => {
                Err(ImportError::KeyReused { name: image.name })
            }
            Some(image) if image.state.is_unfinished() => {
                Err(CatalogError::Importing { name: image.name }.into())
            }
            made => Ok(made),
        }
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
        let new = NewImage {
            spec: &request.spec,
            by: &request.by,
            source: Source::Upload,
            source_reference: "",
            idempotency_key: request.idempotency_key.as_deref(),
        };
        let image = self.catalog.begin_image(&new, ImageState::Queued).await?;
        let import_id = Ulid::generate().to_string();
        tracing::info!(
            import.id = import_id,
            image.id = image.id,
            image = image.name,
            "import started"
        );
        let result = self
            .import(&import_id, &image, request, declared, reader, cancelled)
            .await;
        if result.is_err()
            && let Err(error) = self.catalog.abandon_image(&image.id).await
        {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                image.id = image.id,
                error,
                "the row of a failed import stays until the next start"
            );
        }
        // Whatever the catalogue has not taken over is removed; after a success that is nothing, or all the packs of
        // an image whose content was known.
        if let Err(error) = self.catalog.sweep(&self.store, &import_id).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                import.id = import_id,
                error,
                "cannot remove what the import left; it is collected as garbage later"
            );
        }
        self.tell(request, &image, &result).await;
        result
    }

    async fn import(
        self: &Arc<Self>,
        import_id: &str,
        image: &Image,
        request: &ImportRequest,
        declared: Option<Format>,
        reader: BodyReader,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Image, ImportError> {
        self.store.require_space(0)?;
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        self.catalog.start_image(&image.id).await?;
        let encrypt = request.spec.encrypt.unwrap_or(self.encryption.default);
        let data_key = encrypt.then(DataKey::generate);
        let seal = data_key
            .as_ref()
            .map(|key| Seal::new(key, self.encryption.algorithm));
        let job = convert::Conversion {
            inner: self.clone(),
            runtime: Handle::current(),
            import_id: import_id.to_owned(),
            project_id: image.project_id.clone(),
            seal,
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
        self.finish(import_id, image, &manifest, data_key.as_ref(), format.name())
            .await
    }

    /// Signs and stores the manifest and enters the content of the image.
    async fn finish(
        &self,
        import_id: &str,
        image: &Image,
        manifest: &Manifest,
        data_key: Option<&DataKey>,
        format: &str,
    ) -> Result<Image, ImportError> {
        let _alone = self.store.removing().await;
        let known = match data_key {
            Some(_) => None,
            None => {
                self.catalog
                    .known_manifest(&image.project_id, &manifest.image_digest)
                    .await?
            }
        };
        let fresh = known.is_none();
        let (key, manifest_digest) = match known {
            Some(known) => known,
            None => {
                let signed = self.authority.sign_manifest(manifest);
                let digest = signed.manifest_digest();
                let object = StoreObject::Manifest(digest);
                let content = signed.encode().into();
                self.catalog
                    .write_noted(&self.store, import_id, &object, content)
                    .await?;
                (digest.to_string(), digest.to_string())
            }
        };
        let wrapped_key = match data_key {
            Some(data_key) => Some(self.image_keys.wrap(data_key, &key).await?),
            None => None,
        };
        let disk = NewDisk {
            role: match image.kind {
                ImageKind::DataDisk => "data",
                ImageKind::SystemDisk | ImageKind::Iso | ImageKind::FullMachine => "system",
            },
            manifest,
            key,
            manifest_digest,
            fresh,
            wrapped_key,
            findings: None,
        };
        let done = Finished {
            image_id: &image.id,
            import_id,
            source_format: format,
            disks: &[disk],
        };
        let finished = self.catalog.finish_image(&done).await;
        // Nobody else enters chunks meanwhile: this import still holds off all others.
        if finished.is_err()
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
        Ok(finished?)
    }

    async fn tell(&self, request: &ImportRequest, image: &Image, result: &Result<Image, ImportError>) {
        let by = &request.by.name;
        let (kind, message, details) = match result {
            Ok(image) => (
                "image.imported",
                format!("Image {} was imported.", image.name),
                json!({ "image_id": image.id, "image_digest": image.image_digest, "by": by }),
            ),
            Err(error) => (
                "image.import-failed",
                format!("The import of image {} failed.", image.name),
                json!({ "image_id": image.id, "cause": crate::api::rest::problem::chain(error), "by": by }),
            ),
        };
        let author = request.by.author().in_project(&image.project_id);
        self.append(author, kind, message, details).await;
    }

    async fn append(&self, author: Author, kind: &str, message: String, details: serde_json::Value) {
        let event = NewEvent {
            kind,
            node_id: None,
            deployment_id: None,
            message,
            details,
        };
        if let Err(error) = self.events.append_by(author, event).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "the event of an import was not kept");
        }
    }
}
