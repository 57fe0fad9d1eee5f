//! Making what disks hold unreadable, with proof.
//!
//! [`select`] says which disks a task means, [`release`] stops what holds them, and [`wipe_all`] wipes them side by side. For each
//! one (`one.rs`):
//!
//! 1. Policy *auto* asks the disk what it can do by itself ([`nvme`], [`ata`], behind [`firmware`]). Before it is told to, samples
//!    are noted and patterns planted ([`samples`]), so that also a blank disk shows whether it does what it says.
//! 2. Where it can do nothing, or refuses, and by the other policies, zeroes are written or made by command ([`overwrite`]).
//! 3. Both ends are cleared, samples are read back past all caches ([`sampling`] plans them by a seed that the certificate has),
//!    and the disk is looked at as an inventory would: nothing must be recognised any more.
//!
//! Nothing less than all of it is a wipe; the certificate has what was done in any case. Each disk has a thread of its own. A disk
//! that erases itself can't be stopped, so a cancel leaves it to itself after a while and says so.

pub mod ata;
pub mod certificate;
pub mod control;
pub mod device;
pub mod draft;
pub mod fault;
pub mod firmware;
pub mod nvme;
mod one;
pub mod overwrite;
pub mod release;
pub mod samples;
pub mod sampling;
pub mod select;

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::future::join_all;
use imprint_proto::agent::v1::{Disk, WipeCertificate, WipePolicy};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::{
    control::{Control, DiskProgress, Stop},
    device::Device,
    draft::Drafts,
    fault::WipeFault,
    firmware::EraseError,
    one::DiskWipe,
};

/// How often a disk that works by itself is asked how far it is.
pub const POLL: Duration = Duration::from_secs(2);
/// A disk that works by itself is waited for so long after a cancel.
const GRACE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);

/// One disk to wipe.
pub struct Job {
    /// As it was found.
    pub disk: Disk,
    /// How.
    pub policy: WipePolicy,
    /// Holders that were stopped for it.
    pub released: Vec<String>,
    /// Where its state is kept.
    pub drafts: Option<Drafts>,
    /// Claims it.
    pub open: Box<dyn FnOnce() -> Result<Device, WipeFault> + Send>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("disk", &self.disk.kernel_name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Wipes all disks side by side; the certificates are in the order of the jobs, and there is one for each.
pub async fn wipe_all(
    jobs: Vec<Job>,
    poll: Duration,
    progress: watch::Sender<Vec<DiskProgress>>,
    cancel: &CancellationToken,
) -> Vec<WipeCertificate> {
    let beginning = jobs.iter().map(|job| DiskProgress {
        disk: job.disk.kernel_name.clone(),
        doing: String::new(),
        done: 0,
        total: job.disk.size_bytes,
        by_itself: false,
    });
    progress.send_replace(beginning.collect());
    let stop = Arc::new(Stop::default());
    let disks = jobs.into_iter().enumerate().map(|(index, job)| {
        let control = Control::new(index, Arc::clone(&stop), progress.clone(), poll);
        supervise(job, control, Arc::clone(&stop), cancel)
    });
    join_all(disks).await
}

/// Has a thread wipe one disk, and does not wait for one that does not answer.
async fn supervise(
    job: Job,
    control: Control,
    stop: Arc<Stop>,
    cancel: &CancellationToken,
) -> WipeCertificate {
    let mut given_up = certificate::begun(&job.disk, job.policy);
    given_up.released.clone_from(&job.released);
    let (done, mut ended) = oneshot::channel();
    let own = control.clone();
    let spawned = thread::Builder::new().name("wipe".to_owned()).spawn(move || {
        let Job {
            disk,
            policy,
            released,
            drafts,
            open,
        } = job;
        let wipe = DiskWipe {
            disk,
            policy,
            released,
            drafts,
        };
        // Nobody listens any more when it took too long.
        done.send(wipe.run(open, &own)).ok();
    });
    let mut cancelled: Option<Instant> = None;
    let mut tick = tokio::time::interval(TICK);
    let fault = loop {
        if spawned.is_err() {
            break WipeFault::Agent;
        }
        tokio::select! {
            biased;
            certificate = &mut ended => match certificate {
                Ok(certificate) => return certificate,
                Err(_) => break WipeFault::Agent,
            },
            () = cancel.cancelled(), if cancelled.is_none() => {
                stop.pull();
                cancelled = Some(Instant::now());
            }
            _ = tick.tick() => {
                if let Some(silence) = control.silence() {
                    break WipeFault::Hung { seconds: silence.as_secs(), by_itself: control.is_by_itself() };
                }
                if cancelled.is_some_and(|since| since.elapsed() >= GRACE) && control.is_by_itself() {
                    break WipeFault::Erase(EraseError::Cancelled);
                }
            }
        }
    };
    certificate::close(&mut given_up, &Err(fault));
    given_up.commands = control.commands();
    given_up
}

#[cfg(test)]
mod tests;
