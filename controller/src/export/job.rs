//! An export into a bucket, as a job: the file, `KEY.sha256` and `KEY.json` beside it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use imprint_image::export::{ExportFormat, ExportOptions, ExportPlan, Exported, sum_line};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Destination, ExportFault, Exports, Inner, ObjectKey, OpenedDisk, StoreFrames, bucket::Bucket, hold::Hold,
    pipe::pipe, require_content,
};
use crate::{
    catalog::Image,
    copy::spec_of,
    events::NewEvent,
    identity::{Caller, Viewer},
    jobs::{Job, JobContext, JobKind, Jobs, NewJob},
};

/// Where an image goes, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// raw, raw.zst, qcow2, qcow2-zstd, vmdk or vhd.
    pub format: String,
    /// Role of the disk; needed when the image has several.
    #[serde(default)]
    pub disk: Option<String>,
    /// Name of a destination of the controller's configuration.
    pub destination: String,
    /// Key of the object; the image's name with the format's ending when it is left out.
    #[serde(default)]
    pub key: Option<String>,
    /// Replaces an object of this key.
    #[serde(default)]
    pub overwrite: bool,
}

impl Exports {
    /// Starts an export of `image`, which the caller may see.
    pub async fn start(
        &self,
        jobs: &Jobs,
        caller: &Caller,
        image: &Image,
        request: &ExportRequest,
        idempotency_key: Option<String>,
    ) -> Result<Job, ExportFault> {
        let format: ExportFormat = request.format.parse()?;
        let destination = self
            .destination(&caller.project_id, &request.destination)?
            .clone();
        let disk = self
            .open(image, &caller.viewer(), request.disk.as_deref(), format)
            .await?;
        let key = match &request.key {
            Some(key) => ObjectKey::parse(key)?,
            None => ObjectKey::of_file_name(&disk.file_name(image.disks.len() > 1)),
        };
        let key = key.of_project(&destination, &caller.project_id);
        let new = NewJob {
            kind: JobKind::Export,
            project_id: caller.project_id.clone(),
            image_id: Some(image.id.clone()),
            request: json!({
                "image": image.name,
                "format": format.name(),
                "disk": disk.role,
                "destination": destination.name,
                "key": key.to_string(),
                "overwrite": request.overwrite,
            }),
            by: caller.name.clone(),
            key: idempotency_key,
        };
        let export = BucketExport {
            inner: self.0.clone(),
            about: about(image, &disk),
            disk,
            destination,
            key,
            overwrite: request.overwrite,
            by: caller.name.clone(),
            viewer: caller.viewer(),
            project_id: caller.project_id.clone(),
        };
        let job = jobs.start(new, move |context| async move {
            let bucket = Bucket::open(&export.destination)?;
            Ok(export.run(&bucket, &context).await?)
        });
        Ok(job.await?)
    }
}

/// What is known of an image, as an import takes it, and what it was.
fn about(image: &Image, disk: &OpenedDisk) -> Value {
    json!({
        "image": spec_of(image),
        "exported": {
            "id": image.id,
            "disk": disk.role,
            "image_digest": disk.manifest.image_digest,
            "disk_size_bytes": disk.disk_bytes(),
            "source_format": image.source_format,
        },
    })
}

/// All that the job needs.
pub(super) struct BucketExport {
    pub(super) inner: Arc<Inner>,
    pub(super) about: Value,
    pub(super) disk: OpenedDisk,
    pub(super) destination: Destination,
    pub(super) key: ObjectKey,
    pub(super) overwrite: bool,
    pub(super) by: String,
    pub(super) viewer: Viewer,
    pub(super) project_id: String,
}

impl BucketExport {
    /// Writes the file and what goes with it. After a failure or a cancellation there is nothing of it in the bucket.
    pub(super) async fn run(self, bucket: &Bucket, context: &JobContext) -> Result<Value, ExportFault> {
        let hold = Hold::of(&self.inner.catalog, &context.id, &self.disk).await?;
        let result = self.held(bucket, context).await;
        hold.end().await;
        result
    }

