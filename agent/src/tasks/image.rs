//! The step that writes: manifest fetched and proven, image streamed, progress and retries passed on.

use std::{sync::Arc, time::Duration};

use imprint_image::{Digest, Manifest, seal::DataKey};
use imprint_proto::agent::v1::{ImageSource, Limit, Load, Loads, Progress, Step, WriteFigures};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Surroundings,
    image_key::{self, KeyHolder},
    report::{Reporter, StepFailure, millis},
};
use crate::{
    identity::tls,
    inventory,
    session::backoff::chain,
    source::{Location, ManifestKeys, PackSource, load_manifest},
    stream::{self, FailureKind, WriteFailure, WriteNote, WriteOptions, WriteProgress, WriteRequest},
    target::Target,
};

/// With stores that do not answer: shorter than the controller's `step_progress_seconds`, since the agent knows the better reason.
const PATIENCE: Duration = Duration::from_secs(540);
const DEFAULT_MEMORY: u64 = 64 << 20;
const LEAST_MEMORY: u64 = 24 << 20;

/// Writes the image of a task to a claimed disk.
#[derive(Debug)]
pub struct ImageWrite<'a> {
    pub around: &'a Surroundings,
    pub image: &'a ImageSource,
    pub task_id: &'a str,
    pub reporter: &'a Reporter,
    pub progress: &'a watch::Sender<Option<Progress>>,
    pub image_key: &'a KeyHolder,
    /// The disk is not to boot before its system is finished.
    pub veiled: bool,
    pub cancel: &'a CancellationToken,
}

