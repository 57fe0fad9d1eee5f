//! Compressed clusters, inflated by several threads ahead of the reader.
//!
//! Most cloud images are compressed qcow2 files, and one core inflates less than the others can compress anew. The
//! reader asks for the clusters that it will come to; results are taken by cluster, so that what the disk holds, and
//! which fault is the first, does not depend on timing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::SourceError;
use super::cluster::Inflater;
use super::header::Compression;

const MAX_THREADS: usize = 16;
/// Smaller clusters take less time than handing them over.
const MIN_CLUSTER_BYTES: u64 = 16 << 10;

/// Where a compressed cluster lies in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub cluster: u64,
    pub offset: u64,
    pub bytes: u64,
}

type Plain = Result<Vec<u8>, SourceError>;

/// The threads and what they have in hand.
pub(super) struct Ahead {
    file: Arc<File>,
    cluster_bytes: usize,
    /// For clusters that are asked for and inflated at once.
    own: Inflater,
    threads: usize,
    crew: Option<Crew>,
    asked: BTreeSet<u64>,
    ready: BTreeMap<u64, Plain>,
    spare: Vec<Vec<u8>>,
}

struct Crew {
    jobs: Sender<(Place, Vec<u8>)>,
    results: Receiver<(u64, Plain)>,
    threads: Vec<JoinHandle<()>>,
}

impl Ahead {
    pub fn new(file: Arc<File>, compression: Compression, cluster_bytes: u64) -> io::Result<Self> {
        let threads = if cluster_bytes < MIN_CLUSTER_BYTES {
            1
        } else {
            thread::available_parallelism().map_or(1, usize::from)
        };
        Ok(Self {
            file,
            cluster_bytes: usize::try_from(cluster_bytes).expect("at most 2 MiB"),
            own: Inflater::new(compression)?,
            threads: threads.min(MAX_THREADS),
            crew: None,
            asked: BTreeSet::new(),
            ready: BTreeMap::new(),
            spare: Vec::new(),
        })
    }

    /// How many clusters, from the one that is needed on, may be asked for. 1 when there are no threads for more.
    pub fn depth(&self) -> usize {
        if self.threads > 1 { 2 * self.threads } else { 1 }
    }

    /// How many more clusters may be asked for now.
    pub fn room(&self) -> usize {
        self.depth().saturating_sub(self.asked.len() + self.ready.len())
    }

    /// Has a cluster inflated, unless that was asked for before.
    pub fn ask(&mut self, place: Place) -> Result<(), SourceError> {
        if self.threads < 2 || self.asked.contains(&place.cluster) || self.ready.contains_key(&place.cluster)
        {
            return Ok(());
        }
        let crew = match &mut self.crew {
            Some(crew) => crew,
            none => none.insert(Crew::hire(self.threads, &self.file, self.own.compression())?),
        };
        let mut plain = self.spare.pop().unwrap_or_default();
        plain.resize(self.cluster_bytes, 0);
        if crew.jobs.send((place, plain)).is_ok() {
            self.asked.insert(place.cluster);
        }
        Ok(())
    }

    /// The content of a cluster, whether it was asked for or not. What was asked for before it is forgotten.
    pub fn take(&mut self, place: Place) -> Plain {
        while self.asked.contains(&place.cluster) {
            // Only when the whole crew is gone; the cluster is then inflated here.
            let Some((cluster, plain)) = self.crew.as_ref().and_then(|crew| crew.results.recv().ok()) else {
                self.asked.clear();
                break;
            };
            self.asked.remove(&cluster);
            self.ready.insert(cluster, plain);
        }
        let later = self.ready.split_off(&place.cluster);
        for plain in std::mem::replace(&mut self.ready, later).into_values().flatten() {
            self.spare.push(plain);
        }
        if let Some(plain) = self.ready.remove(&place.cluster) {
            return plain;
        }
        let mut plain = self.spare.pop().unwrap_or_default();
        plain.resize(self.cluster_bytes, 0);
        self.own
            .inflate(&self.file, place.offset, place.bytes, &mut plain)
            .map(|()| plain)
            .map_err(SourceError::from)
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, plain: Vec<u8>) {
        if self.spare.len() < self.depth() {
            self.spare.push(plain);
        }
    }
}

impl Crew {
    fn hire(threads: usize, file: &Arc<File>, compression: Compression) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<(Place, Vec<u8>)>();
        let queue = Arc::new(Mutex::new(queue));
        let (done, results) = mpsc::channel();
        let threads = (0..threads)
            .map(|number| {
                let (file, queue, done) = (Arc::clone(file), Arc::clone(&queue), done.clone());
                let mut inflater = Inflater::new(compression)?;
                thread::Builder::new()
                    .name(format!("inflate-{number}"))
                    .spawn(move || {
                        loop {
                            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                            let Ok((place, mut plain)) = job else { return };
                            let mut reply = Reply {
                                done: &done,
                                cluster: place.cluster,
                                plain: None,
                            };
                            let result = inflater.inflate(&file, place.offset, place.bytes, &mut plain);
                            reply.plain = Some(result.map(|()| plain).map_err(SourceError::from));
                        }
                    })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            jobs,
            results,
            threads,
        })
    }
}

/// Tells how a job ended, even when it ended with a panic: the reader waits for it.
struct Reply<'a> {
    done: &'a Sender<(u64, Plain)>,
    cluster: u64,
    plain: Option<Plain>,
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        let died = || Err(io::Error::other("the thread that inflates it has died").into());
        let plain = self.plain.take().unwrap_or_else(died);
        // Nobody waits any more when the import has ended.
        self.done.send((self.cluster, plain)).ok();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(Crew {
            jobs,
            results,
            threads,
        }) = self.crew.take()
        {
            drop((jobs, results));
            for thread in threads {
                // It has told nothing that anybody waits for; a panic has been printed.
                thread.join().ok();
            }
        }
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead")
            .field("threads", &self.threads)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
