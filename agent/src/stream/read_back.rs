//! Reads chunks again from the disk and compares them with the manifest.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use imprint_image::{Digest, Manifest};
use tokio_util::sync::CancellationToken;

use super::{failure::Ended, progress::Meter};
use crate::target::{AlignedBuf, Target};

/// Compares `chunks` (positions in the manifest) with what the disk gives back, on `threads` threads.
pub(super) fn compare(
    manifest: &Manifest,
    chunks: Range<usize>,
    target: &dyn Target,
    meter: &Arc<Meter>,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<(), Ended> {
    let next = AtomicUsize::new(chunks.start);
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (next, stop, failed) = (&next, &stop, &failed);
            scope.spawn(move || {
                let mut buffer = AlignedBuf::new(manifest.chunk_bytes as usize);
                while !stop.load(Relaxed) {
                    let position = next.fetch_add(1, Relaxed);
                    if position >= chunks.end {
                        return;
                    }
                    let compared = match cancel.is_cancelled() {
                        true => Err(Ended::Cancelled),
                        false => compare_one(manifest, position, target, meter, &mut buffer),
                    };
                    if let Err(error) = compared {
                        stop.store(true, Relaxed);
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn compare_one(
    manifest: &Manifest,
    position: usize,
    target: &dyn Target,
    meter: &Arc<Meter>,
    buffer: &mut AlignedBuf,
) -> Result<(), Ended> {
    let chunk = &manifest.chunks[position];
    let place = manifest.chunk_range(chunk.index);
    buffer.set_len(usize::try_from(place.end - place.start).expect("a chunk is at most a MiB"));
    meter.disk(|| target.read_at(buffer, place.start))?;
    let got = meter.cpu(|| Digest::of(buffer));
    if got != chunk.plain {
        let (device, expected) = (target.id().clone(), chunk.plain);
        return Err(Ended::ReadBack {
            device,
            chunk: chunk.index,
            expected,
            got,
        });
    }
    Ok(())
}
