//! The coordinator of one write.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::available_parallelism,
};

use imprint_image::Manifest;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        watch,
    },
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    WriteFailure, WriteFigures, WriteNote, WriteProgress, WriteRequest, Written,
    agenda::Agenda,
    budget::Budget,
    claim::{Claim, Clearing, LAST_CHANCE},
    delta::{
        self, Delta, Ends, Kept,
        survey::{Board, Survey},
    },
    failure::Ended,
    fetch::{Fetcher, Flow},
    head::{Ledger, Withheld},
    intake::Intake,
    journal::{Header, Journal},
    plan::{self, ZeroRun},
    progress::Phase,
    queue::{Slots, WorkQueue},
    read_back::{self, ReadBack},
    stage::{Stage, StageOptions},
    worker::{self, Event, Workshop},
};
use crate::target::Zeroed;

/// A chunk that came wrong this often from all stores together is wrong there.
const TIMES_CORRUPT: u32 = 2;

/// Writes the image and proves it. Returns once all is on the disk and flushed, or once the write has failed, all
/// threads have left the disk and its head is clear.
///
/// # Errors
/// See [`super::FailureKind`].
pub async fn write_image(
    request: WriteRequest,
    progress: watch::Sender<WriteProgress>,
    notes: UnboundedSender<WriteNote>,
    cancel: CancellationToken,
) -> Result<Written, WriteFailure> {
    let mut run = match Run::check(request, progress, notes, cancel) {
        Ok(run) => run,
        Err(refused) => return Err(refused.report(false, false)),
    };
    let written = match run.write().await {
        Ok(written) => Ok(written),
        Err(ended) => Err(run.claim.abandon(&ended).await),
    };
    run.end_journal();
    written
}

struct Run {
    manifest: Arc<Manifest>,
    request: WriteRequest,
    budget: Budget,
    largest_frame: usize,
    /// Chunks of the disk that are read at once, to find those that are right already; none without a delta.
    reads: usize,
    /// Threads that compare what was written; none without a read-back.
    readers: usize,
    read_back: Option<ReadBack>,
    claim: Claim,
    notes: UnboundedSender<WriteNote>,
    cancel: CancellationToken,
    journal: Option<Journal>,
    ledger: Ledger,
    chunks_resumed: u64,
    slow_zeroes_told: bool,
}

impl Run {
    /// Refuses what can't end well, before anything is touched.
    fn check(
        request: WriteRequest,
        progress: watch::Sender<WriteProgress>,
        notes: UnboundedSender<WriteNote>,
        cancel: CancellationToken,
    ) -> Result<Self, Ended> {
        let manifest = Arc::clone(&request.manifest);
        let target = &request.target;
        if manifest.disk_size_bytes > target.len() {
            let (image, disk) = (manifest.disk_size_bytes, target.len());
            return Err(Ended::TooSmall {
                device: target.id().clone(),
                image,
                disk,
            });
        }
        if manifest.logical_sector_bytes != target.logical_block().get() {
            let (image, disk) = (manifest.logical_sector_bytes, target.logical_block().get());
            return Err(Ended::SectorSize {
                device: target.id().clone(),
                image,
                disk,
            });
        }
        let largest_frame = manifest
            .chunks
            .iter()
            .map(|chunk| chunk.frame_bytes)
            .max()
            .unwrap_or(1);
        let cores = available_parallelism().map_or(2, usize::from);
        let mut options = request.options.clone();
        if target.rotates() {
            // One stream of chunks that comes in the order of the disk.
            options.connections = 1;
        }
        let chunk_bytes = u64::from(manifest.chunk_bytes);
        let reads = match options.delta {
            Delta::Auto | Delta::Always => delta::depth(options.max_memory_bytes, chunk_bytes),
            Delta::Off => 0,
        };
        let readers = if options.read_back {
            read_back::readers(options.max_memory_bytes, chunk_bytes)
        } else {
            0
        };
        let apart = (reads + readers) as u64 * chunk_bytes + request.packs.window_bytes();
        options.max_memory_bytes = options.max_memory_bytes.saturating_sub(apart);
        let budget = Budget::fit(&options, cores, chunk_bytes, u64::from(largest_frame))?;

        let claim = Claim::new(
            Arc::clone(target),
            progress,
            notes.clone(),
            request.options.disk_patience,
        );
        Ok(Run {
            ledger: Ledger::new(&manifest),
            manifest,
            request,
            budget,
            largest_frame: largest_frame as usize,
            reads,
            readers,
            read_back: None,
            claim,
            notes,
            cancel,
            journal: None,
            chunks_resumed: 0,
            slow_zeroes_told: false,
        })
    }

