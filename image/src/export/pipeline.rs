//! The threads of an export: each takes the next few chunks, fetches, proves and decodes them, and makes of them what
//! the format wants; the caller's thread puts the results into the file in their order. Nobody works further ahead than
//! a window, so memory is bounded by it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::payload::{Grinder, Payload, Wanted};
use super::{ExportError, ExportOptions, FileWriter, Frames, Output, zstd_bytes};
use crate::frame::{self, Decoder};
use crate::{CHUNK_BYTES, Manifest};

/// Neighbouring frames that are fetched at once. Memory is a multiple of it.
const BATCH_CHUNKS: usize = 4;
const MIN_THREADS: usize = 4;
const MAX_THREADS: usize = 16;
/// Batches that may be made for each thread before the first of them is written.
const AHEAD: usize = 2;

/// What the threads share.
struct Shared<'a> {
    manifest: &'a Manifest,
    batches: Vec<Range<usize>>,
    wanted: Wanted,
    frames: &'a dyn Frames,
    window: usize,
    state: Mutex<State>,
    /// Told when a batch was made.
    made: Condvar,
    /// Told when a batch was written, and at the end.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// The next batch that nobody has taken.
    next: usize,
    written: usize,
    made: BTreeMap<usize, Result<Vec<Payload>, ExportError>>,
    stop: bool,
}

/// Ends the workers when the caller's thread leaves, whatever way.
struct StopAtEnd<'a, 'b>(&'a Shared<'b>);

impl Drop for StopAtEnd<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.room.notify_all();
    }
}

/// Keeps the caller's thread from waiting for a worker that is gone.
struct StopInPanic<'a, 'b>(&'a Shared<'b>);

impl Drop for StopInPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().stop = true;
            self.0.made.notify_all();
        }
    }
}

pub(super) fn run(
    manifest: &Manifest,
    writer: &mut dyn FileWriter,
    frames: &dyn Frames,
    out: &mut Output<'_>,
    options: &ExportOptions<'_>,
) -> Result<(), ExportError> {
    if let Some(file_bytes) = writer.file_bytes()
        && options.from > file_bytes
    {
        let from = options.from;
        return Err(ExportError::Range { file_bytes, from });
    }
    let threads = match options.threads {
        0 => thread::available_parallelism()
            .map_or(MIN_THREADS, usize::from)
            .max(MIN_THREADS),
        threads => threads,
    }
    .min(MAX_THREADS);
    let first = first_wanted(manifest, writer, options.from);
    let shared = Shared {
        manifest,
        batches: batches(manifest, first),
        wanted: writer.wanted(),
        frames,
        window: threads * AHEAD,
        state: Mutex::default(),
        made: Condvar::new(),
        room: Condvar::new(),
    };
    thread::scope(|scope| {
        let _stop = StopAtEnd(&shared);
        for number in 0..threads.min(shared.batches.len()) {
            thread::Builder::new()
                .name(format!("export-{number}"))
                .spawn_scoped(scope, || shared.work())
                .map_err(ExportError::Threads)?;
        }
        shared.write(writer, out, options, first)
    })
}

