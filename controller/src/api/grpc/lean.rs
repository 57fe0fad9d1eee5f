//! Request streams whose buffers shrink again.
//!
//! tonic gathers a stream's messages in one buffer, which grows to twice the largest of them and stays so for as long as the
//! stream lasts. A session lasts for weeks, says one inventory at its beginning and then only that it lives, and there are
//! thousands of them. The buffer takes exactly what a message needs when its head comes by itself, and then gives it back
//! with the next head. So the bytes are cut there: nothing but where the pieces end is changed.

use std::mem;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use tonic::{Status, body::Body};

/// A flag and the length of the message, as gRPC over HTTP/2 puts it before each ("Length-Prefixed-Message").
const HEAD_BYTES: usize = 5;

/// The same bytes, cut where a message's head begins and where it ends.
pub fn cut(request: http::Request<Body>) -> http::Request<Body> {
    request.map(|body| {
        let mut place = Place::default();
        let frames = BodyStream::new(body).flat_map(move |frame| stream::iter(place.pieces(frame)));
        Body::new(StreamBody::new(frames))
    })
}

/// Where in the stream of messages the next byte is.
#[derive(Debug, Default)]
struct Place {
    head: Vec<u8>,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Place {
    fn pieces(&mut self, frame: Result<Frame<Bytes>, Status>) -> Vec<Result<Frame<Bytes>, Status>> {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => self
                .cut(data)
                .into_iter()
                .map(|data| Ok(Frame::data(data)))
                .collect(),
            Ok(Err(other)) => vec![Ok(other)],
            Err(error) => vec![Err(error)],
        }
    }

    fn cut(&mut self, mut data: Bytes) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(2);
        while !data.is_empty() {
            if self.left > 0 {
                let piece = data.split_to(self.left.min(data.len()));
                self.left -= piece.len();
                pieces.push(piece);
                continue;
            }
            let missing = HEAD_BYTES - self.head.len();
            self.head
                .extend_from_slice(&data.split_to(missing.min(data.len())));
            if let &[_, a, b, c, d] = self.head.as_slice() {
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                // Memory of its own: the buffer takes it over, and lets go of what it had.
                pieces.push(Bytes::from(mem::take(&mut self.head)));
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend((0..length).map(|n| u8::try_from(n % 251).unwrap()));
        bytes
    }

    #[test]
    fn heads_come_by_themselves_however_the_bytes_come() {
        let lengths = [0, 1, 700, 0, 3, 70_000, 5];
        let whole: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for step in [1, 2, 4, 5, 6, 16, 4096, whole.len()] {
            let mut place = Place::default();
            let pieces: Vec<Bytes> = whole
                .chunks(step)
                .flat_map(|chunk| place.cut(Bytes::copy_from_slice(chunk)))
                .collect();
            assert_eq!(pieces.concat(), whole, "{step}");
            let (mut at, mut heads) = (0, Vec::new());
            for piece in &pieces {
                assert!(!piece.is_empty());
                if heads.last().is_none_or(|end| at >= *end) {
                    assert_eq!(piece.len(), HEAD_BYTES, "{step}");
                    let length = u32::from_be_bytes(piece[1..].try_into().unwrap());
                    heads.push(at + HEAD_BYTES + usize::try_from(length).unwrap());
                } else {
                    assert!(at + piece.len() <= heads[heads.len() - 1], "{step}");
                }
                at += piece.len();
            }
            assert_eq!(heads.len(), lengths.len());
        }
    }

    #[test]
    fn the_buffer_gives_back_what_a_large_message_took() {
        // What tonic does with its buffer, step by step.
        let mut buffer = bytes::BytesMut::with_capacity(512);
        let mut place = Place::default();
        for length in [64 << 10, 20, 20] {
            for piece in place.cut(Bytes::from(message(length))) {
                bytes::BufMut::put(&mut buffer, piece);
                if buffer.len() == HEAD_BYTES {
                    bytes::Buf::advance(&mut buffer, HEAD_BYTES);
                    buffer.reserve(length);
                }
            }
            bytes::Buf::advance(&mut buffer, length);
        }
        assert!(buffer.try_reclaim(1) || buffer.capacity() == 0);
        assert!(!buffer.try_reclaim(1 << 10), "the large one is still there");
    }
}
