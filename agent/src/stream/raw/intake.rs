//! The source on its way in: every byte goes to the hash, and to the unit that it belongs to.

use std::{io, sync::Arc, thread::Builder};

use bytes::Bytes;
use imprint_image::source::Format;
use sha2::{Digest, Sha256};
use tokio::sync::{
    Semaphore,
    mpsc::{self, Receiver, Sender, UnboundedSender},
    oneshot,
};

use super::{
    split::{Act, Splitter},
    unit::{Part, Unit},
    yard::Yard,
};
use crate::stream::failure::Ended;

/// Pieces that wait for the hash.
const PIECES: usize = 8;
/// Units that have begun and wait for a decoder.
const UNITS: usize = 32;
/// What a piece costs at least: it takes some memory however short it is.
const PIECE_COST: usize = 1024;

/// Where the source goes.
#[derive(Debug)]
pub(super) struct Intake {
    hash: Sender<Bytes>,
    splitter: Splitter,
    acts: Vec<Act>,
    units: Sender<Unit>,
    open: Option<(u64, UnboundedSender<Part>)>,
    begun: u64,
    /// Memory for what waits to be decoded.
    memory: Arc<Semaphore>,
    memory_bytes: usize,
    yard: Arc<Yard>,
}

/// The other ends.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) units: Receiver<Unit>,
    /// The SHA-256 of all that passed: of the whole source if it [came to its end](Intake::end).
    pub(super) sha256: oneshot::Receiver<[u8; 32]>,
}

impl Intake {
    /// An intake that keeps at most so many bytes for the decoders.
    pub(super) fn new(format: Format, memory_bytes: usize, yard: Arc<Yard>) -> io::Result<(Self, Outlets)> {
        let (hash, pieces) = mpsc::channel(PIECES);
        let (units, outlet) = mpsc::channel(UNITS);
        let sha256 = start_hash(pieces)?;
        let intake = Intake {
            hash,
            splitter: Splitter::new(format),
            acts: Vec::new(),
            units,
            open: None,
            begun: 0,
            memory: Arc::new(Semaphore::new(memory_bytes)),
            memory_bytes,
            yard,
        };
        Ok((
            intake,
            Outlets {
                units: outlet,
                sha256,
            },
        ))
    }

    /// Takes a piece of the source; waits until there is room. `false`: nobody wants it, the write has ended.
    pub(super) async fn piece(&mut self, piece: Bytes) -> Result<bool, Ended> {
        let mut acts = std::mem::take(&mut self.acts);
        let split = self.splitter.split(piece.clone(), &mut acts);
        if self.hash.send(piece).await.is_err() {
            return Ok(false);
        }
        let wanted = self.follow(&mut acts).await;
        self.acts = acts;
        split.map_err(|source| Ended::Decompress { source })?;
        Ok(wanted)
    }

    /// All came.
    pub(super) async fn end(mut self) -> Result<(), Ended> {
        let mut acts = Vec::new();
        let split = self.splitter.end(&mut acts);
        self.follow(&mut acts).await;
        split.map_err(|source| Ended::Decompress { source })?;
        self.yard.ended(self.begun);
        Ok(())
    }

    async fn follow(&mut self, acts: &mut Vec<Act>) -> bool {
        for act in acts.drain(..) {
            let wanted = match act {
                Act::Begin(form) => {
                    let (sender, parts) = mpsc::unbounded_channel();
                    let number = self.begun;
                    self.begun += 1;
                    self.open = Some((number, sender));
                    self.units.send(Unit { number, form, parts }).await.is_ok()
                }
                Act::Bytes(bytes) => {
                    let cost = bytes.len().max(PIECE_COST).min(self.memory_bytes);
                    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
                    let granted = Arc::clone(&self.memory).acquire_many_owned(cost).await;
                    let granted = granted.expect("the semaphore is never closed");
                    let open = self.open.as_ref();
                    open.is_some_and(|(_, parts)| parts.send(Part::Bytes(bytes, granted)).is_ok())
                }
                Act::End { len } => match self.open.take() {
                    Some((number, parts)) => {
                        if let Some(len) = len {
                            self.yard.measured(number, len);
                        }
                        parts.send(Part::End).is_ok()
                    }
                    None => false,
                },
            };
            if !wanted {
                return false;
            }
        }
        true
    }
}

/// Hashes the source on a thread of its own: next to the decoder it would be as slow again.
fn start_hash(mut pieces: Receiver<Bytes>) -> io::Result<oneshot::Receiver<[u8; 32]>> {
    let (sender, digest) = oneshot::channel();
    Builder::new().name("sha256".to_owned()).spawn(move || {
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.blocking_recv() {
            hash.update(&piece);
        }
        // Nobody listens any more when the write has failed.
        sender.send(hash.finalize().into()).ok();
    })?;
    Ok(digest)
}