    async fn write(&mut self) -> Result<Written, Ended> {
        let written = self.write_all().await;
        if let Some(mut read_back) = self.read_back.take()
            && timeout(LAST_CHANCE, read_back.leave()).await.is_err()
        {
            return Err(self.claim.hung());
        }
        written
    }

    async fn write_all(&mut self) -> Result<Written, Ended> {
        let (ends, clearing) = self.begin()?;
        let head = self.transfer(ends, clearing).await?;
        self.finish(head).await
    }

    /// Finds what is to be done; begins to clear the ends of the disk, or only its head, when an earlier run has begun
    /// this write.
    fn begin(&mut self) -> Result<(Ends, Clearing), Ended> {
        let mut ends_cleared = false;
        if let Some(path) = &self.request.options.journal {
            let target = &self.request.target;
            let header = Header::new(
                self.manifest.image_digest.to_string(),
                target.identity(),
                target.len(),
            );
            let (journal, earlier) = Journal::open(path, &header, self.manifest.chunk_count())?;
            self.journal = Some(journal);
            ends_cleared = earlier.ends_cleared;
            if ends_cleared {
                self.resume(earlier.done);
            }
        }
        let ends = if ends_cleared { Ends::Head } else { Ends::Both };
        let keep = (self.reads > 0).then(|| Arc::clone(&self.manifest));
        if self.readers > 0 {
            self.start_read_back()?;
        }
        let clearing = self.claim.begin_clearing(ends, keep);
        self.claim.reporter.bytes_total = self.manifest.disk_size_bytes;
        let missing = self
            .manifest
            .chunks
            .iter()
            .filter(|chunk| !self.ledger.is_done(chunk.index));
        for chunk in missing {
            self.claim.reporter.bytes_to_fetch += u64::from(chunk.frame_bytes);
            self.claim.reporter.data_to_write += len(&self.manifest.chunk_range(chunk.index));
        }
        if ends_cleared {
            self.note(WriteNote::Resumed {
                chunks: self.chunks_resumed,
            });
            info!(
                chunks = self.chunks_resumed,
                "an earlier run had begun this write; going on"
            );
        }
        Ok((ends, clearing))
    }

    /// Nothing of the last owner is at the ends of the disk any more: now it may be written.
    fn cleared(&mut self, stage: &Stage) {
        self.claim.is_cleared();
        let noted = self.journal.as_mut().map_or(Ok(()), Journal::ends_cleared);
        self.keep_journal(noted);
        self.claim.phase = Phase::Writing;
        stage.open();
        if let Some(read_back) = &self.read_back
            && !self.request.target.rotates()
        {
            read_back.open();
        }
    }

    fn start_read_back(&mut self) -> Result<(), Ended> {
        let target = &self.request.target;
        let mut read_back = ReadBack::start(&self.manifest, target, &self.claim.meter, self.readers)
            .map_err(Ended::Threads)?;
        for (position, chunk) in self.manifest.chunks.iter().enumerate() {
            if self.ledger.is_done(chunk.index) {
                read_back.push(position);
            }
        }
        self.read_back = Some(read_back);
        Ok(())
    }

