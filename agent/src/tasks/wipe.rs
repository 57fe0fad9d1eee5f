//! A wipe, as the controller asks for it: the disks found and released, then all of them wiped side by side.
//!
//! An agent that is started again begins here anew; what it finds done, or still at work, is in the drafts of the wipe.

use std::{
    convert::Infallible,
    path::Path,
    time::{Duration, Instant},
};

use imprint_hardware::facts;
use imprint_proto::agent::v1::{
    AfterWipe, Disk, Progress, Step, Success, WipeCertificate, WipePolicy, WipeTask,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Surroundings, Tasks,
    course::Course,
    disk::{self, Trouble},
    record::Record,
    report::StepFailure,
    volume,
};
use crate::{
    finish::Places,
    inventory,
    session::backoff::chain,
    target,
    wipe::{
        self, Job, certificate,
        control::DiskProgress,
        device::Device,
        draft::Drafts,
        fault::WipeFault,
        release::{Holder, ReleaseError, Tree},
        select::{self, Selection},
    },
};

/// Progress is told so often at most.
const PROGRESS_APART: Duration = Duration::from_secs(1);
/// A disk that works by itself may show nothing for hours; that it does is told so often, since the controller gives up a step in
/// which nothing moves.
const SAID_APART: Duration = Duration::from_secs(180);
/// Disks that are named in one line.
const TOLD: usize = 8;

/// One wipe on its way.
#[derive(Debug)]
pub(super) struct Wipe<'a> {
    around: &'a Surroundings,
    task: &'a WipeTask,
    course: Course<'a>,
}

/// A disk that is free.
#[derive(Debug)]
struct Released {
    disk: Disk,
    /// What tells it from every other disk in this boot.
    identity: String,
    /// Holders that were stopped for it.
    stopped: Vec<String>,
}

