//! From the bytes of the source to blocks of the disk.

use std::{
    io::{self, Read},
    num::NonZeroU32,
    ops::Range,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
};

use bytes::{Buf, Bytes};
use imprint_image::{source::Format, zero::is_zero};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::{
    feed::Piece,
    write::{BLOCK_BYTES, Job, Writers},
};
use crate::{
    stream::{failure::Ended, head::Withheld, progress::Meter},
    target::AlignedBuf,
};

/// Pieces that wait for the hash.
const PIECES: usize = 8;
/// What a decoder may keep for its dictionary: enough for `xz -9` and `zstd --long`.
const DICTIONARY_BYTES: u64 = 160 << 20;
const ZSTD_WINDOW_LOG: u32 = 27;
/// Zeroes are given to the disk in steps of at most this size.
const ZERO_STEP: u64 = 256 << 20;

/// The whole image went to the writers, except for its head.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) head: Withheld,
    pub(super) head_bytes: u64,
    pub(super) image_bytes: u64,
    /// Bytes that the writers were given, padding included.
    pub(super) handed_on: u64,
}

/// Hashes the source on a thread of its own: next to the decoder it would be as slow again.
#[derive(Debug)]
pub(super) struct HashThread {
    pieces: SyncSender<Bytes>,
    digest: JoinHandle<[u8; 32]>,
}

impl HashThread {
    pub(super) fn start() -> io::Result<Self> {
        let (pieces, received) = sync_channel::<Bytes>(PIECES);
        let digest = Builder::new().name("sha256".to_owned()).spawn(move || {
            let mut hash = Sha256::new();
            for piece in received {
                hash.update(&piece);
            }
            hash.finalize().into()
        })?;
        Ok(HashThread { pieces, digest })
    }
}

/// The source as a reader; all that passes is hashed.
#[derive(Debug)]
pub(super) struct Intake {
    received: Receiver<Piece>,
    hash: HashThread,
    current: Bytes,
    ended: bool,
    lost: bool,
}

impl Intake {
    pub(super) fn new(received: Receiver<Piece>, hash: HashThread) -> Self {
        Intake {
            received,
            hash,
            current: Bytes::new(),
            ended: false,
            lost: false,
        }
    }