    fn resume(&mut self, done: Vec<Range<u64>>) {
        // The head was only ever in the memory of the run that died.
        let head = u64::from(self.manifest.chunks.first().is_some_and(|chunk| chunk.index == 0));
        for chunks in done {
            self.mark(chunks.start.max(head)..chunks.end);
        }
        let chunks = &self.manifest.chunks;
        self.chunks_resumed = chunks
            .iter()
            .filter(|chunk| self.ledger.is_done(chunk.index))
            .count() as u64;
    }

    /// Fetches, proves and writes all that is missing. Gives back the head, unless the image has a hole there.
    async fn transfer(&mut self, ends: Ends, mut clearing: Clearing) -> Result<Option<Withheld>, Ended> {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let mut intake = None;
        let transferred = match self.start(events) {
            Ok(crew) => {
                let intake = intake.insert(self.intake(&crew, ends));
                self.coordinate(&crew, intake, &mut clearing, &mut inbox).await
            }
            Err(ended) => Err(ended),
        };
        // Nobody is on the disk any more when this function returns, except on one that hangs.
        let left = async {
            if !clearing.is_over() {
                // What it ended with is told by the clearing of the head that follows.
                clearing.done().await.ok();
            }
            if let Some(intake) = &mut intake {
                intake.leave().await;
            }
            while inbox.recv().await.is_some() {}
        };
        if timeout(LAST_CHANCE, left).await.is_err() {
            return Err(self.claim.hung());
        }
        transferred
    }

    /// Starts all threads.
    fn start(&mut self, events: UnboundedSender<Event>) -> Result<Crew, Ended> {
        let manifest = Arc::clone(&self.manifest);
        let runs: Arc<[ZeroRun]> = plan::zero_runs(&manifest, |chunk| self.ledger.is_done(chunk)).into();
        let options = StageOptions {
            buffers: self.budget.buffers(),
            buffer_bytes: manifest.chunk_bytes as usize,
            depth: self.budget.writes,
            writer: self.request.options.writer,
        };
        let tell = worker::pass_on(events.clone(), Arc::clone(&runs));
        let meter = &self.claim.meter;
        let target = Arc::clone(&self.request.target);
        let stage = Stage::start(target, &options, Arc::clone(meter), &tell).map_err(Ended::Threads)?;
        info!(writer = %stage.writer(), depth = options.depth, workers = self.budget.workers, "writing");
        for (tag, run) in (0_u64..).zip(&*runs) {
            stage.zero(run.bytes.clone(), tag);
        }
        let crew = Crew {
            stage: Arc::new(stage),
            queue: WorkQueue::new(),
        };
        let shop = Arc::new(Workshop {
            manifest,
            queue: Arc::clone(&crew.queue),
            stage: Arc::clone(&crew.stage),
            meter: Arc::clone(meter),
            events,
        });
        for worker in 0..self.budget.workers {
            match shop.start() {
                Err(error) if worker == 0 => return Err(Ended::Threads(error)),
                Err(error) => warn!(%error, worker, "going on with fewer threads"),
                Ok(()) => {}
            }
        }
        Ok(crew)
    }

    /// All requests, and the search for what need not be requested.
    fn intake(&self, crew: &Crew, ends: Ends) -> Intake {
        let manifest = &self.manifest;
        let fetcher = Arc::new(Fetcher {
            manifest: Arc::clone(manifest),
            packs: self.request.packs.clone(),
            queue: Arc::clone(&crew.queue),
            slots: Slots::new(self.budget.slots, self.largest_frame, &self.claim.meter),
            meter: Arc::clone(&self.claim.meter),
            flow: Flow::default(),
            notes: self.notes.clone(),
            patience: self.request.options.patience,
            read_timeout: self.request.options.read_timeout,
        });
        let connections = self.budget.connections;
        let done = |chunk| self.ledger.is_done(chunk);
        if self.reads == 0 {
            let board = Board::new(Agenda::pull(Arc::clone(manifest), done));
            return Intake::new(fetcher, board, None, Vec::new(), connections);
        }
        let target = &self.request.target;
        let mut agenda = Agenda::question(Arc::clone(manifest), delta::SAMPLES, done);
        // These are read by whoever clears them.
        let ends = ends.chunks(manifest, &**target);
        for &position in &ends {
            agenda.hold(position);
        }
        let board = Board::new(agenda);
        let meter = &self.claim.meter;
        let survey = Survey::start(manifest, target, meter, &board, self.reads);
        let survey = survey
            .inspect_err(|error| warn!(%error, "going on without a look at what the disk holds"))
            .ok();
        let intake = Intake::new(fetcher, board, survey, ends, connections);
        match self.request.options.delta {
            Delta::Always => intake.undeterred(),
            Delta::Auto | Delta::Off => intake,
        }
    }