impl<'a> Wipe<'a> {
    /// Ready to run.
    pub(super) fn new(
        around: &'a Surroundings,
        tasks: &'a Tasks,
        task: &'a WipeTask,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            around,
            task,
            course: Course::new(tasks, cancel, "the wipe was cancelled", "wipe again when wanted"),
        }
    }

    /// Runs it; there is a certificate of each disk that it came to, whatever the result.
    pub(super) async fn run(
        &self,
        record: &mut Record,
        certificates: &mut Vec<WipeCertificate>,
    ) -> Result<Success, StepFailure> {
        let result = self.steps(record, certificates).await;
        if let Err(failure) = &result
            && !failure.is_clean_cancel(false)
        {
            self.course.reporter.failed(failure);
        }
        result
    }

    async fn steps(
        &self,
        record: &mut Record,
        certificates: &mut Vec<WipeCertificate>,
    ) -> Result<Success, StepFailure> {
        let policy = self.policy()?;
        let disks = self.claim(record).await?;
        let began = Instant::now();
        if disks.is_empty() {
            // Only where the task allows it.
            self.course.reporter.note(
                Step::Wipe,
                "this machine has no local disk: nothing is to be wiped",
            );
        }
        let titles: Vec<String> = disks.iter().map(|released| title(&released.disk)).collect();
        self.course
            .reporter
            .started(Step::Wipe, &format!("{}: {}", words(policy), few(&titles)));
        *certificates = self.wipe(record.task_id(), policy, disks).await;
        for certificate in &*certificates {
            self.course
                .reporter
                .note(Step::Wipe, &certificate::line(certificate));
        }
        let failed: Vec<&WipeCertificate> = certificates
            .iter()
            .filter(|certificate| !certificate.wiped)
            .collect();
        if let Some(first) = failed.first() {
            let causes: Vec<String> = failed
                .iter()
                .map(|certificate| certificate::line(certificate))
                .collect();
            let cause = format!(
                "{} of {} disks are not wiped: {}",
                failed.len(),
                certificates.len(),
                few(&causes)
            );
            return Err(self.course.failure(Step::Wipe, cause, &first.remedy));
        }
        let detail = match policy {
            WipePolicy::Quick => format!(
                "{} disks without signatures; their other content is still there",
                certificates.len()
            ),
            _ => format!("{} disks wiped, and that is proven", certificates.len()),
        };
        self.course.finished(record, Step::Wipe, began, &detail);
        let next = match self.task.after() {
            AfterWipe::Unspecified => None,
            AfterWipe::Restart => Some("the machine restarts once the controller has the outcome"),
            AfterWipe::PowerOff => Some("the machine loses power once the controller has the outcome"),
        };
        if let Some(next) = next {
            self.course.check_cancelled(Step::Reboot)?;
            self.course.reporter.started(Step::Reboot, next);
        }
        Ok(Success {
            no_first_boot_report: true,
            ..Success::default()
        })
    }

    fn policy(&self) -> Result<WipePolicy, StepFailure> {
        let known = AfterWipe::try_from(self.task.after).is_ok();
        match WipePolicy::try_from(self.task.policy) {
            Ok(policy) if policy != WipePolicy::Unspecified && known => Ok(policy),
            _ => Err(self.course.failure(
                Step::ClaimDisk,
                format!(
                    "the task says {} of how to wipe and {} of what comes next, which this agent does not know",
                    self.task.policy, self.task.after
                ),
                "boot the server with a ramdisk as new as the controller",
            )),
        }
    }

    /// Finds the disks and stops what holds them. All is known to be possible before anything is stopped.
    async fn claim(&self, record: &mut Record) -> Result<Vec<Released>, StepFailure> {
        self.course.check_cancelled(Step::ClaimDisk)?;
        let began = Instant::now();
        let again = record.is_finished(Step::ClaimDisk);
        if !again {
            self.course
                .reporter
                .started(Step::ClaimDisk, "looking for the disks to wipe");
        }
        let read = || {
            let root = self.around.root.clone();
            disk::blocking(disk::STEP_LIMIT, move || Ok(inventory::disks(&root)))
        };
        let mut disks = disk::settled(read, disk::READINGS_APART, disk::SETTLE_LIMIT, self.course.cancel)
            .await
            .map_err(|trouble| self.course.trouble(Step::ClaimDisk, trouble))?;
        volume::mark(&self.task.volumes, &mut disks);
        let Selection { disks, notes } = select::select(self.task, &disks).map_err(|refusal| {
            self.course
                .failure(Step::ClaimDisk, refusal.cause, &refusal.remedy)
        })?;
        let places = self.around.places.clone();
        let released = disk::blocking(disk::STEP_LIMIT, move || release(&places, disks))
            .await
            .map_err(|trouble| self.course.trouble(Step::ClaimDisk, trouble))?;
        if !again {
            for note in notes {
                self.course.reporter.note(Step::ClaimDisk, &note);
            }
            for one in released.iter().filter(|one| !one.stopped.is_empty()) {
                let note = format!("{}: stopped {}", title(&one.disk), one.stopped.join(", "));
                self.course.reporter.note(Step::ClaimDisk, &note);
            }
            let titles: Vec<String> = released.iter().map(|one| title(&one.disk)).collect();
            self.course.finished(
                record,
                Step::ClaimDisk,
                began,
                &format!("to be wiped: {}", few(&titles)),
            );
        }
        Ok(released)
    }

    async fn wipe(&self, task_id: &str, policy: WipePolicy, disks: Vec<Released>) -> Vec<WipeCertificate> {
        let drafts = Drafts::of(&self.around.state, task_id);
        let jobs = disks.into_iter().map(|one| {
            let path = self.around.places.dev.join(&one.disk.kernel_name);
            let (transport, before) = (one.disk.transport(), one.identity);
            Job {
                disk: one.disk,
                policy,
                released: one.stopped,
                drafts: Some(drafts.clone()),
                open: Box::new(move || {
                    let device = Device::open(&path, transport)?;
                    let now = identity(&path);
                    if now == before {
                        Ok(device)
                    } else {
                        Err(WipeFault::Another { before, now })
                    }
                }),
            }
        });
        let jobs = jobs.collect();
        let (progress, newest) = watch::channel(Vec::new());
        let vouching = self.vouch(newest.clone());
        let passing_on = self.pass_on(task_id, newest);
        tokio::select! {
            certificates = wipe::wipe_all(jobs, wipe::POLL, progress, self.course.cancel) => certificates,
            never = passing_on => match never {},
            never = vouching => match never {},
        }
    }

    /// Until nobody listens any more; it doesn't end by itself.
    async fn pass_on(&self, task_id: &str, mut newest: watch::Receiver<Vec<DiskProgress>>) -> Infallible {
        let mut before: Option<(Instant, u64)> = None;
        loop {
            if newest.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (now, disks) = (Instant::now(), newest.borrow_and_update().clone());
            let mut progress = shown(&disks);
            if let Some((then, done)) = before
                && let Some(more) = progress.bytes_done.checked_sub(done)
            {
                progress.data_bytes_per_second = rate(more, now - then);
            }
            before = Some((now, progress.bytes_done));
            task_id.clone_into(&mut progress.task_id);
            self.course.tasks.progress.send_replace(Some(progress));
            tokio::time::sleep(PROGRESS_APART).await;
        }
    }

    /// Says of disks that work by themselves that they do; their own patience ends that.
    async fn vouch(&self, newest: watch::Receiver<Vec<DiskProgress>>) -> Infallible {
        loop {
            tokio::time::sleep(SAID_APART).await;
            let alone = by_themselves(&newest.borrow());
            if !alone.is_empty() {
                let note = format!("at work by themselves, as told: {}", few(&alone));
                self.course.reporter.note(Step::Wipe, &note);
            }
        }
    }
}

