//! The disk of one write, as the coordinator holds it: what was done to it, and how long it takes to answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use imprint_image::Manifest;
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tracing::warn;

use super::{
    WriteFailure, WriteNote, WriteProgress,
    delta::{Ends, Kept},
    failure::Ended,
    progress::{Meter, Phase, Reporter},
    stall::{self, Teller},
};
use crate::{
    source::whole_cause,
    target::{Target, WriteError, clear_head},
};

/// Progress is published and the disk is watched this often.
const TICK: Duration = Duration::from_millis(400);
/// After a failure, a disk gets this long to end what it was doing and to clear its head.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(30);

/// The ends of a disk are being cleared.
#[derive(Debug)]
pub(super) struct Clearing {
    task: JoinHandle<Result<Vec<Kept>, WriteError>>,
    over: bool,
}

impl Clearing {
    /// Waits until it is done, and tells what was found to be right before. Can be dropped half-way and called again.
    pub(super) async fn done(&mut self) -> Result<Vec<Kept>, Ended> {
        let cleared = (&mut self.task).await;
        self.over = true;
        match cleared {
            Ok(cleared) => cleared.map_err(Ended::from),
            Err(error) => Err(Ended::Internal {
                what: error.to_string(),
            }),
        }
    }

    /// Whether it is done, well or not.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

/// A target that is being written.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) target: Arc<dyn Target>,
    pub(super) meter: Arc<Meter>,
    pub(super) reporter: Reporter,
    pub(super) phase: Phase,
    notes: UnboundedSender<WriteNote>,
    stalls: Teller,
    tick: Interval,
    patience: Duration,
    /// What hung in the disk when the write was given up.
    left_behind: Option<JoinHandle<()>>,
    touched: bool,
    /// The head was cleared and flushed, and nothing was written there since.
    head_is_clear: bool,
    /// The write has failed: a thread that hangs in the disk must not write the head when it comes back.
    abandoned: Arc<AtomicBool>,
}