/// The first data chunk of which a byte is wanted.
fn first_wanted(manifest: &Manifest, writer: &dyn FileWriter, from: u64) -> usize {
    let (mut low, mut high) = (0, manifest.chunks.len());
    while low < high {
        let middle = low.midpoint(high);
        let is_before = writer
            .place(middle)
            .is_some_and(|at| at + length(manifest, writer.wanted(), middle) <= from);
        if is_before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// How long what becomes of a chunk is in the file. Not asked where that is not known.
fn length(manifest: &Manifest, wanted: Wanted, nth: usize) -> u64 {
    let chunk = &manifest.chunks[nth];
    match wanted {
        Wanted::Frame => zstd_bytes(manifest, chunk),
        Wanted::WholeFrame if plain_bytes(manifest, nth) == CHUNK_BYTES as usize => {
            zstd_bytes(manifest, chunk)
        }
        _ => plain_bytes(manifest, nth) as u64,
    }
}

fn plain_bytes(manifest: &Manifest, nth: usize) -> usize {
    let range = manifest.chunk_range(manifest.chunks[nth].index);
    usize::try_from(range.end - range.start).expect("not longer than a chunk")
}

/// Chunks whose frames are neighbours in one pack.
fn batches(manifest: &Manifest, first: usize) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    for nth in first..manifest.chunks.len() {
        let chunk = &manifest.chunks[nth];
        let follows = nth > first && {
            let before = &manifest.chunks[nth - 1];
            (before.pack, before.offset + u64::from(before.frame_bytes)) == (chunk.pack, chunk.offset)
        };
        match batches
            .last_mut()
            .filter(|batch| follows && batch.len() < BATCH_CHUNKS)
        {
            Some(batch) => batch.end = nth + 1,
            None => batches.push(nth..nth + 1),
        }
    }
    batches
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _stop = StopInPanic(self);
        let mut bench = Bench::default();
        while let Some(number) = self.take() {
            let made = bench.make(self, self.batches[number].clone());
            self.lock().made.insert(number, made);
            self.made.notify_all();
        }
    }

    fn take(&self) -> Option<usize> {
        let mut state = self.lock();
        while !state.stop && state.next < self.batches.len() && state.next >= state.written + self.window {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stop || state.next == self.batches.len() {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    fn write(
        &self,
        writer: &mut dyn FileWriter,
        out: &mut Output<'_>,
        options: &ExportOptions<'_>,
        first: usize,
    ) -> Result<(), ExportError> {
        let manifest = self.manifest;
        put(out, |out| writer.begin(out))?;
        for nth in 0..first {
            let absent = Payload::Absent(length(manifest, self.wanted, nth));
            put(out, |out| writer.chunk(out, &manifest.chunks[nth], absent))?;
        }
        for (number, batch) in self.batches.iter().enumerate() {
            for (nth, payload) in batch.clone().zip(self.wait_for(number)?) {
                let chunk = &manifest.chunks[nth];
                put(out, |out| writer.chunk(out, chunk, payload))?;
                if let Some(progress) = options.progress {
                    progress(manifest.chunk_range(chunk.index).end);
                }
            }
            self.lock().written = number + 1;
            self.room.notify_all();
        }
        put(out, |out| writer.end(out))?;
        if let Some(progress) = options.progress {
            progress(manifest.disk_size_bytes);
        }
        Ok(())
    }

    fn wait_for(&self, number: usize) -> Result<Vec<Payload>, ExportError> {
        let mut state = self.lock();
        loop {
            if let Some(made) = state.made.remove(&number) {
                return made;
            }
            if state.stop {
                return Err(ExportError::Threads(io::Error::other("one of them ended early")));
            }
            state = self.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Does one step of the file; a cancelled export says so, whatever the step said.
fn put(
    out: &mut Output<'_>,
    step: impl FnOnce(&mut Output<'_>) -> io::Result<()>,
) -> Result<(), ExportError> {
    let result = step(out);
    if out.is_cancelled() {
        return Err(ExportError::Cancelled);
    }
    result.map_err(|source| ExportError::Write {
        offset: out.position(),
        source,
    })
}

/// What a worker keeps from one batch to the next.
#[derive(Default)]
struct Bench {
    decoder: Option<Decoder>,
    grinder: Option<Grinder>,
}

impl Bench {
    fn make(&mut self, shared: &Shared<'_>, batch: Range<usize>) -> Result<Vec<Payload>, ExportError> {
        let manifest = shared.manifest;
        let chunks = &manifest.chunks[batch.clone()];
        let pack = &manifest.packs[chunks[0].pack as usize];
        let begin = chunks[0].offset;
        let bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.frame_bytes)).sum();
        let fault = |source| ExportError::Fetch {
            pack: pack.digest,
            offset: begin,
            bytes,
            source,
        };
        let mut frames = shared.frames.fetch(pack, begin..begin + bytes).map_err(fault)?;
        if frames.len() as u64 != bytes {
            return Err(fault(io::Error::other(format!("{} bytes came", frames.len()))));
        }
        let mut payloads = Vec::with_capacity(chunks.len());
        let mut rest = &mut frames[..];
        for (nth, chunk) in batch.zip(chunks) {
            let (frame, after) = rest.split_at_mut(chunk.frame_bytes as usize);
            rest = after;
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                none => none.insert(Decoder::of(manifest).map_err(ExportError::Threads)?),
            };
            let mut plain = vec![0; plain_bytes(manifest, nth)];
            let len = plain.len();
            frame::verify_and_decode(frame, chunk, len, &mut plain, decoder).map_err(|source| {
                ExportError::Frame {
                    pack: pack.digest,
                    source,
                }
            })?;
            // An encrypted frame was opened where it is.
            let zstd = usize::try_from(zstd_bytes(manifest, chunk)).expect("no longer than the frame");
            let frame = &frame[..zstd];
            payloads.push(match shared.wanted {
                Wanted::Frame => Payload::Frame(frame.to_vec()),
                Wanted::WholeFrame if len == CHUNK_BYTES as usize => Payload::Frame(frame.to_vec()),
                Wanted::Plain | Wanted::WholeFrame => Payload::Plain(plain),
                Wanted::Grains => {
                    let grains = self.grinder.get_or_insert_with(Grinder::new).grains(&plain);
                    Payload::Grains(grains.map_err(|source| ExportError::Compress {
                        index: chunk.index,
                        source,
                    })?)
                }
            });
        }
        Ok(payloads)
    }
}
