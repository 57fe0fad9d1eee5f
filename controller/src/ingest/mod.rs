//! From a file to an image that can be deployed.
//!
//! ```text
//! request body ─┐
//! URL, S3, OCI ─┼─pieces─> detection ──> reader of the format ──> ArtifactWriter ──> packs ──> store
//! upload ───────┘ (bounded)  (one blocking thread, and the writer's own)
//!                                                   facts, lint <── read again from the store
//!                                                   manifest ──> store, catalogue: the image is active
//! ```
//!
//! Every import is a job (`jobs`), also the one whose caller sends the file and waits. Its image is in the catalogue from
//! the beginning, so that its name is taken; what it will take of its project's quota is reserved before a byte is taken.
//! Whatever ends it before its end, be it the caller, a cancel, the time or the file, the blocking part is told to stop
//! and is waited for; then the row, the packs, the reservation and what was spooled are removed. Every object is noted
//! in the database before it is written, so that the next start removes what a crash has left.

mod bytes;
mod convert;
mod error;
mod facts;
pub mod fetch;
mod import;
mod quota;
mod request;
mod sink;
mod source;
mod stop;
#[cfg(test)]
mod tests;
pub mod upload;

use std::{fs, io, path::PathBuf, sync::Arc};

use axum::body::Body;
use futures::FutureExt;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use error::ImportError;
pub use facts::LintSummary;
pub(crate) use facts::findings_of;
pub use import::Imported;
pub use request::{FileSpec, ImportRequest, ImportSource};

use crate::{
    api::rest::problem::Problem,
    catalog::{Catalog, CatalogError, Image, ImageState, NewImage, Source},
    clock::Clock,
    config::{EncryptionConfig, IngestConfig},
    contents,
    events::{Author, EventLog, NewEvent},
    export::Exports,
    identity::{Authority, ImageKeys},
    jobs::{self, Job, JobContext, JobKind, Jobs, NewJob},
    store::Store,
};
use fetch::Fetcher;
use import::Import;
use source::{Opened, stream_of};
use upload::Uploads;

const SPOOL: &str = "spool";

/// What imports stand on.
#[derive(Debug)]
pub struct Parts {
    /// The data folder.
    pub data_dir: PathBuf,
    /// What imports may cost.
    pub config: IngestConfig,
    /// How images are encrypted.
    pub encryption: EncryptionConfig,
    /// Wraps the data keys of images.
    pub image_keys: ImageKeys,
    /// Signs manifests.
    pub authority: Authority,
    /// Known images.
    pub catalog: Catalog,
    /// Manifests and packs.
    pub store: Store,
    /// Buckets that files are taken from.
    pub exports: Exports,
    /// Long work.
    pub jobs: Jobs,
    /// All that happened.
    pub events: EventLog,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub db: sqlx::SqlitePool,
    /// Cancelled when the controller ends.
    pub shutdown: CancellationToken,
}

/// Imports images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: IngestConfig,
    encryption: EncryptionConfig,
    image_keys: ImageKeys,
    authority: Authority,
    catalog: Catalog,
    store: Store,
    exports: Exports,
    jobs: Jobs,
    events: EventLog,
    db: sqlx::SqlitePool,
    uploads: Uploads,
    fetcher: Fetcher,
    spool: PathBuf,
    shutdown: CancellationToken,
}