impl ImageWrite<'_> {
    /// Fetches and proves the manifest; the disk is not touched.
    pub async fn prepare(&self) -> Result<(Manifest, PackSource), StepFailure> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(self.failure("the deployment was cancelled", "deploy again when wanted", true)),
            fetched = self.manifest() => fetched,
        }
    }

    /// Writes.
    pub async fn write(
        &self,
        target: Arc<dyn Target>,
        (manifest, packs): (Manifest, PackSource),
    ) -> Result<WriteFigures, WriteFailure> {
        let request = WriteRequest {
            manifest: Arc::new(manifest),
            packs,
            target,
            options: WriteOptions {
                max_memory_bytes: memory_for_writing(inventory::memory_bytes(&self.around.root)),
                veiled: self.veiled,
                patience: PATIENCE,
                journal: Some(self.around.state.join("journal")),
                ..WriteOptions::default()
            },
        };
        let (progress, newest) = watch::channel(WriteProgress::default());
        let (notes, told) = mpsc::unbounded_channel();
        let write = self
            .around
            .machine
            .write(request, progress, notes, self.cancel.clone());
        // The senders end with the write, and both passers-on with them.
        let (written, (), ()) = tokio::join!(write, self.pass_on_progress(newest), self.pass_on_notes(told));
        let figures = written?;
        Ok(WriteFigures {
            bytes_fetched: figures.bytes_fetched,
            bytes_written: figures.bytes_written,
            bytes_zeroed: figures.bytes_zeroed,
            duration_ms: millis(figures.duration),
            retries: figures.retries,
            chunks_resumed: figures.chunks_resumed,
            chunks_fetched: figures.chunks_fetched,
            chunks_kept: figures.chunks_kept,
            bytes_saved: figures.bytes_saved,
            cpu_ms: millis(figures.cpu),
            peak_memory_bytes: figures.peak_memory_bytes,
            writer: figures.writer.to_string(),
            connections: figures.connections,
            limiting: figures
                .limited_by
                .map(|limit| figures.loads.words(limit))
                .unwrap_or_default(),
            loads: Some(loads(&figures.loads)),
        })
    }

    async fn manifest(&self) -> Result<(Manifest, PackSource), StepFailure> {
        let credentials = self.around.credentials.borrow().clone();
        let client = tls::http_client(&self.around.identity, &credentials, &self.around.key)
            .map_err(|error| self.failure(&chain(&error), "restart this machine over the network", true))?;
        let url = self
            .around
            .identity
            .controller_url
            .join(&self.image.manifest_url)
            .map_err(|error| {
                let cause = format!("the task names no usable address of the manifest: {error}");
                self.failure(&cause, "check the controller's public_url", false)
            })?;
        let location = Location::Url(url);
        let keys = ManifestKeys::Trusted(self.around.identity.manifest_keys.clone());
        let (patience, read_timeout) = {
            let options = WriteOptions::default();
            (options.patience, options.read_timeout)
        };
        let data_key = self.data_key(patience).await?;
        let manifest = load_manifest(
            &location,
            &client,
            &keys,
            data_key.as_ref(),
            patience,
            read_timeout,
        )
        .await
        .map_err(|error| self.failure(&chain(&error), error.remedy(), !error.is_permanent()))?;
        let expected = hex::encode(&self.image.image_digest);
        if manifest.image_digest.to_string() != expected {
            let got: Digest = manifest.image_digest;
            let cause = format!("the manifest is of another image: digest {got}, expected {expected}");
            return Err(self.failure(
                &cause,
                "restore the folder `store` of the controller's data from a backup",
                false,
            ));
        }
        let packs = PackSource::beside_manifest(&location, client);
        Ok((manifest, packs))
    }

    /// The data key of an encrypted image. A restarted agent has to get it from the controller first, since it is kept
    /// nowhere but in memory.
    async fn data_key(&self, patience: Duration) -> Result<Option<DataKey>, StepFailure> {
        let Some(expected) = image_key::id_of(self.image) else {
            return Ok(None);
        };
        if self.image_key.is_wanted() {
            self.reporter.note(
                Step::Write,
                "the image is encrypted, and its key was only in memory: it comes with the next session",
            );
        }
        let key = timeout(patience, self.image_key.key_of(self.task_id))
            .await
            .map_err(|_| {
                let cause = "the controller has not sent the data key of the encrypted image";
                self.failure(
                    cause,
                    "look at the log of the controller, then deploy again",
                    true,
                )
            })?;
        if key.id() != expected {
            let cause = format!(
                "the image is encrypted with the data key {expected}, and the controller sent {}",
                key.id()
            );
            return Err(self.failure(&cause, "restore the controller's data from a backup", false));
        }
        Ok(Some(key))
    }

    fn failure(&self, cause: &str, remedy: &str, retryable: bool) -> StepFailure {
        StepFailure {
            step: Step::Write,
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
            head_cleared: false,
            retryable,
            cancelled: self.cancel.is_cancelled(),
            hung: false,
        }
    }

    async fn pass_on_progress(&self, mut newest: watch::Receiver<WriteProgress>) {
        while newest.changed().await.is_ok() {
            let now = newest.borrow_and_update().clone();
            self.progress.send_replace(Some(Progress {
                task_id: self.task_id.to_owned(),
                step: Step::Write as i32,
                bytes_done: now.bytes_done,
                bytes_total: now.bytes_total,
                bytes_fetched: now.bytes_fetched,
                bytes_to_fetch: now.bytes_to_fetch,
                bytes_written: now.bytes_written,
                data_bytes_per_second: now.data_bytes_per_second,
                eta_seconds: now.eta_seconds,
                retries: now.retries,
                limited_by: now.limited_by.map_or(Limit::Unspecified, limit) as i32,
                limiting: now.limiting().unwrap_or_default(),
                stalled: now.stalled.map(|stall| stall.to_string()).unwrap_or_default(),
                loads: Some(loads(&now.loads)),
                chunks_kept: now.chunks_kept,
                ..Progress::default()
            }));
        }
    }

    async fn pass_on_notes(&self, mut told: mpsc::UnboundedReceiver<WriteNote>) {
        while let Some(note) = told.recv().await {
            match note {
                WriteNote::Retry { what, cause, delay, attempt } => {
                    self.reporter.retrying(Step::Write, &format!("{what} (attempt {attempt} failed)"), &cause, delay);
                }
                WriteNote::Corrupt { chunk, cause } => {
                    let detail = format!("chunk {chunk} came wrong and is fetched again");
                    self.reporter.retrying(Step::Write, &detail, &cause, Duration::ZERO);
                }
                WriteNote::Resumed { chunks } => self.reporter.note(
                    Step::Write,
                    &format!("an earlier run had begun this write: {chunks} chunks need no fetch"),
                ),
                WriteNote::ZeroesAreWritten => self.reporter.note(
                    Step::Write,
                    "the disk has no command for zeroes: the holes of the image are written, which takes its time",
                ),
                WriteNote::Stalled(stall) => self.reporter.note(Step::Write, &stall.to_string()),
                WriteNote::JournalLost { cause } => self.reporter.note(
                    Step::Write,
                    &format!("the journal cannot be written ({cause}): a restarted agent would begin this write anew"),
                ),
            }
        }
    }
}

/// A failed write as the failure of its step.
pub fn failed(failure: WriteFailure) -> StepFailure {
    StepFailure {
        step: Step::Write,
        cause: failure.cause,
        remedy: failure.remedy,
        head_cleared: failure.head_cleared,
        retryable: failure.retryable,
        cancelled: failure.kind == FailureKind::Cancelled,
        hung: false,
    }
}

fn loads(loads: &stream::Loads) -> Loads {
    let load = |load: stream::Load| {
        Some(Load {
            busy_percent: load.busy_percent.into(),
            bytes_per_second: load.bytes_per_second,
        })
    };
    Loads {
        network: load(loads.network),
        cpu: load(loads.cpu),
        disk: load(loads.disk),
        zeroes: load(loads.zeroes),
    }
}

fn limit(limit: stream::Limit) -> Limit {
    match limit {
        stream::Limit::Network => Limit::Network,
        stream::Limit::Cpu => Limit::Cpu,
        stream::Limit::Disk => Limit::Disk,
    }
}

/// A machine with little RAM needs it for the ramdisk.
fn memory_for_writing(total: Option<u64>) -> u64 {
    total.map_or(DEFAULT_MEMORY, |total| {
        (total / 16).clamp(LEAST_MEMORY, DEFAULT_MEMORY)
    })
}