    /// Takes the next piece when the current one is used up.
    fn refill(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            match self.received.blocking_recv() {
                Some(Piece::Bytes(piece)) => {
                    let hashed = self.hash.pieces.send(piece.clone());
                    hashed.map_err(|_| io::Error::other("the thread that hashes has died"))?;
                    self.current = piece;
                }
                Some(Piece::End) => self.ended = true,
                None => {
                    self.lost = true;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    /// Reads to the end, whatever the decoder left, and gives the digest of all.
    fn finish(mut self) -> io::Result<[u8; 32]> {
        while !self.ended {
            self.current = Bytes::new();
            self.refill()?;
        }
        drop(self.hash.pieces);
        self.hash
            .digest
            .join()
            .map_err(|_| io::Error::other("the thread that hashes has died"))
    }
}

impl Read for Intake {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.refill()?;
        let len = out.len().min(self.current.remaining());
        self.current.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

/// Decodes the source, cuts it into blocks and hands them to the writers. `Err(None)`: the source is lost or the write
/// has ended, and others say why.
pub(super) fn decode(
    mut intake: Intake,
    format: Format,
    writers: Writers,
    room: u64,
    block: NonZeroU32,
    meter: &Meter,
    stop: &CancellationToken,
) -> Result<(Decoded, [u8; 32]), Option<Ended>> {
    let cut = Cut {
        writers,
        room,
        block,
        meter,
        stop,
        at: 0,
        zeroes: 0..0,
        handed_on: 0,
        spare: None,
        head: None,
    };
    let decoded = read_all(&mut intake, format, cut);
    // A lost source looks like a damaged one to the decoder.
    if intake.lost {
        return Err(None);
    }
    let decoded = decoded?;
    let digest = intake.finish();
    digest.map(|digest| (decoded, digest)).map_err(|_| None)
}

fn read_all(intake: &mut Intake, format: Format, cut: Cut<'_>) -> Result<Decoded, Option<Ended>> {
    let failed = |source| Some(Ended::Decompress { source });
    match format {
        Format::RawGzip => cut.all_of(&mut flate2::read::MultiGzDecoder::new(intake)),
        Format::RawXz => {
            let concatenated = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(DICTIONARY_BYTES, concatenated);
            let stream = stream.map_err(|error| failed(error.into()))?;
            cut.all_of(&mut liblzma::read::XzDecoder::new_stream(intake, stream))
        }
        Format::RawZstd => {
            let mut decoder = zstd::stream::read::Decoder::new(intake).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            cut.all_of(&mut decoder)
        }
        _ => cut.all_of(intake),
    }
}

/// Cuts the plain image into blocks.
struct Cut<'a> {
    writers: Writers,
    room: u64,
    block: NonZeroU32,
    meter: &'a Meter,
    stop: &'a CancellationToken,
    at: u64,
    /// Zeroes that were seen but not yet handed on.
    zeroes: Range<u64>,
    handed_on: u64,
    /// A buffer that held zeroes and needed no write.
    spare: Option<AlignedBuf>,
    head: Option<Withheld>,
}

impl Cut<'_> {
    fn all_of(mut self, plain: &mut dyn Read) -> Result<Decoded, Option<Ended>> {
        let mut head_bytes = 0;
        loop {
            // Each block goes to a writer in a buffer of its own, which comes back when it is written.
            let spare = self.spare.take();
            let mut buffer = spare
                .or_else(|| self.meter.idle(|| self.writers.buffer()))
                .ok_or(None)?;
            buffer.set_len(BLOCK_BYTES);
            let len = self.meter.cpu(|| fill(plain, &mut buffer));
            let len = len.map_err(|source| Some(Ended::Decompress { source }))?;
            if self.stop.is_cancelled() {
                return Err(None);
            }
            if len == 0 {
                break;
            }
            let end = self.at + len as u64;
            if end > self.room {
                let what = format!("it is longer than the {} bytes of the disk", self.room);
                return Err(Some(Ended::WrongImage { what }));
            }
            buffer.set_len(len);
            buffer.pad_to(self.block.get() as usize);
            let (start, padded) = (self.at, self.at + buffer.len() as u64);
            self.at = end;
            if self.head.is_none() {
                head_bytes = len as u64;
                self.head = Some(Withheld::new(buffer));
            } else if is_zero(&buffer) {
                self.spare = Some(buffer);
                self.zero(start..padded)?;
            } else {
                self.hand_on(Job::Write {
                    buffer,
                    offset: start,
                })?;
            }
        }
        self.flush_zeroes()?;
        let Some(head) = self.head else {
            return Err(Some(Ended::WrongImage {
                what: "it is empty".to_owned(),
            }));
        };
        Ok(Decoded {
            head,
            head_bytes,
            image_bytes: self.at,
            handed_on: self.handed_on,
        })
    }

    fn zero(&mut self, range: Range<u64>) -> Result<(), Option<Ended>> {
        if self.zeroes.end == range.start && range.end - self.zeroes.start <= ZERO_STEP {
            self.zeroes.end = range.end;
            return Ok(());
        }
        self.flush_zeroes()?;
        self.zeroes = range;
        Ok(())
    }

    fn flush_zeroes(&mut self) -> Result<(), Option<Ended>> {
        let range = std::mem::take(&mut self.zeroes);
        if range.is_empty() {
            Ok(())
        } else {
            self.hand_on(Job::Zero(range))
        }
    }

    fn hand_on(&mut self, job: Job) -> Result<(), Option<Ended>> {
        self.handed_on += match &job {
            Job::Write { buffer, .. } => buffer.len() as u64,
            Job::Zero(range) => range.end - range.start,
        };
        // Writers end only after they reported an error.
        self.writers.send(job).map_err(|_| None)
    }
}

/// Fills the buffer unless the stream ends before.
fn fill(plain: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match plain.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(step) => len += step,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