    async fn coordinate(
        &mut self,
        crew: &Crew,
        intake: &mut Intake,
        clearing: &mut Clearing,
        inbox: &mut UnboundedReceiver<Event>,
    ) -> Result<Option<Withheld>, Ended> {
        let mut corrupt: HashMap<usize, u32> = HashMap::new();
        let mut head = None;
        let cancel = self.cancel.clone();
        while self.ledger.verified().is_none() || !clearing.is_over() {
            tokio::select! {
                () = cancel.cancelled() => return Err(Ended::Cancelled),
                cleared = clearing.done(), if !clearing.is_over() => {
                    let kept = cleared?;
                    self.cleared(&crew.stage);
                    intake.cleared(&kept);
                    for kept in kept {
                        self.kept(kept.position());
                        match kept {
                            Kept::Head { bytes, .. } => {
                                head = Some(Withheld::new(bytes));
                                self.mark(0..1);
                            }
                            Kept::Written { position } => self.done(self.chunk(position)),
                        }
                    }
                }
                position = intake.next() => {
                    let position = position?;
                    self.kept(position);
                    self.done(self.chunk(position));
                }
                event = inbox.recv() => match event {
                    Some(Event::Done(chunks)) => self.done(chunks),
                    Some(Event::Zeroed(run, how)) => {
                        if how == Zeroed::ByWriting {
                            self.tell_slow_zeroes();
                        }
                        self.done(run.chunks);
                    }
                    Some(Event::Head(withheld)) => {
                        head = Some(withheld);
                        self.mark(0..1);
                    }
                    Some(Event::Corrupt { position, origin, error }) => {
                        let times = corrupt.entry(position).or_insert(0);
                        *times += 1;
                        let enough = TIMES_CORRUPT.max(u32::try_from(self.request.packs.origin_count()).unwrap_or(1));
                        let chunk = self.manifest.chunks[position].index;
                        if *times >= enough {
                            return Err(Ended::Corrupt { chunk, times: *times, source: error });
                        }
                        self.claim.meter.retries.fetch_add(1, Relaxed);
                        self.note(WriteNote::Corrupt { chunk, cause: error.to_string() });
                        intake.again(position, origin + 1);
                    }
                    Some(Event::Disk(error)) => return Err(error.into()),
                    Some(Event::Died { thread }) => {
                        return Err(Ended::Internal { what: format!("a thread {thread} died") });
                    }
                    None => return Err(Ended::Internal { what: "all threads ended early".to_owned() }),
                },
                compared = compared(self.read_back.as_mut()) => compared?,
                () = self.claim.ticked() => self.claim.look()?,
            }
        }
        Ok(head)
    }

    /// From "all is proven" to "the disk can boot".
    async fn finish(&mut self, head: Option<Withheld>) -> Result<Written, Ended> {
        self.claim.flush().await?;
        self.end_read_back().await?;
        if self.cancel.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        let missing = || Ended::Internal {
            what: "the ledger is not complete".to_owned(),
        };
        let mut verified = self.ledger.verified().ok_or_else(missing)?;
        if let Some(mut head) = head {
            if self.request.options.veiled {
                head.veil();
            }
            let head_bytes = len(&self.manifest.chunk_range(0));
            verified = self
                .claim
                .release(move |target, abandoned| head.release(target, verified, abandoned))
                .await?;
            self.claim.meter.written.fetch_add(head_bytes, Relaxed);
            if let Some(read_back) = &mut self.read_back {
                read_back.push(0);
            }
            self.end_read_back().await?;
        }
        self.claim.look()?;
        let figures = WriteFigures {
            chunks_resumed: self.chunks_resumed,
            ..self.claim.meter.figures()
        };
        Ok(Written { verified, figures })
    }

