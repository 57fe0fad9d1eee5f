//! The threads of an import and what they send each other. `write.rs` tells the flow.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::packer::{Decision, FullPack, Packer};
use super::reader::{self, DiskFacts, Filled, ReadOptions};
use super::{ImportError, ImportProgress, KnownChunk, PackSink, WriteOptions};
use crate::frame::Encoder;
use crate::seal::Seal;
use crate::signed::MAX_ENVELOPE_BYTES;
use crate::source::ImageSource;
use crate::{CHUNK_BYTES, Digest, MAX_MANIFEST_BYTES, Manifest, ManifestError, PackRef};

const MAX_THREADS: usize = 32;

/// Work for a worker. The numbers give the order in which results are to be taken.
enum Job {
    Hash {
        number: u64,
        chunk: Filled,
    },
    Compress {
        number: u64,
        chunk: Filled,
        digest: Digest,
        frame: Vec<u8>,
    },
}

/// What reaches the caller's thread.
enum Event {
    Hashed {
        number: u64,
        chunk: Filled,
        digest: Digest,
    },
    Compressed(u64, Compressed),
    /// A worker cannot go on.
    Failed {
        index: u64,
        source: io::Error,
    },
    /// The reader is through; with the number of chunks it handed on.
    Read(Result<(DiskFacts, u64), ImportError>),
}

struct Compressed {
    chunk: Filled,
    plain: Digest,
    frame: Vec<u8>,
    digest: Digest,
}

pub(super) fn run(
    source: &mut dyn ImageSource,
    sink: &mut dyn PackSink,
    options: &WriteOptions<'_>,
) -> Result<Manifest, ImportError> {
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let threads = threads.min(MAX_THREADS);
    let disk_size_bytes = source.disk_size_bytes();
    let (jobs, job_queue) = mpsc::channel();
    let job_queue = Mutex::new(job_queue);
    let (events, event_queue) = mpsc::channel();
    let (buffers, buffer_queue) = mpsc::channel();
    // Enough that every worker has one chunk in hand and one waiting while the oldest is being packed.
    for _ in 0..2 * threads + 4 {
        buffers
            .send(vec![0; CHUNK_BYTES as usize])
            .expect("the receiver is a line above");
    }
    thread::scope(|scope| {
        for number in 0..threads {
            let (job_queue, events) = (&job_queue, events.clone());
            let (level, seal) = (options.level, options.seal);
            spawn(scope, &format!("import-{number}"), move || {
                work(job_queue, &events, level, seal);
            })?;
        }
        let read_options = ReadOptions {
            max_disk_bytes: options.max_disk_bytes,
            cancel: options.cancel,
            logical_sector_bytes: options.logical_sector_bytes,
        };
        let to_workers = jobs.clone();
        spawn(scope, "import-read", move || {
            let result = read(source, &read_options, &buffer_queue, &to_workers);
            // Nobody listens any more when the import failed elsewhere; that error is the one to tell.
            events.send(Event::Read(result)).ok();
        })?;
        let (full_packs, pack_queue) = mpsc::sync_channel(1);
        let storing = spawn(scope, "import-store", move || store(sink, &pack_queue))?;
        let mut import = Import {
            options,
            packer: Packer::new(options.seal.cloned()),
            jobs,
            buffers,
            full_packs,
            spare_frames: Vec::new(),
            to_compress: 0,
            progress: ImportProgress {
                disk_size_bytes,
                ..ImportProgress::default()
            },
        };
        let result = import.pack_all(&event_queue);
        let Import {
            packer, full_packs, ..
        } = import;
        drop(full_packs);
        // A sink that failed is why packing stopped.
        let stored = join(storing)?;
        let disk = result?;
        let manifest = packer.finish(disk, stored)?;
        fits(&manifest)?;
        Ok(manifest)
    })
}

/// No reader takes a longer manifest, so the image could be stored, and never be deployed.
fn fits(manifest: &Manifest) -> Result<(), ManifestError> {
    let got = manifest.encode().len() as u64 + MAX_ENVELOPE_BYTES;
    if got > MAX_MANIFEST_BYTES {
        let limit = MAX_MANIFEST_BYTES;
        return Err(ManifestError::TooLarge { got, limit });
    }
    Ok(())
}

/// What the caller's thread holds. Dropping it ends the other threads.
struct Import<'a> {
    options: &'a WriteOptions<'a>,
    packer: Packer,
    jobs: Sender<Job>,
    buffers: Sender<Vec<u8>>,
    full_packs: SyncSender<FullPack>,
    spare_frames: Vec<Vec<u8>>,
    /// How many chunks were given to the workers to be compressed.
    to_compress: u64,
    progress: ImportProgress,
}

