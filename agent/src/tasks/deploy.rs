//! A deployment, step by step. Each step is reported, can be done again, and is left out by a restarted agent when
//! an earlier one had finished it.

use std::{sync::Arc, time::Instant};

use imprint_hardware::facts;
use imprint_proto::agent::v1::{
    DeployTask, Disk, DiskContentSource, ExpectedVolume, FinishPlan, Step, Success,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    Surroundings, Tasks, choice,
    course::Course,
    disk::{self, Trouble},
    image::{self, ImageWrite},
    record::Record,
    report::{self, StepFailure},
    volume,
};
use crate::{
    finish::{Done, FinishError, WrittenDisk, guest::Traces, table::veil},
    inventory,
    session::backoff::chain,
    target::Target,
};

/// One deployment on its way.
#[derive(Debug)]
pub struct Deploy<'a> {
    around: &'a Surroundings,
    task: &'a DeployTask,
    course: Course<'a>,
}

impl<'a> Deploy<'a> {
    /// Ready to run.
    pub fn new(
        around: &'a Surroundings,
        tasks: &'a Tasks,
        task: &'a DeployTask,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            around,
            task,
            course: Course::new(
                tasks,
                cancel,
                "the deployment was cancelled",
                "deploy again when wanted",
            ),
        }
    }

    /// Runs what is not done yet. After a failure the disk can't boot, or the report says that it might.
    pub async fn run(&self, record: &mut Record) -> Result<Success, StepFailure> {
        let mut result = self.steps(record).await;
        if let Err(failure) = &mut result {
            if record.leaves_traces() && !failure.head_cleared {
                self.disarm(record, failure).await;
            }
            if !failure.is_clean_cancel(record.touched) {
                self.course.reporter.failed(failure);
            }
        }
        result
    }

    async fn steps(&self, record: &mut Record) -> Result<Success, StepFailure> {
        if !record.written {
            self.claim_and_write(record).await?;
        }
        let disk = record.disk.clone().unwrap_or_default();
        let reports = match &self.task.finish {
            Some(plan) => self.finish(record, plan, &disk).await?,
            None => false,
        };
        if self.task.reboot {
            self.course.check_cancelled(Step::Reboot)?;
            self.course.reporter.started(
                Step::Reboot,
                "all is flushed; the machine restarts once the controller has the outcome",
            );
        }
        Ok(Success {
            disk: Some(disk),
            image_digest: self.image().image_digest.clone(),
            write: record.figures.clone(),
            boot_entry: record.boot_entry.clone(),
            no_first_boot_report: !reports,
        })
    }

    async fn claim_and_write(&self, record: &mut Record) -> Result<(), StepFailure> {
        if let Some(expected) = &self.task.volume
            && !record.is_finished(Step::AttachVolume)
        {
            self.await_volume(record, expected).await?;
        }
        self.course.check_cancelled(Step::ClaimDisk)?;
        let began = Instant::now();
        let claimed = record.is_finished(Step::ClaimDisk);
        let disk = if claimed {
            record.disk.clone().unwrap_or_default()
        } else {
            self.choose().await?
        };
        let identity = claimed.then(|| record.identity.clone());
        let (machine, named) = (Arc::clone(&self.around.machine), disk.clone());
        let claim = self
            .blocking(Step::ClaimDisk, move || {
                machine.claim(&named, identity.as_deref())
            })
            .await?;
        if !claimed {
            record.set_former(&claim.former);
            record.disk = Some(disk.clone());
            record.identity = claim.identity;
            self.course.finished(
                record,
                Step::ClaimDisk,
                began,
                &format!(
                    "{} is the one disk and free",
                    facts::Disk::from(disk.clone()).title()
                ),
            );
        }

        match DiskContentSource::try_from(self.task.content) {
            Ok(DiskContentSource::Unspecified) => self.write(record, claim.target, &disk).await,
            Ok(source) => self.take_content(record, source, &disk),
            Err(_) => Err(self.course.failure(
                Step::Write,
                format!(
                    "the task says {} of the disk's content, which this agent does not know",
                    self.task.content
                ),
                "boot the server with a ramdisk as new as the controller",
            )),
        }
    }

    /// Nothing is written of the image: it is on the disk.
    fn take_content(
        &self,
        record: &mut Record,
        source: DiskContentSource,
        disk: &Disk,
    ) -> Result<(), StepFailure> {
        let began = self.begin(Step::Write, &format!("what is on {} already", disk.kernel_name))?;
        let detail = match source {
            DiskContentSource::Kept => "what was on the volume stays; nothing is streamed",
            _ => "the image was written to the volume before; nothing is streamed",
        };
        record.kept = source == DiskContentSource::Kept;
        record.touched = !record.kept;
        // The partitions that boot entries name are still there.
        record.set_former(&[]);
        record.written = true;
        self.course.finished(record, Step::Write, began, detail);
        Ok(())
    }

    /// Streams the image.
    async fn write(
        &self,
        record: &mut Record,
        device: Arc<dyn Target>,
        disk: &Disk,
    ) -> Result<(), StepFailure> {
        let began = Instant::now();
        self.course.reporter.started(
            Step::Write,
            &format!("image {} onto {}", self.image().name, disk.kernel_name),
        );
        let task_id = record.task_id().to_owned();
        let write = ImageWrite {
            around: self.around,
            image: self.image(),
            task_id: &task_id,
            reporter: &self.course.reporter,
            progress: &self.course.tasks.progress,
            image_key: &self.course.tasks.image_key,
            // Boot scripts of an older controller do not have the kernel find the table then.
            veiled: self.task.finish.is_some()
                && inventory::kernel_was_told(&self.around.root, veil::KERNEL_WORD),
            cancel: self.course.cancel,
        };
        let prepared = write.prepare().await?;
        let touched_before = std::mem::replace(&mut record.touched, true);
        self.course.tasks.save(record);
        let figures = write.write(device, prepared).await.map_err(|failure| {
            // The engine may refuse before it has done anything to the disk.
            record.touched = touched_before || failure.touched;
            image::failed(failure)
        })?;
        record.written = true;
        self.course.tasks.image_key.forget();
        let mut detail = format!(
            "{} MiB fetched, {} MiB written, {} MiB zeroed, proven and flushed",
            figures.bytes_fetched >> 20,
            figures.bytes_written >> 20,
            figures.bytes_zeroed >> 20
        );
        if figures.chunks_kept > 0 {
            let kept = format!("; {} chunks were on the disk already", figures.chunks_kept);
            detail.push_str(&kept);
        }
        record.figures = Some(figures);
        self.course.finished(record, Step::Write, began, &detail);
        Ok(())
    }

    /// The card has said that it shows the volume; the disk may still be on its way.
    async fn await_volume(&self, record: &mut Record, expected: &ExpectedVolume) -> Result<(), StepFailure> {
        let began = self.begin(
            Step::AttachVolume,
            &format!("looking for the volume {}", expected.name),
        )?;
        let root = &self.around.root;
        let pause = disk::READINGS_APART;
        let disk = volume::wait(expected, root, || self.read_disks(), pause, self.course.cancel)
            .await
            .map_err(|trouble| self.course.trouble(Step::AttachVolume, trouble))?;
        let detail = format!("the volume {} is {}", expected.name, volume::title(&disk));
        self.course.finished(record, Step::AttachVolume, began, &detail);
        Ok(())
    }

    fn read_disks(&self) -> impl Future<Output = Result<Vec<Disk>, Trouble>> + use<> {
        let machine = Arc::clone(&self.around.machine);
        disk::blocking(disk::STEP_LIMIT, move || Ok(machine.disks()))
    }

    /// The one disk that the task's rule names.
    async fn choose(&self) -> Result<Disk, StepFailure> {
        let rule = self.task.disk.clone().unwrap_or_default();
        self.course.reporter.started(
            Step::ClaimDisk,
            &if rule.text.is_empty() {
                "looking for the one disk of this machine".to_owned()
            } else {
                format!("looking for the disk by `{}`", rule.text)
            },
        );
        let read = || self.read_disks();
        let mut disks = disk::settled(read, disk::READINGS_APART, disk::SETTLE_LIMIT, self.course.cancel)
            .await
            .map_err(|trouble| self.course.trouble(Step::ClaimDisk, trouble))?;
        volume::mark(&rule.volumes, &mut disks);
        if let Some(expected) = &self.task.volume {
            let place = volume::recognise(expected, &disks)
                .map_err(|missing| self.course.failure(Step::ClaimDisk, missing.seen, missing.remedy))?;
            disks[place].volume_id.clone_from(&expected.volume_id);
        }
        let chosen = choice::choose(&rule, self.image(), disks);
        let (disk, notes) =
            chosen.map_err(|(cause, remedy)| self.course.failure(Step::ClaimDisk, cause, &remedy))?;
        for note in notes {
            self.course.reporter.note(Step::ClaimDisk, &note);
        }
        Ok(disk)
    }

    /// True when the system will report its first boot.
    async fn finish(&self, record: &mut Record, plan: &FinishPlan, disk: &Disk) -> Result<bool, StepFailure> {
        let written = WrittenDisk {
            name: disk.kernel_name.clone(),
            sector_bytes: u64::from(disk.logical_sector_bytes),
            size_bytes: disk.size_bytes,
        };
        let (machine, claimed) = (Arc::clone(&self.around.machine), record.identity.clone());
        let (target, order) = (written.clone(), plan.clone());
        self.blocking(Step::Partitions, move || machine.free(&target, &claimed))
            .await?;

        let prepared = record.is_finished(Step::Partitions);
        let began = if prepared {
            Instant::now()
        } else {
            self.begin(Step::Partitions, "partition table and file system")?
        };
        let machine = Arc::clone(&self.around.machine);
        let (system, done) = self
            .finishing(Step::Partitions, move || {
                machine.system(&written, &order, prepared)
            })
            .await?;
        if !prepared {
            self.done(record, Step::Partitions, began, &done);
        }
        if !record.is_finished(Step::Seed) {
            let began = self.begin(Step::Seed, "identity of the machine")?;
            record.seeded = true;
            self.course.tasks.save(record);
            let (system, plan) = (Arc::clone(&system), plan.clone());
            let done = self.finishing(Step::Seed, move || system.seed(&plan)).await?;
            self.done(record, Step::Seed, began, &done);
        }
        if !record.is_finished(Step::Guest) {
            let began = self.begin(Step::Guest, "guest plugin")?;
            let (system, plan) = (Arc::clone(&system), plan.clone());
            let traces = self.traces(record, disk);
            let done = self
                .finishing(Step::Guest, move || system.guest(&plan, &traces))
                .await?;
            self.done(record, Step::Guest, began, &done);
        }
        let reports = system.reports();
        if !record.is_finished(Step::BootEntry) {
            let began = self.begin(Step::BootEntry, "boot entry of the firmware")?;
            let (plan, former) = (plan.clone(), record.former());
            let written = record.figures.is_some();
            // The last thing of all: a system that is not finished does not boot.
            let work = move || {
                let entry = system.boot_entry(&plan, &former)?;
                if written {
                    system.let_boot()?;
                }
                Ok(entry)
            };
            let (text, done) = self.finishing(Step::BootEntry, work).await?;
            record.boot_entry = text;
            self.done(record, Step::BootEntry, began, &done);
        }
        Ok(reports)
    }

    fn traces(&self, record: &Record, disk: &Disk) -> Traces {
        let serial = if disk.serial.is_empty() {
            &disk.kernel_name
        } else {
            &disk.serial
        };
        let steps = record
            .finished
            .iter()
            .map(|step| (report::name(step.step()).to_owned(), step.seconds));
        Traces {
            deployment_id: self.task.deployment_id.clone(),
            image_name: self.image().name.clone(),
            image_digest: hex::encode(&self.image().image_digest),
            disk: serial.clone(),
            started_at: record.started_at.clone(),
            finished_at: Timestamp::now().to_string(),
            steps: steps.collect(),
        }
    }

    /// The disk could boot, and tell secrets, and must not.
    async fn disarm(&self, record: &mut Record, failure: &mut StepFailure) {
        let disarmed = self.course.tasks.disarm(record, failure.hung).await;
        failure.head_cleared = disarmed.head_cleared;
        disarmed.tell(&mut failure.cause, &mut failure.remedy);
        if disarmed.erased > 0 {
            self.course.reporter.note(
                Step::Seed,
                "user-data and report token were overwritten on the disk",
            );
        }
        // A clean cancel has no words of its own.
        for trouble in disarmed.troubles {
            self.course
                .reporter
                .note(failure.step, &format!("{}: {}", trouble.cause, trouble.remedy));
        }
    }

    fn image(&self) -> &imprint_proto::agent::v1::ImageSource {
        static NONE: std::sync::LazyLock<imprint_proto::agent::v1::ImageSource> =
            std::sync::LazyLock::new(Default::default);
        self.task.image.as_ref().unwrap_or(&NONE)
    }

    fn begin(&self, step: Step, detail: &str) -> Result<Instant, StepFailure> {
        self.course.check_cancelled(step)?;
        self.course.reporter.started(step, detail);
        Ok(Instant::now())
    }

    fn done(&self, record: &mut Record, step: Step, began: Instant, done: &Done) {
        for note in &done.notes {
            self.course.reporter.note(step, note);
        }
        self.course.finished(record, step, began, &done.detail);
    }

    async fn finishing<T: Send + 'static>(
        &self,
        step: Step,
        work: impl FnOnce() -> Result<T, FinishError> + Send + 'static,
    ) -> Result<T, StepFailure> {
        self.blocking(step, || {
            work().map_err(|error| Trouble::new(chain(&error), error.remedy()))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        step: Step,
        work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StepFailure> {
        disk::blocking(disk::STEP_LIMIT, work)
            .await
            .map_err(|trouble| self.course.trouble(step, trouble))
    }
}