    /// Waits until all that was written is compared.
    async fn end_read_back(&mut self) -> Result<(), Ended> {
        let Some(read_back) = &mut self.read_back else {
            return Ok(());
        };
        self.claim.phase = Phase::ReadingBack;
        read_back.open();
        while !read_back.is_done() {
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Ended::Cancelled),
                compared = read_back.next() => compared?,
                () = self.claim.ticked() => self.claim.look()?,
            }
        }
        Ok(())
    }

    fn chunk(&self, position: usize) -> Range<u64> {
        let index = self.manifest.chunks[position].index;
        index..index + 1
    }

    /// A chunk need not be fetched: the disk holds it.
    fn kept(&mut self, position: usize) {
        let chunk = &self.manifest.chunks[position];
        let frame_bytes = u64::from(chunk.frame_bytes);
        let Claim { reporter, meter, .. } = &mut self.claim;
        reporter.bytes_to_fetch -= frame_bytes;
        reporter.data_to_write -= len(&self.manifest.chunk_range(chunk.index));
        meter.chunks_kept.fetch_add(1, Relaxed);
        meter.bytes_saved.fetch_add(frame_bytes, Relaxed);
    }

    /// Chunks are on the disk.
    fn done(&mut self, chunks: Range<u64>) {
        let noted = self
            .journal
            .as_mut()
            .map_or(Ok(()), |journal| journal.done(&chunks));
        self.keep_journal(noted);
        if let Some(read_back) = &mut self.read_back {
            let before = |index| self.manifest.chunks.partition_point(|chunk| chunk.index < index);
            for position in before(chunks.start)..before(chunks.end) {
                read_back.push(position);
            }
        }
        self.mark(chunks);
    }

    fn mark(&mut self, chunks: Range<u64>) {
        for chunk in chunks.clone() {
            if !self.ledger.is_done(chunk) {
                self.claim
                    .meter
                    .done
                    .fetch_add(len(&self.manifest.chunk_range(chunk)), Relaxed);
            }
        }
        self.ledger.mark(chunks);
    }

    /// A journal that can't be written is given up: the write itself is fine without it.
    fn keep_journal(&mut self, noted: io::Result<()>) {
        if let Err(error) = noted {
            self.note(WriteNote::JournalLost {
                cause: error.to_string(),
            });
            self.end_journal();
        }
    }

    fn end_journal(&mut self) {
        if let Some(journal) = self.journal.take()
            && let Err(error) = journal.remove()
        {
            warn!(%error, "cannot remove the journal");
        }
    }

    fn tell_slow_zeroes(&mut self) {
        if !std::mem::replace(&mut self.slow_zeroes_told, true) {
            self.note(WriteNote::ZeroesAreWritten);
        }
    }

    fn note(&self, note: WriteNote) {
        // Nobody has to listen.
        self.notes.send(note).ok();
    }
}

/// The next result of a read-back; never, where there is none.
async fn compared(read_back: Option<&mut ReadBack>) -> Result<(), Ended> {
    match read_back {
        Some(read_back) => read_back.next().await,
        None => std::future::pending().await,
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// The threads of a write, as their coordinator holds them.
struct Crew {
    stage: Arc<Stage>,
    queue: Arc<WorkQueue>,
}

impl Drop for Crew {
    /// Ends all threads, even when the write is dropped half-way.
    fn drop(&mut self) {
        self.queue.stop();
        self.stage.stop();
    }
}