/// Stops the holders of all disks; each one is told with the first disk that it holds.
fn release(places: &Places, disks: Vec<Disk>) -> Result<Vec<Released>, Trouble> {
    let trouble = |error: ReleaseError| Trouble::new(chain(&error), error.remedy());
    let tree = Tree::below(&places.root);
    let mut planned: Vec<(Disk, String, Vec<Holder>)> = Vec::new();
    for disk in disks {
        let holders = tree.holders(&disk.kernel_name).map_err(trouble)?;
        let identity = identity(&places.dev.join(&disk.kernel_name));
        planned.push((disk, identity, holders));
    }
    let mut done: Vec<Holder> = Vec::new();
    let mut released = Vec::new();
    for (disk, identity, holders) in planned {
        let mut stopped = Vec::new();
        for holder in holders {
            if !done.contains(&holder) {
                tree.stop(&holder).map_err(trouble)?;
                stopped.push(holder.title());
                done.push(holder);
            }
        }
        released.push(Released {
            disk,
            identity,
            stopped,
        });
    }
    Ok(released)
}

fn identity(path: &Path) -> String {
    target::identity_of(path).unwrap_or_else(|error| format!("nothing: {error}"))
}

fn doing(disk: &DiskProgress) -> String {
    let percent = u128::from(disk.done) * 100 / u128::from(disk.total.max(1));
    format!("{}: {} {percent} %", disk.disk, disk.doing)
}

fn by_themselves(disks: &[DiskProgress]) -> Vec<String> {
    disks.iter().filter(|disk| disk.by_itself).map(doing).collect()
}

/// What the controller is told of all disks together.
fn shown(disks: &[DiskProgress]) -> Progress {
    let sum = |of: fn(&DiskProgress) -> u64| disks.iter().map(of).fold(0, u64::saturating_add);
    let lines: Vec<String> = disks.iter().map(doing).collect();
    Progress {
        step: Step::Wipe.into(),
        bytes_done: sum(|disk| disk.done),
        bytes_total: sum(|disk| disk.total),
        doing: few(&lines),
        ..Progress::default()
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let millis = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

fn title(disk: &Disk) -> String {
    facts::Disk::from(disk.clone()).title()
}

/// The first ones, and how many more there are.
fn few(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(TOLD)].join("; ");
    if lines.len() > TOLD {
        text.push_str(&format!("; and {} more", lines.len() - TOLD));
    }
    text
}

fn words(policy: WipePolicy) -> &'static str {
    match policy {
        WipePolicy::Unspecified => "nothing",
        WipePolicy::Auto => "the best that each disk can prove",
        WipePolicy::Discard => "zeroes that each disk guarantees",
        WipePolicy::Overwrite => "zeroes over every byte",
        WipePolicy::Quick => "signatures and ends only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(disk: &str, done: u64) -> DiskProgress {
        DiskProgress {
            disk: disk.to_owned(),
            doing: "overwrite".to_owned(),
            done,
            total: 200,
            by_itself: false,
        }
    }

    #[test]
    fn progress_is_of_all_disks() {
        let all = shown(&[progress("sda", 50), progress("sdb", 200)]);
        assert_eq!(
            (all.bytes_done, all.bytes_total, all.step()),
            (250, 400, Step::Wipe)
        );
        assert_eq!(all.doing, "sda: overwrite 25 %; sdb: overwrite 100 %");
        let many: Vec<_> = (0..10).map(|_| progress("sda", 0)).collect();
        assert!(shown(&many).doing.ends_with("and 2 more"));
        assert_eq!(shown(&[]).bytes_total, 0);
        let alone = DiskProgress {
            by_itself: true,
            ..progress("sdb", 20)
        };
        assert_eq!(
            by_themselves(&[progress("sda", 50), alone]),
            ["sdb: overwrite 10 %"]
        );
        assert_eq!(rate(500, Duration::from_millis(250)), 2000);
    }
}
