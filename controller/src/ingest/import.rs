//! One import from its turn to its end, and what is taken away when that is not a success.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use imprint_image::{
    Manifest,
    seal::{DataKey, Seal},
    source::Format,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    ImportError, Inner, LintSummary,
    convert::Conversion,
    facts::{Examination, Examined},
    quota::Reservation,
    request::Declared,
    source::Opened,
    stop::{Stop, StopReason},
};
use crate::{
    api::rest::problem::chain,
    catalog::{self, Finished, Image, ImageKind, NewDisk, QuotaReservation},
    events::Author,
    jobs::JobContext,
    store::StoreObject,
};

/// An image that was imported, and how many findings its lint report has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// The image.
    #[serde(flatten)]
    pub image: Image,
    /// Findings that would keep it from working; `GET /v1/images/{image}/lint` has them.
    pub lint: LintSummary,
}

impl Imported {
    /// As the result of a job.
    pub(super) fn told(self) -> Value {
        let Self { image, lint } = self;
        json!({
            "image_id": image.id,
            "name": image.name,
            "image_digest": image.image_digest,
            "source_format": image.source_format,
            "disk_size_bytes": image.disk_size_bytes,
            "data_bytes": image.data_bytes,
            "stored_bytes": image.stored_bytes,
            "lint": lint,
        })
    }
}

/// What is imported.
pub(super) struct Import {
    pub(super) inner: Arc<Inner>,
    /// Its row, which is there already.
    pub(super) image: Image,
    pub(super) declared: Declared,
    /// Length of the file, if it is known beforehand.
    pub(super) length: Option<u64>,
    /// The upload that it takes.
    pub(super) upload: Option<String>,
    /// Whether it is encrypted in the store.
    pub(super) encrypt: bool,
    /// Who asked for it.
    pub(super) author: Author,
}

/// When an import is to end before its end.
type Interruption<'a> = Pin<&'a mut (dyn Future<Output = StopReason> + Send)>;

impl Import {
    /// Reserves what is known of what it will take.
    pub(super) async fn reserve(&self) -> Result<(), ImportError> {
        self.inner.store.require_space(self.length.unwrap_or(0))?;
        Ok(self.inner.catalog.reserve(&self.reservation()).await?)
    }

    fn reservation(&self) -> QuotaReservation {
        QuotaReservation {
            holder: self.image.id.clone(),
            project_id: self.image.project_id.clone(),
            created_by: self.image.created_by.clone(),
            images: 1,
            bytes: self.length.unwrap_or(0),
        }
    }

    /// Runs it, and cleans up behind it.
    pub(super) async fn run(
        mut self,
        opening: BoxFuture<'static, Result<Opened, ImportError>>,
        gone: CancellationToken,
        context: JobContext,
    ) -> Result<Imported, ImportError> {
        let import_id = Ulid::generate().to_string();
        tracing::info!(
            import.id = import_id,
            image.id = self.image.id,
            image = self.image.name,
            "import started"
        );
        let stop = Stop::default();
        let interruption = interruption(context.cancel.clone(), gone, self.inner.config.max_seconds);
        let mut interruption = std::pin::pin!(interruption);
        let result = self
            .steps(&import_id, opening, &stop, interruption.as_mut(), &context)
            .await;
        self.clean_up(&import_id, &result).await;
        self.tell(&result).await;
        result
    }

