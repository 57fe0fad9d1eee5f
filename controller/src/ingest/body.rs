//! The bridge from an asynchronous request body to a blocking reader.
//!
//! The bound of the channel is the only buffer: a disk that is slower than the network slows the upload down.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

const PIECES: usize = 64;
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// Why the body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the upload ended before its end")]
    CutOff,
    #[error("no byte came for {} seconds", IDLE_LIMIT.as_secs())]
    Idle,
    #[error("the upload broke off")]
    Broken(#[source] axum::Error),
}

enum Piece {
    Data(Bytes),
    End,
    Failed(UploadError),
}

/// The asynchronous side.
pub(super) struct Feed {
    body: Body,
    pieces: Sender<Piece>,
}

/// The blocking side.
pub(super) struct BodyReader {
    pieces: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

pub(super) fn bridge(body: Body) -> (BodyReader, Feed) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (
        BodyReader {
            pieces: receiver,
            current: Bytes::new(),
            ended: false,
        },
        Feed { body, pieces: sender },
    )
}

impl Feed {
    /// Hands the body over, until it ends or nobody reads it any more.
    pub(super) async fn run(mut self) {
        loop {
            let piece = match timeout(IDLE_LIMIT, self.body.frame()).await {
                Err(_) => Piece::Failed(UploadError::Idle),
                Ok(None) => Piece::End,
                Ok(Some(Err(error))) => Piece::Failed(UploadError::Broken(error)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Piece::Data(data),
                    Err(_trailers) => continue,
                },
            };
            let last = !matches!(piece, Piece::Data(_));
            if self.pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.current = data,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Failed(error)) => return Err(io::Error::other(error)),
                // The request was dropped without an end: its caller is gone.
                None => return Err(io::Error::other(UploadError::CutOff)),
            }
        }
        let count = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// Tells the import that its request was dropped.
pub(super) struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut reader: BodyReader) -> io::Result<Vec<u8>> {
        let read = move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_body_with_an_end_is_whole() {
        let (reader, feed) = bridge(Body::from(vec![7; 100_000]));
        let (all, ()) = tokio::join!(read_all(reader), feed.run());
        assert_eq!(all.unwrap(), vec![7; 100_000]);

        let (reader, feed) = bridge(Body::from("half"));
        feed.pieces.send(Piece::Data("half".into())).await.unwrap();
        drop(feed);
        assert!(
            read_all(reader)
                .await
                .unwrap_err()
                .to_string()
                .contains("before its end")
        );
    }
}
