//! Images, what the disk held before, and the objects in a store.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use imprint_image::{
    Digest, Manifest,
    write::{ArtifactWriter, KnownChunk, PackSink, WriteOptions},
};

pub const MIB: usize = 1 << 20;

/// One chunk of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Zero,
    /// Bytes without a pattern; equal numbers give equal chunks.
    Noise(u8),
    /// Compresses to nothing.
    Fill(u8),
    /// Noise, then zeroes.
    Half(u8),
}

impl Piece {
    fn paint(self, chunk: &mut [u8]) {
        let len = chunk.len();
        match self {
            Piece::Zero => {}
            Piece::Noise(seed) => noise(seed, chunk),
            Piece::Fill(byte) => chunk.fill(byte | 1),
            Piece::Half(seed) => noise(seed, &mut chunk[..len / 2]),
        }
    }
}

fn noise(seed: u8, bytes: &mut [u8]) {
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(bytes);
}

/// The bytes of an image, whose last chunk has only so many.
pub fn paint(pieces: &[Piece], last_bytes: usize) -> Vec<u8> {
    let mut image = vec![0; (pieces.len() - 1) * MIB + last_bytes];
    for (chunk, piece) in image.chunks_mut(MIB).zip(pieces) {
        piece.paint(chunk);
    }
    image
}

/// What the disk held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Another owner's data.
    Dirt,
    Zeroes,
    /// The image itself.
    Same,
    /// The image, in which the chunks of these bits differ.
    Older(u8),
}

/// A disk with that content, and so many bytes behind the image.
pub fn old_disk(old: Old, image: &[u8], more: usize) -> Vec<u8> {
    let sectors = image.len().next_multiple_of(512);
    let mut disk = vec![if old == Old::Zeroes { 0 } else { 0xA5 }; sectors + more];
    if matches!(old, Old::Same | Old::Older(_)) {
        disk[..image.len()].copy_from_slice(image);
    }
    if let Old::Older(bits) = old {
        for chunk in (0..image.len().div_ceil(MIB)).filter(|chunk| bits >> (chunk % 8) & 1 == 1) {
            disk[chunk * MIB] ^= 0xFF;
        }
    }
    disk
}

/// What a server has, by path.
pub type Objects = HashMap<String, Bytes>;

#[derive(Default)]
struct InMemory(Vec<(Digest, Vec<u8>)>);

impl PackSink for InMemory {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        self.0.push((digest, bytes));
        Ok(())
    }
}

/// An image in a store. Every third chunk comes from the pack of an older image, which holds others as well.
pub fn artifact(image: &[u8]) -> (Arc<Manifest>, Objects) {
    let older: Vec<u8> = image.chunks(MIB).step_by(3).flatten().copied().collect();
    let mut packs = InMemory::default();
    let first = import(&mut packs, &older, &|_| None);
    let known = |digest: &Digest| {
        let chunk = first.chunks.iter().find(|chunk| chunk.plain == *digest)?;
        let pack = &first.packs[chunk.pack as usize];
        Some(KnownChunk {
            pack: pack.digest,
            pack_bytes: pack.size_bytes,
            offset: chunk.offset,
            frame: chunk.frame,
            frame_bytes: chunk.frame_bytes,
        })
    };
    let manifest = import(&mut packs, image, &known);
    let objects = packs
        .0
        .into_iter()
        .map(|(digest, bytes)| (format!("packs/{digest}"), bytes.into()))
        .collect();
    (Arc::new(manifest), objects)
}

fn import(packs: &mut InMemory, disk: &[u8], known: &dyn Fn(&Digest) -> Option<KnownChunk>) -> Manifest {
    let options = WriteOptions {
        level: 1,
        threads: 1,
        known,
        logical_sector_bytes: Some(512),
        ..WriteOptions::default()
    };
    let mut reader = disk;
    ArtifactWriter::new(packs, options)
        .import_stream(&mut reader)
        .unwrap()
}

/// How a plain image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Raw,
    Gzip,
    Xz,
    Zstd,
    /// A frame for each chunk.
    ZstdFrames,
}

pub fn compress(image: &[u8], form: Form) -> Vec<u8> {
    match form {
        Form::Raw => image.to_vec(),
        Form::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(image).unwrap();
            encoder.finish().unwrap()
        }
        Form::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(image).unwrap();
            encoder.finish().unwrap()
        }
        Form::Zstd => zstd::encode_all(image, 1).unwrap(),
        Form::ZstdFrames => {
            let frames = image
                .chunks(MIB)
                .map(|chunk| zstd::bulk::compress(chunk, 1).unwrap());
            frames.flatten().collect()
        }
    }
}