    async fn steps(
        &mut self,
        import_id: &str,
        opening: BoxFuture<'static, Result<Opened, ImportError>>,
        stop: &Stop,
        mut interruption: Interruption<'_>,
        context: &JobContext,
    ) -> Result<Imported, ImportError> {
        let inner = self.inner.clone();
        inner.catalog.start_image(&self.image.id).await?;
        context.progress("connects", 0, 0);
        let opened = tokio::select! {
            biased;
            reason = &mut interruption => {
                stop.now(reason);
                return Err(stop.error().unwrap_or(ImportError::Cancelled));
            }
            opened = opening => opened?,
        };
        self.promise(&opened)?;
        let reservation = Reservation::make(&inner.catalog, self.reservation()).await?;
        let data_key = self.encrypt.then(DataKey::generate);
        let seal = data_key
            .as_ref()
            .map(|key| Seal::new(key, inner.encryption.algorithm));
        let conversion = Conversion {
            inner: inner.clone(),
            runtime: Handle::current(),
            import_id: import_id.to_owned(),
            project_id: self.image.project_id.clone(),
            seal,
            declared: self.declared,
            length: opened.length,
            stop: stop.clone(),
            context: context.clone(),
            reservation,
        };
        let Opened { origin, feed, .. } = opened;
        let blocking = tokio::task::spawn_blocking(move || conversion.run(origin));
        let (manifest, format) = stoppable(blocking, Some(feed), stop, interruption.as_mut()).await??;

        context.progress("looks at the content", 0, 0);
        let examination = Examination {
            store: inner.store.clone(),
            runtime: Handle::current(),
            manifest: manifest.clone(),
            kind: self.image.kind,
            sector: self.declared.sector,
            limit: Duration::from_secs(inner.config.facts_seconds),
            stop: stop.clone(),
        };
        let blocking = tokio::task::spawn_blocking(move || examination.run());
        let examined = match stoppable(blocking, None, stop, interruption).await? {
            Err(error @ ImportError::Facts(_)) if self.is_known(&manifest).await? => {
                // It was there before this import, whose own packs were all written just now.
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::error!(
                    image.id = self.image.id,
                    error,
                    "known content cannot be read from the store"
                );
                None
            }
            examined => examined?,
        };
        context.progress("finishes", 0, 0);
        let lint = examined
            .as_ref()
            .map_or_else(LintSummary::default, |examined| examined.lint);
        let image = self
            .finish(import_id, &manifest, data_key.as_ref(), format, examined.as_ref())
            .await?;
        Ok(Imported { image, lint })
    }

    async fn is_known(&self, manifest: &Manifest) -> Result<bool, ImportError> {
        let catalog = &self.inner.catalog;
        let known = catalog.known_manifest(&self.image.project_id, &manifest.image_digest);
        Ok(known.await?.is_some())
    }

    /// What the source promises is what the caller said, or stands for it.
    fn promise(&mut self, opened: &Opened) -> Result<(), ImportError> {
        match (self.declared.sha256, opened.sha256) {
            (Some(declared), Some(got)) if declared != got => {
                return Err(ImportError::Sha256 { declared, got });
            }
            (None, promised) => self.declared.sha256 = promised,
            _ => {}
        }
        self.length = opened.length.or(self.length);
        self.inner.store.require_space(self.length.unwrap_or(0))?;
        Ok(())
    }

