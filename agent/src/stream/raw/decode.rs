//! Threads that decode units, and the cut through which each of them writes.

use std::{
    io::{self, BufRead, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::Builder,
};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use liblzma::{
    bufread::XzDecoder,
    stream::{CONCATENATED, Stream},
};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::{
    canvas::{Canvas, Painted},
    cut::{Cut, Ground, Stopped},
    unit::{Form, Parts, Unit},
    yard::Yard,
    zst::{Frames, frame::damaged},
};
use crate::{
    stream::{failure::Ended, on_panic::OnPanic, progress::Meter, stage::Stage},
    target::{WriteError, Zeroed},
};

/// What a decoder of xz may keep for its dictionary: enough for `xz -9`.
const DICTIONARY_BYTES: u64 = 160 << 20;

/// What the threads tell the coordinator.
#[derive(Debug)]
pub(super) enum Event {
    /// All is decoded, and went to the write stage.
    Painted(Painted),
    /// A decoder has found something.
    Failed(Ended),
    /// Zeroes are on the disk.
    Zeroed(Zeroed),
    /// The disk refused.
    Disk(WriteError),
    /// A thread died.
    Died(&'static str),
}

/// What all decoders of one image share.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) units: Mutex<Receiver<Unit>>,
    pub(super) yard: Arc<Yard>,
    pub(super) canvas: Canvas,
    pub(super) stage: Arc<Stage>,
    pub(super) meter: Arc<Meter>,
    pub(super) stop: CancellationToken,
    pub(super) events: UnboundedSender<Event>,
    /// Size of the disk.
    pub(super) room: u64,
    /// Nothing else proves the image: the checksums within it are looked at.
    pub(super) check: bool,
    /// Decoders at work.
    pub(super) at_work: AtomicUsize,
}

impl Shop {
    /// Starts the decoders. They end when no unit is left; the last one to leave closes the write stage.
    pub(super) fn open(self, decoders: usize) -> io::Result<()> {
        self.at_work.store(decoders, Ordering::SeqCst);
        let shop = Arc::new(self);
        for number in 0..decoders {
            let theirs = Arc::clone(&shop);
            Builder::new().name(format!("decode-{number}")).spawn(move || {
                // If the coordinator is gone, nobody waits.
                let _farewell = OnPanic::new(theirs.events.clone(), |events| {
                    events.send(Event::Died("decode")).ok();
                });
                theirs.work();
            })?;
        }
        Ok(())
    }

    fn work(&self) {
        if let Err(Stopped::Because(ended)) = self.decode_all() {
            // When nobody listens any more, the write has ended otherwise.
            self.events.send(Event::Failed(ended)).ok();
        }
        if self.at_work.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let Some(image_bytes) = self.yard.total() else {
            self.stage.stop();
            return;
        };
        match self.canvas.finish(image_bytes) {
            Ok(painted) => {
                self.events.send(Event::Painted(painted)).ok();
                self.stage.finish();
            }
            Err(Stopped::Because(ended)) => {
                self.events.send(Event::Failed(ended)).ok();
            }
            Err(Stopped::Elsewhere) => {}
        }
    }

    fn decode_all(&self) -> Result<(), Stopped> {
        let mut frames = Frames::new(self.check);
        while let Some(unit) = self.next() {
            let ground = Ground {
                yard: &self.yard,
                canvas: &self.canvas,
                meter: &self.meter,
                stop: &self.stop,
                room: self.room,
            };
            let mut cut = Cut::new(ground, unit.number)?;
            let (lead, trail) = match &unit.form {
                Form::XzRest { lead } => (lead.clone(), Bytes::new()),
                Form::XzBlock { lead, trail, .. } => (lead.clone(), trail.clone()),
                Form::Raw | Form::Gzip | Form::Zstd => (Bytes::new(), Bytes::new()),
            };
            let mut parts = Parts::new(unit.parts, lead, trail, Arc::clone(&self.meter));
            let decoded = one_unit(&unit.form, &mut frames, &mut parts, &mut cut);
            // A lost source looks like a damaged one to the decoder.
            if parts.is_lost() {
                return Err(Stopped::Elsewhere);
            }
            decoded?;
            cut.finish()?;
        }
        Ok(())
    }

    fn next(&self) -> Option<Unit> {
        // Whoever holds the lock only waits, so nothing can be left half-done.
        self.units
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv()
    }
}

fn one_unit(form: &Form, frames: &mut Frames, parts: &mut Parts, cut: &mut Cut<'_>) -> Result<(), Stopped> {
    match form {
        Form::Raw => loop {
            let bytes = parts.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let len = bytes.len();
            cut.data(bytes)?;
            parts.consume(len);
        },
        Form::Zstd => frames.decode(parts, cut),
        Form::Gzip => drain(&mut MultiGzDecoder::new(parts), |decoder| decoder.get_mut(), cut),
        Form::XzRest { .. } => {
            // How much it needs is not known: it has its turn when it is the first.
            cut.admit(u64::MAX)?;
            xz(parts, CONCATENATED, cut)
        }
        Form::XzBlock { memory, .. } => {
            cut.admit(*memory)?;
            xz(parts, 0, cut)
        }
    }
}

fn xz(parts: &mut Parts, flags: u32, cut: &mut Cut<'_>) -> Result<(), Stopped> {
    let stream = Stream::new_stream_decoder(DICTIONARY_BYTES, flags).map_err(io::Error::from)?;
    let mut decoder = XzDecoder::new_stream(parts, stream);
    drain(&mut decoder, |decoder| decoder.get_mut(), cut)?;
    if decoder.get_mut().is_at_end()? {
        Ok(())
    } else {
        Err(damaged("an xz block is shorter than it says").into())
    }
}

/// Reads a decoder to its end, straight into the buffers for the disk.
fn drain<'a, D: Read>(
    decoder: &mut D,
    parts: impl Fn(&mut D) -> &mut &'a mut Parts,
    cut: &mut Cut<'_>,
) -> Result<(), Stopped> {
    loop {
        // Waiting for the source is no work of the decoder.
        parts(decoder).is_at_end()?;
        let meter = cut.meter();
        let space = cut.space()?;
        match meter.cpu(|| decoder.read(space)) {
            Ok(0) => return Ok(()),
            Ok(len) => cut.filled(len)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