impl Claim {
    pub(super) fn new(
        target: Arc<dyn Target>,
        progress: watch::Sender<WriteProgress>,
        notes: UnboundedSender<WriteNote>,
        patience: Duration,
    ) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Claim {
            target,
            meter: Arc::new(Meter::new()),
            reporter: Reporter::new(progress),
            phase: Phase::Clearing,
            notes,
            stalls: Teller::default(),
            tick,
            patience,
            left_behind: None,
            touched: false,
            head_is_clear: false,
            abandoned: Arc::default(),
        }
    }

    /// Begins what is done to the disk first, while others get ready: clears its ends. What the disk holds there of the
    /// image `keep` is read before.
    pub(super) fn begin_clearing(&mut self, ends: Ends, keep: Option<Arc<Manifest>>) -> Clearing {
        self.touched = true;
        let (target, meter) = (Arc::clone(&self.target), Arc::clone(&self.meter));
        let clear = move || match keep {
            Some(manifest) => ends.clear_and_keep(&manifest, &*target),
            None => ends.clear(&*target).map(|()| Vec::new()),
        };
        let task = tokio::task::spawn_blocking(move || meter.disk(clear));
        Clearing { task, over: false }
    }

    /// The clearing has ended well.
    pub(super) fn is_cleared(&mut self) {
        self.head_is_clear = true;
    }

    /// Runs what writes the head.
    pub(super) async fn release<T: Send + 'static>(
        &mut self,
        release: impl FnOnce(&dyn Target, &AtomicBool) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, Ended> {
        self.phase = Phase::Releasing;
        self.head_is_clear = false;
        let abandoned = Arc::clone(&self.abandoned);
        self.on_disk(move |target| release(target, &abandoned)).await
    }

    /// Waits until all that was written would survive a loss of power.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        self.phase = Phase::Flushing;
        self.on_disk(|target| target.flush()).await
    }

    /// The write has failed: makes sure that nothing boots from the disk, and reports.
    pub(super) async fn abandon(&mut self, ended: &Ended) -> WriteFailure {
        self.abandoned.store(true, Ordering::SeqCst);
        // If that is the head of the disk, it comes after whatever clears it now.
        let alone = match self.left_behind.take() {
            Some(left_behind) => timeout(LAST_CHANCE, left_behind).await.is_ok(),
            None => true,
        };
        if self.touched {
            let target = Arc::clone(&self.target);
            let cleared = tokio::task::spawn_blocking(move || clear_head(&*target));
            match timeout(LAST_CHANCE, cleared).await {
                Ok(Ok(Ok(()))) if alone || self.phase != Phase::Releasing => self.head_is_clear = true,
                Ok(Ok(Ok(()))) => warn!("the head was cleared while it was still being written"),
                Ok(Ok(Err(error))) => warn!(error = whole_cause(&error), "the head was not cleared"),
                Ok(Err(error)) => warn!(%error, "the head was not cleared"),
                Err(_) => warn!("the disk did not answer when its head was to be cleared"),
            }
        }
        ended.report(self.touched, self.touched && self.head_is_clear)
    }

    /// Runs an operation of the disk where it may block.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        operate: impl FnOnce(&dyn Target) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, Ended> {
        let (target, meter) = (Arc::clone(&self.target), Arc::clone(&self.meter));
        self.blocking(move || meter.disk(|| operate(&*target)).map_err(Ended::from))
            .await
    }

    /// Runs what blocks, while progress is published and a disk that hangs is noticed.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, Ended> + Send + 'static,
    ) -> Result<T, Ended> {
        let mut task = tokio::task::spawn_blocking(work);
        loop {
            tokio::select! {
                done = &mut task => {
                    return done.unwrap_or_else(|error| Err(Ended::Internal { what: error.to_string() }));
                }
                () = self.ticked() => if let Err(hung) = self.look() {
                    self.left_behind = Some(tokio::spawn(async {
                        // Whatever it ends with: the write has failed.
                        task.await.ok();
                    }));
                    return Err(hung);
                },
            }
        }
    }

    /// The time to [look](Self::look) has come.
    pub(super) async fn ticked(&mut self) {
        self.tick.tick().await;
    }

    /// Publishes progress, tells what stalls, and notices a disk that hangs.
    pub(super) fn look(&mut self) -> Result<(), Ended> {
        let waited = self.meter.longest_in_disk();
        let stall = stall::judge(waited, self.meter.longest_silence());
        self.reporter
            .publish(self.phase, &self.meter, stall, Instant::now());
        if let Some(stall) = self.stalls.tells(stall) {
            warn!(by = ?stall.by, waited = ?stall.waited, "a part of the path does not move");
            // Nobody has to listen.
            self.notes.send(WriteNote::Stalled(stall)).ok();
        }
        if waited >= self.patience {
            Err(self.hung())
        } else {
            Ok(())
        }
    }

    /// The error for a disk that doesn't come back.
    pub(super) fn hung(&self) -> Ended {
        Ended::Hung {
            device: self.target.id().clone(),
            waited: self.meter.longest_in_disk(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stream::FailureKind, target::faulty::FaultyTarget};

    #[tokio::test]
    async fn a_disk_that_hangs_is_named_and_not_waited_for() {
        let (progress, newest) = watch::channel(WriteProgress::default());
        let (notes, mut told) = tokio::sync::mpsc::unbounded_channel();
        let disk = Arc::new(FaultyTarget::filled(1 << 20, 0));
        let mut claim = Claim::new(disk, progress, notes, Duration::from_nanos(1));
        claim.look().unwrap();
        let in_disk = claim.meter.in_disk();
        let ended = claim.look().unwrap_err();
        assert_eq!(ended.report(true, false).kind, FailureKind::Disk);
        assert!(
            ended.to_string().starts_with("faulty disk has not answered for "),
            "{ended}"
        );
        // Not long enough to be told as a stall as well.
        assert!(told.try_recv().is_err() && newest.borrow().stalled.is_none());
        drop(in_disk);
        claim.look().unwrap();
    }
}