    async fn held(&self, bucket: &Bucket, context: &JobContext) -> Result<Value, ExportFault> {
        // Recalled or taken out of use while the job waited.
        let now = self.inner.catalog.find(&self.viewer, &self.disk.image_id).await?;
        require_content(&now, &self.viewer)?;
        if !self.overwrite {
            bucket.require_free(&self.key).await?;
        }
        let done = self.write(bucket, context).await?;
        let beside = [self.key.with(".sha256"), self.key.with(".json")];
        let written = self.complete(bucket, &beside, &done).await;
        let result = match written {
            Ok(_) if context.cancel.is_cancelled() => Err(ExportFault::Cancelled),
            other => other,
        };
        if result.is_err() {
            bucket.remove(&[&self.key, &beside[0], &beside[1]]).await;
        }
        result
    }

    async fn write(&self, bucket: &Bucket, context: &JobContext) -> Result<Exported, ExportFault> {
        let (mut writer, mut pieces) = pipe(None);
        let cancel = Arc::new(AtomicBool::new(false));
        let (frames, manifest, format) = (
            StoreFrames::new(self.inner.store.clone()),
            self.disk.manifest.clone(),
            self.disk.format,
        );
        let (told, stop) = (context.clone(), cancel.clone());
        let total = self.disk.disk_bytes();
        let thread = tokio::task::spawn_blocking(move || {
            let progress = |done| told.progress("writing", done, total);
            let options = ExportOptions {
                progress: Some(&progress),
                cancel: Some(&stop),
                ..ExportOptions::default()
            };
            let plan = ExportPlan::new(&manifest, format);
            let done = plan.and_then(|plan| plan.write(&frames, &mut writer, &options));
            match &done {
                // Whoever reads has ended for a reason of its own.
                Ok(_) => drop(writer.finish().ok()),
                Err(error) => writer.fail(error),
            }
            done
        });
        let most_bytes = self.disk.file_bytes.unwrap_or(total);
        let sent = bucket
            .write(&self.key, most_bytes, &mut pieces, &context.cancel)
            .await;
        cancel.store(true, Ordering::Relaxed);
        drop(pieces);
        let done = thread.await.map_err(ExportFault::Task)?;
        match sent {
            // What the bucket said is why the writer ended.
            Err(error) => Err(error),
            Ok(_) if context.cancel.is_cancelled() => {
                bucket.remove(&[&self.key]).await;
                Err(ExportFault::Cancelled)
            }
            Ok(_) => done.map_err(ExportFault::of),
        }
    }

    /// Looks at what arrived, writes what goes beside it, and tells.
    async fn complete(
        &self,
        bucket: &Bucket,
        beside: &[ObjectKey; 2],
        done: &Exported,
    ) -> Result<Value, ExportFault> {
        let arrived = bucket.size(&self.key).await?;
        if arrived != done.file_bytes {
            return Err(ExportFault::Short {
                place: bucket.place().to_owned(),
                key: self.key.to_string(),
                arrived,
                expected: done.file_bytes,
            });
        }
        let sha256 = done.sha256.expect("it was written from its first byte");
        bucket.put(&beside[0], sum_line(&sha256, self.key.name())).await?;
        bucket.put(&beside[1], format!("{:#}\n", self.about)).await?;
        let sum = self.inner.keep_sum(&self.disk, done).await?;
        let event = NewEvent {
            kind: "image.exported",
            node_id: None,
            deployment_id: None,
            message: format!(
                "Image {} was exported to {} of {}.",
                self.disk.image, self.key, self.destination.name
            ),
            details: json!({
                "image_id": self.disk.image_id,
                "disk": self.disk.role,
                "format": sum.format,
                "destination": self.destination.name,
                "key": self.key.to_string(),
                "sha256": sum.sha256,
                "project_id": self.project_id,
                "by": self.by,
            }),
        };
        self.inner.events.append(event).await?;
        Ok(json!({
            "destination": self.destination.name,
            "place": bucket.place(),
            "key": self.key.to_string(),
            "digest_key": beside[0].to_string(),
            "description_key": beside[1].to_string(),
            "format": sum.format,
            "file_bytes": sum.file_bytes,
            "sha256": sum.sha256,
        }))
    }
}
