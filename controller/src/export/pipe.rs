//! From the thread that writes a file to the task that sends it: few pieces on the way, and a word about the end.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Long enough for a big write to a socket, short enough for many streams.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;

/// Takes the bytes of a file. Blocks while nobody takes the pieces.
#[derive(Debug)]
pub(super) struct PipeWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
    /// How many bytes are wanted yet; none when all are.
    left: Option<u64>,
}

/// The other end.
pub(super) type PipeReader = mpsc::Receiver<io::Result<Bytes>>;

/// A pipe for all of a file, or for so many bytes of it.
pub(super) fn pipe(wanted: Option<u64>) -> (PipeWriter, PipeReader) {
    let (pieces, reader) = mpsc::channel(PIECES_AHEAD);
    let writer = PipeWriter {
        pieces,
        piece: BytesMut::with_capacity(PIECE_BYTES),
        left: wanted,
    };
    (writer, reader)
}

impl PipeWriter {
    /// Whether all that was wanted has come.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Sends what is left. After it nothing comes.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.send()
    }

    /// Ends with an error, so that nobody takes what came for the whole.
    pub(super) fn fail(self, error: &(dyn std::error::Error + 'static)) {
        let text = crate::api::rest::problem::chain(error);
        // Nobody listens any more: then nobody needs to know.
        self.pieces.blocking_send(Err(io::Error::other(text))).ok();
    }

    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.piece.reserve(PIECE_BYTES);
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The last piece is kept back until the file is known to be whole.
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        let most = self
            .left
            .map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let now = bytes.len().min(PIECE_BYTES - self.piece.len()).min(most);
        if now == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.piece.extend_from_slice(&bytes[..now]);
        if let Some(left) = &mut self.left {
            *left -= now as u64;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