    /// Signs and stores the manifest and enters the content of the image.
    async fn finish(
        &self,
        import_id: &str,
        manifest: &Manifest,
        data_key: Option<&DataKey>,
        format: Format,
        examined: Option<&Examined>,
    ) -> Result<Image, ImportError> {
        let inner = &self.inner;
        let role = match self.image.kind {
            ImageKind::DataDisk => "data",
            ImageKind::SystemDisk | ImageKind::Iso | ImageKind::FullMachine => "system",
        };
        let findings = examined.map(|examined| &examined.findings);
        catalog::fit_at_once(&self.image, role, data_key.is_some(), findings)?;
        let _alone = inner.store.removing().await;
        let known = match data_key {
            Some(_) => None,
            None => {
                let catalog = &inner.catalog;
                catalog
                    .known_manifest(&self.image.project_id, &manifest.image_digest)
                    .await?
            }
        };
        let fresh = known.is_none();
        let (key, manifest_digest) = match known {
            Some(known) => known,
            None => {
                let signed = inner.authority.sign_manifest(manifest);
                let digest = signed.manifest_digest();
                let object = StoreObject::Manifest(digest);
                let content = signed.encode().into();
                inner
                    .catalog
                    .write_noted(&inner.store, import_id, &object, content)
                    .await?;
                (digest.to_string(), digest.to_string())
            }
        };
        let wrapped_key = match data_key {
            Some(data_key) => Some(inner.image_keys.wrap(data_key, &key).await?),
            None => None,
        };
        let disk = NewDisk {
            role,
            manifest,
            key,
            manifest_digest,
            fresh,
            wrapped_key,
            findings,
        };
        let done = Finished {
            image_id: &self.image.id,
            import_id,
            source_format: format.name(),
            disks: &[disk],
        };
        let finished = inner.catalog.finish_image(&done).await;
        // Nobody else enters chunks meanwhile: this import still holds off all others.
        if finished.is_err()
            && fresh
            && let Err(error) = inner.catalog.forget_chunks_without_pack().await
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

    /// Removes whatever the catalogue has not taken over; after a success that is nothing, or all the packs of an image
    /// whose content was known.
    async fn clean_up(&self, import_id: &str, result: &Result<Imported, ImportError>) {
        let inner = &self.inner;
        if result.is_err() {
            inner.abandon(&self.image).await;
        } else if let Err(error) = inner.catalog.unreserve(&self.image.id).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                import.id = import_id,
                error,
                "a reservation of quota stays until the next start"
            );
        }
        if let Err(error) = inner.catalog.sweep(&inner.store, import_id).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                import.id = import_id,
                error,
                "cannot remove what the import left; it is collected as garbage later"
            );
        }
        // An upload that is good, or may be, is kept: it can be imported again when what was in the way is gone.
        let of_no_use = match result {
            Ok(_) => true,
            Err(ImportError::Cancelled) => !inner.shutdown.is_cancelled(),
            Err(error) => error.is_bad_image(),
        };
        if let Some(upload) = self.upload.as_deref().filter(|_| of_no_use)
            && let Err(error) = inner.uploads.remove(upload).await
        {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(upload.id = upload, error, "an upload stays until it expires");
        }
    }

    async fn tell(&self, result: &Result<Imported, ImportError>) {
        let name = &self.image.name;
        let (kind, message, details) = match result {
            Ok(Imported { image, lint }) => (
                "image.imported",
                format!("Image {name} was imported."),
                json!({ "image_id": image.id, "image_digest": image.image_digest, "visibility": image.visibility, "lint": lint }),
            ),
            Err(error) => (
                "image.import-failed",
                format!("The import of image {name} failed."),
                json!({ "image_id": self.image.id, "cause": chain(error) }),
            ),
        };
        let author = self.author.clone().in_project(&self.image.project_id);
        self.inner.append(author, kind, message, details).await;
    }
}

/// Ends when the import is to end before its end.
async fn interruption(cancel: CancellationToken, gone: CancellationToken, seconds: u64) -> StopReason {
    tokio::select! {
        biased;
        () = cancel.cancelled() => StopReason::Cancelled,
        () = gone.cancelled() => StopReason::Disconnected,
        () = tokio::time::sleep(Duration::from_secs(seconds)) => StopReason::TimeLimit { seconds },
    }
}

/// Waits for a blocking part, and moves its bytes meanwhile. One that is interrupted is told so and waited for: its
/// bytes end, and its loops look at `stop`.
async fn stoppable<T>(
    mut blocking: JoinHandle<Result<T, ImportError>>,
    mut feed: Option<BoxFuture<'static, ()>>,
    stop: &Stop,
    mut interruption: Interruption<'_>,
) -> Result<Result<T, ImportError>, ImportError> {
    let done = loop {
        tokio::select! {
            biased;
            done = &mut blocking => break done,
            reason = &mut interruption, if !stop.is_set() => {
                stop.now(reason);
                feed = None;
            }
            () = async { feed.as_mut().expect("the branch is off without one").await }, if feed.is_some() => feed = None,
        }
    };
    let done = done.map_err(ImportError::Task)?;
    Ok(match stop.error() {
        Some(stopped) => Err(stopped),
        None => done,
    })
}