impl Ingest {
    /// Over store and catalogue, with a folder for files that cannot be read as a stream.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let spool = parts.data_dir.join(SPOOL);
        fs::create_dir_all(&spool)?;
        let uploads = Uploads::new(
            &spool,
            parts.db.clone(),
            parts.clock,
            parts.store.clone(),
            parts.config.clone(),
        )?;
        Ok(Self(Arc::new(Inner {
            fetcher: source::fetcher(&parts.config)?,
            config: parts.config,
            encryption: parts.encryption,
            image_keys: parts.image_keys,
            authority: parts.authority,
            catalog: parts.catalog,
            store: parts.store,
            exports: parts.exports,
            jobs: parts.jobs,
            events: parts.events,
            db: parts.db,
            uploads,
            spool,
            shutdown: parts.shutdown,
        })))
    }

    /// Files that arrive in pieces.
    #[must_use]
    pub fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// Removes what imports have left that ended with the controller. Called before anything is served.
    pub async fn recover(&self) -> Result<(), ImportError> {
        let inner = &self.0;
        for image in inner.catalog.abandon_unfinished().await? {
            tracing::info!(
                image.id = image.id,
                image = image.name,
                "an import ended with the controller"
            );
            let message = format!("The import of image {} ended with the controller.", image.name);
            let details = json!({ "image_id": image.id });
            let author = Author::default().in_project(&image.project_id);
            inner
                .append(author, "image.import-failed", message, details)
                .await;
        }
        inner.catalog.unreserve_all().await?;
        inner.uploads.recover().await?;
        let interrupted = inner.catalog.pending_imports().await?;
        for import_id in &interrupted {
            let removed = inner.catalog.sweep(&inner.store, import_id).await?;
            tracing::info!(
                import.id = import_id,
                removed,
                "removed what an interrupted import had left"
            );
        }
        if !interrupted.is_empty() {
            inner.catalog.forget_chunks_without_pack().await?;
        }
        Ok(())
    }

    /// Imports the file that `body` carries, and answers when the image can be used.
    pub async fn import(
        &self,
        request: ImportRequest,
        length: Option<u64>,
        body: Body,
    ) -> Result<Imported, Problem> {
        if let Some(image) = self.made_before(&request).await? {
            let lint = contents::lint(&self.0.db, &image).await?.summary;
            return Ok(Imported { image, lint });
        }
        let gone = CancellationToken::new();
        let _gone = gone.clone().drop_guard();
        let open = async move { Ok(Opened::stream(stream_of(body), length)) };
        let (done, answer) = oneshot::channel();
        let source = (Source::Upload, String::new(), json!({ "type": "stream" }));
        let job = self
            .begin(request, source, length, None, move |import, context| async move {
                let result = import
                    .run(open.boxed(), gone, context)
                    .await
                    .map_err(Problem::from);
                // The caller may be gone by now.
                done.send(result.clone()).ok();
                result.map(|imported| imported.told())
            })
            .await?;
        tracing::debug!(job.id = job.id, "a caller sends the file of an import");
        // The job's task is dropped only when the controller ends.
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(ImportError::Cancelled.into()));
        if answer.is_err() && self.0.shutdown.is_cancelled() {
            return Err(jobs::interrupted(JobKind::Import));
        }
        // Whoever looks at the job now finds it ended.
        self.0.jobs.settled(&job.id).await;
        answer
    }

    /// Starts the import of a file that the controller gets itself.
    pub async fn start(&self, request: ImportRequest, source: ImportSource) -> Result<Job, ImportError> {
        let open = self.0.prepare(&source, &request).await?;
        let key = request.idempotency_key.clone();
        let told = (source.source(), source.reference(), source.without_secrets());
        let length = open.length;
        self.begin(request, told, length, key, move |import, context| async move {
            let result = import.run(open.opening, CancellationToken::new(), context).await;
            result.map(|imported| imported.told()).map_err(Problem::from)
        })
        .await
    }

    /// As [`Ingest::begin_now`], to its end also when the caller goes away in the middle of it: so no row is left behind,
    /// and nothing reserved.
    async fn begin<W, F>(
        &self,
        request: ImportRequest,
        told: (Source, String, serde_json::Value),
        length: Option<u64>,
        key: Option<String>,
        work: W,
    ) -> Result<Job, ImportError>
    where
        W: FnOnce(Import, JobContext) -> F + Send + 'static,
        F: Future<Output = Result<serde_json::Value, Problem>> + Send + 'static,
    {
        let ingest = self.clone();
        let begun = tokio::spawn(async move { ingest.begin_now(request, told, length, key, work).await });
        begun.await.map_err(ImportError::Task)?
    }

    /// Enters the image and starts its job.
    async fn begin_now<W, F>(
        &self,
        request: ImportRequest,
        (source, reference, shown): (Source, String, serde_json::Value),
        length: Option<u64>,
        key: Option<String>,
        work: W,
    ) -> Result<Job, ImportError>
    where
        W: FnOnce(Import, JobContext) -> F + Send + 'static,
        F: Future<Output = Result<serde_json::Value, Problem>> + Send + 'static,
    {
        let inner = &self.0;
        request.spec.check()?;
        let declared = request.file.check(request.spec.kind)?;
        let upload = shown["upload"].as_str().map(str::to_owned);
        let mut job = NewJob {
            kind: JobKind::Import,
            project_id: request.by.project_id.clone(),
            image_id: None,
            request: json!({ "spec": request.spec, "file": request.file, "source": shown }),
            by: request.by.name.clone(),
            key,
        };
        if let Some(job) = inner.jobs.made_by(&job).await? {
            return Ok(job);
        }
        let new = NewImage {
            spec: &request.spec,
            by: &request.by,
            source,
            source_reference: &reference,
            idempotency_key: request.idempotency_key.as_deref().filter(|_| job.key.is_none()),
        };
        let image = inner.catalog.begin_image(&new, ImageState::Queued).await?;
        job.image_id = Some(image.id.clone());
        let import = Import {
            inner: inner.clone(),
            image: image.clone(),
            declared,
            length,
            upload,
            encrypt: request.spec.encrypt.unwrap_or(inner.encryption.default),
            author: request.by.author(),
        };
        let reserved = import.reserve().await;
        let started = match reserved {
            Ok(()) => {
                let started = inner.jobs.start(job, move |context| work(import, context)).await;
                started.map_err(ImportError::from)
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(job) if job.image_id.as_ref() == Some(&image.id) => Ok(job),
            // Another request with the same key was quicker.
            Ok(job) => {
                inner.abandon(&image).await;
                Ok(job)
            }
            Err(error) => {
                inner.abandon(&image).await;
                Err(error)
            }
        }
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
    /// Takes away an image whose content will not come, and what was reserved for it.
    async fn abandon(&self, image: &Image) {
        let abandoned = self.catalog.abandon_image(&image.id).await;
        let released = self.catalog.unreserve(&image.id).await;
        if let Err(error) = abandoned.and(released) {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                image.id = image.id,
                error,
                "the row of a failed import stays until the next start"
            );
        }
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