impl Import<'_> {
    fn pack_all(&mut self, events: &Receiver<Event>) -> Result<DiskFacts, ImportError> {
        let mut hashed = InOrder::default();
        let mut compressed = InOrder::default();
        let mut disk = None;
        loop {
            if self
                .options
                .cancel
                .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            {
                return Err(ImportError::Cancelled);
            }
            if let Some((_, total)) = &disk
                && hashed.taken == *total
                && compressed.taken == self.to_compress
            {
                break;
            }
            // The senders live in threads that end only after an event or when this function has returned.
            match events.recv().map_err(|_| ImportError::Cancelled)? {
                Event::Hashed {
                    number,
                    chunk,
                    digest,
                } => hashed.add(number, (chunk, digest)),
                Event::Compressed(number, done) => compressed.add(number, done),
                Event::Failed { index, source } => return Err(ImportError::Compress { index, source }),
                Event::Read(result) => disk = Some(result?),
            }
            while let Some((chunk, digest)) = hashed.next() {
                self.decide(chunk, digest);
            }
            while let Some(done) = compressed.next() {
                self.pack(done)?;
            }
        }
        if let Some(pack) = self.packer.close() {
            self.store(pack)?;
        }
        let (disk, _) = disk.expect("the loop ends only after the reader");
        self.progress.disk_bytes = disk.disk_size_bytes;
        self.tell();
        Ok(disk)
    }

    fn decide(&mut self, chunk: Filled, digest: Digest) {
        let end = (chunk.index + 1) * u64::from(CHUNK_BYTES);
        self.progress.disk_bytes = self.progress.disk_size_bytes.map_or(end, |size| size.min(end));
        self.progress.data_bytes += chunk.plain.len() as u64;
        let known: &dyn Fn(&Digest) -> Option<KnownChunk> = match self.options.seal {
            Some(_) => &|_| None,
            None => self.options.known,
        };
        match self.packer.decide(chunk.index, digest, known) {
            Decision::Compress => {
                let frame = self.spare_frames.pop().unwrap_or_default();
                let number = self.to_compress;
                self.to_compress += 1;
                self.jobs
                    .send(Job::Compress {
                        number,
                        chunk,
                        digest,
                        frame,
                    })
                    .expect("the queue's receiver outlives the import");
            }
            Decision::Have => {
                self.progress.deduplicated_chunks += 1;
                self.give_back(chunk.plain);
            }
        }
        self.tell();
    }

    /// A buffer for the reader, unless the reader has ended.
    fn give_back(&self, buffer: Vec<u8>) {
        self.buffers.send(buffer).ok();
    }

    fn pack(&mut self, done: Compressed) -> Result<(), ImportError> {
        let Compressed {
            chunk,
            plain,
            frame,
            digest,
        } = done;
        self.progress.new_frame_bytes += frame.len() as u64;
        if let Some(pack) = self.packer.make_room(frame.len()) {
            self.store(pack)?;
        }
        self.packer.pack(plain, chunk.plain.len(), &frame, digest);
        self.spare_frames.push(frame);
        self.give_back(chunk.plain);
        Ok(())
    }

    fn store(&self, pack: FullPack) -> Result<(), ImportError> {
        // Only when the sink failed; `join` has its error.
        self.full_packs.send(pack).map_err(|_| ImportError::Cancelled)
    }

    fn tell(&self) {
        if let Some(progress) = self.options.progress {
            progress(&self.progress);
        }
    }
}

/// Results of several workers, taken in the order of their numbers.
struct InOrder<T> {
    taken: u64,
    waiting: BTreeMap<u64, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self {
            taken: 0,
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> InOrder<T> {
    fn add(&mut self, number: u64, result: T) {
        self.waiting.insert(number, result);
    }

    fn next(&mut self) -> Option<T> {
        let result = self.waiting.remove(&self.taken)?;
        self.taken += 1;
        Some(result)
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ImportError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, body)
        .map_err(ImportError::Threads)
}

fn read(
    source: &mut dyn ImageSource,
    options: &ReadOptions<'_>,
    buffers: &Receiver<Vec<u8>>,
    jobs: &Sender<Job>,
) -> Result<(DiskFacts, u64), ImportError> {
    let mut number = 0u64;
    let put = |chunk| {
        let sent = jobs.send(Job::Hash { number, chunk }).is_ok();
        number += 1;
        sent
    };
    let disk = reader::read_all(source, options, || buffers.recv().ok(), put)?;
    Ok((disk, number))
}

/// A worker: ends when nobody can send jobs any more or nobody wants results.
fn work(jobs: &Mutex<Receiver<Job>>, events: &Sender<Event>, level: i32, seal: Option<&Seal>) {
    let mut encoder = None;
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let event = match job {
            Err(_) => return,
            Ok(Job::Hash { number, chunk }) => {
                let digest = Digest::of(&chunk.plain);
                Event::Hashed {
                    number,
                    chunk,
                    digest,
                }
            }
            Ok(Job::Compress {
                number,
                chunk,
                digest: plain,
                mut frame,
            }) => {
                let encoded = match &mut encoder {
                    Some(encoder) => Encoder::encode(encoder, &chunk.plain, &mut frame),
                    none => Encoder::new(level)
                        .and_then(|encoder| none.insert(encoder).encode(&chunk.plain, &mut frame)),
                };
                match encoded {
                    Ok(()) => {
                        if let Some(seal) = seal {
                            let bytes = u32::try_from(chunk.plain.len()).expect("a chunk is at most a MiB");
                            seal.seal_frame(&mut frame, &plain, bytes);
                        }
                        let digest = Digest::of(&frame);
                        Event::Compressed(
                            number,
                            Compressed {
                                chunk,
                                plain,
                                frame,
                                digest,
                            },
                        )
                    }
                    Err(source) => Event::Failed {
                        index: chunk.index,
                        source,
                    },
                }
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

/// Names and stores packs; gives their names by their number in the image.
fn store(sink: &mut dyn PackSink, packs: &Receiver<FullPack>) -> Result<Vec<(u32, PackRef)>, ImportError> {
    let mut stored = Vec::new();
    for FullPack { number, content } in packs {
        let (digest, bytes) = content.finish();
        let size_bytes = bytes.len() as u64;
        sink.put_pack(digest, bytes)
            .map_err(|source| ImportError::Sink { pack: digest, source })?;
        stored.push((number, PackRef { digest, size_bytes }));
    }
    Ok(stored)
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T, ImportError>>) -> Result<T, ImportError> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
