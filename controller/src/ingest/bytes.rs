//! The bytes of an import on their way into the blocking part: counted, bounded, hashed.
//!
//! A stream's pieces come over a bounded channel, which is the only buffer: a disk that is slower than the network slows
//! the network down.

use std::{
    error::Error,
    fs::File,
    future::Future,
    io::{self, Read},
};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::jobs::JobContext;

const PIECES: usize = 64;

/// Why the bytes ended before their end. The source's own error is inside.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceEnd {
    /// Nobody sends any more, and the end was not said.
    #[error("the file ended before its end")]
    CutOff,
    /// The source said why.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
    /// More than may come.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// How much may come.
        limit: u64,
    },
}

enum Piece {
    Data(Bytes),
    End,
    Failed(SourceEnd),
}

/// Where the bytes of an import are.
pub(super) enum Origin {
    /// On the way, in order.
    Stream(StreamReader),
    /// In a file that is complete.
    File(File),
}

/// The blocking side of a stream.
pub(super) struct StreamReader {
    pieces: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// A stream as a reader, and the future that moves its pieces there until it ends or nobody reads any more.
pub(super) fn bridge<S, E>(stream: S) -> (StreamReader, impl Future<Output = ()> + Send)
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    let reader = StreamReader {
        pieces: receiver,
        current: Bytes::new(),
        ended: false,
    };
    (reader, feed(stream, sender))
}

async fn feed<S, E>(stream: S, pieces: Sender<Piece>)
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let mut stream = std::pin::pin!(stream);
    loop {
        let piece = match stream.next().await {
            None => Piece::End,
            Some(Ok(data)) => Piece::Data(data),
            Some(Err(error)) => Piece::Failed(SourceEnd::Failed(error.into())),
        };
        let last = !matches!(piece, Piece::Data(_));
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

impl Read for StreamReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.current = data,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Failed(error)) => return Err(io::Error::other(error)),
                // It was dropped without an end: its source is gone, or the import is cancelled.
                None => return Err(io::Error::other(SourceEnd::CutOff)),
            }
        }
        let count = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// Counts, bounds and hashes what is read.
pub(super) struct Metered<R> {
    inner: R,
    got: u64,
    limit: u64,
    hash: Option<Sha256>,
    context: JobContext,
    length: u64,
}

impl<R: Read> Metered<R> {
    /// `hashed` says whether the digest will be asked for; a `length` of 0 is unknown.
    pub(super) fn new(inner: R, limit: u64, hashed: bool, context: JobContext, length: u64) -> Self {
        Self {
            inner,
            got: 0,
            limit,
            hash: hashed.then(Sha256::new),
            context,
            length,
        }
    }

    /// The SHA-256 of all that was read.
    pub(super) fn digest(&mut self) -> Option<[u8; 32]> {
        self.hash.take().map(|hash| hash.finalize().into())
    }

    /// Says how far the file is.
    pub(super) fn tell(&self, step: &str) {
        self.context.progress(step, self.got, self.length);
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.got += count as u64;
        if self.got > self.limit {
            return Err(io::Error::other(SourceEnd::TooLarge { limit: self.limit }));
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&into[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn read_all(mut reader: impl Read + Send + 'static) -> io::Result<Vec<u8>> {
        let read = move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    fn pieces(all: &[&'static str]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        stream::iter(
            all.iter()
                .map(|text| Ok(Bytes::from_static(text.as_bytes())))
                .collect::<Vec<_>>(),
        )
    }

    #[tokio::test]
    async fn only_a_stream_with_an_end_is_whole() {
        let (reader, feed) = bridge(pieces(&["abc", "", "def"]));
        let (all, ()) = tokio::join!(read_all(reader), feed);
        assert_eq!(all.unwrap(), b"abcdef");

        let failing = pieces(&["abc"]).chain(stream::once(async { Err(io::Error::other("it broke")) }));
        let (reader, feed) = bridge(failing);
        let (all, ()) = tokio::join!(read_all(reader), feed);
        assert!(all.unwrap_err().to_string().contains("it broke"));

        let (reader, feed) = bridge(pieces(&["abc"]).chain(stream::pending()));
        let task = tokio::spawn(read_all(reader));
        drop(feed);
        assert!(
            task.await
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("before its end")
        );
    }

    #[tokio::test]
    async fn more_than_the_limit_is_not_read_and_the_rest_is_hashed() {
        let context = JobContext::detached(CancellationToken::new());
        let mut metered = Metered::new(&b"abc"[..], 3, true, context.clone(), 0);
        io::copy(&mut metered, &mut io::sink()).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(metered.digest().unwrap()), abc);
        let mut metered = Metered::new(&b"abcd"[..], 3, false, context, 0);
        let error = io::copy(&mut metered, &mut io::sink()).unwrap_err();
        assert!(
            error
                .downcast::<SourceEnd>()
                .is_ok_and(|e| matches!(e, SourceEnd::TooLarge { limit: 3 }))
        );
    }
}
