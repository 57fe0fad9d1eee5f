//! Splits the source into units while it passes, by its headers alone.
//!
//! What can't be split is one unit, decoded by one thread as it comes.

mod blocks;
mod frames;

use std::io;

use bytes::Bytes;
use imprint_image::source::Format;

use self::{blocks::Blocks, frames::Frames};
use super::unit::Form;

/// What is to be done with a piece of the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A unit begins.
    Begin(Form),
    /// These bytes belong to it.
    Bytes(Bytes),
    /// It ends, and is so long when it is decoded, if that can be told.
    End { len: Option<u64> },
}

/// The splitter for one format.
#[derive(Debug)]
pub(super) enum Splitter {
    /// One unit; whether it has begun.
    Whole(Form, bool),
    Frames(Frames),
    Blocks(Box<Blocks>),
}

impl Splitter {
    pub(super) fn new(format: Format) -> Self {
        match format {
            Format::RawZstd => Splitter::Frames(Frames::default()),
            Format::RawXz => Splitter::Blocks(Box::default()),
            Format::RawGzip => Splitter::Whole(Form::Gzip, false),
            _ => Splitter::Whole(Form::Raw, false),
        }
    }

    /// The next piece of the source.
    pub(super) fn split(&mut self, piece: Bytes, acts: &mut Vec<Act>) -> io::Result<()> {
        match self {
            Splitter::Whole(form, begun) => {
                if !std::mem::replace(begun, true) {
                    acts.push(Act::Begin(form.clone()));
                }
                acts.push(Act::Bytes(piece));
                Ok(())
            }
            Splitter::Frames(frames) => frames.split(piece, acts),
            Splitter::Blocks(blocks) => blocks.split(piece, acts),
        }
    }

    /// The source has ended.
    pub(super) fn end(&mut self, acts: &mut Vec<Act>) -> io::Result<()> {
        match self {
            Splitter::Whole(form, begun) => {
                if !*begun {
                    acts.push(Act::Begin(form.clone()));
                }
                acts.push(Act::End { len: None });
                Ok(())
            }
            Splitter::Frames(frames) => {
                frames.end(acts);
                Ok(())
            }
            Splitter::Blocks(blocks) => blocks.end(acts),
        }
    }
}

#[cfg(test)]
mod tests;
