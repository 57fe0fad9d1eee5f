//! Decides which chunks are new and puts their frames into packs. Pure bookkeeping: no threads, no I/O.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::KnownChunk;
use crate::pack::PackBuilder;
use crate::seal::Seal;
use crate::{Chunk, Digest, Hole, HoleKind, Manifest, ManifestError, PackRef};

use super::reader::DiskFacts;

/// A pack that is full and has no name yet: hashing it is the storing thread's work.
#[derive(Debug)]
pub(super) struct FullPack {
    /// Which of the image's packs it is.
    pub number: u32,
    pub content: PackBuilder,
}

/// Where a frame lies. `pack` counts in [`Packer::packs`].
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    offset: u64,
    frame: Digest,
    frame_bytes: u32,
}

/// What is to be done with a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its frame exists or is on its way.
    Have,
    /// It must be compressed and packed.
    Compress,
}

#[derive(Debug, Default)]
pub(super) struct Packer {
    /// The packs in the order of first use; `None` for those that are made here.
    packs: Vec<Option<PackRef>>,
    known_packs: HashMap<Digest, u32>,
    building: PackBuilder,
    building_as: Option<u32>,
    /// By plain digest; `None` while the frame is on its way.
    places: HashMap<Digest, Option<Place>>,
    chunks: Vec<(u64, Digest)>,
    seal: Option<Seal>,
}

impl Packer {
    /// For an image that is encrypted, or is not.
    pub fn new(seal: Option<Seal>) -> Self {
        Self {
            building: PackBuilder::with(seal.clone()),
            seal,
            ..Self::default()
        }
    }

    /// Takes note of the next data chunk of the disk.
    pub fn decide(
        &mut self,
        index: u64,
        plain: Digest,
        known: &dyn Fn(&Digest) -> Option<KnownChunk>,
    ) -> Decision {
        self.chunks.push((index, plain));
        let Entry::Vacant(entry) = self.places.entry(plain) else {
            return Decision::Have;
        };
        let Some(known) = known(&plain) else {
            entry.insert(None);
            return Decision::Compress;
        };
        let pack = *self.known_packs.entry(known.pack).or_insert_with(|| {
            self.packs.push(Some(PackRef {
                digest: known.pack,
                size_bytes: known.pack_bytes,
            }));
            position(self.packs.len() - 1)
        });
        let KnownChunk {
            offset,
            frame,
            frame_bytes,
            ..
        } = known;
        entry.insert(Some(Place {
            pack,
            offset,
            frame,
            frame_bytes,
        }));
        Decision::Have
    }

    /// Gives the pack that has no room for a frame of `frame_bytes`, if that is so. The next one takes its memory only
    /// with its first frame, when this one may have left.
    pub fn make_room(&mut self, frame_bytes: usize) -> Option<FullPack> {
        if self.building.fits(frame_bytes) {
            None
        } else {
            self.close()
        }
    }

    /// Packs the frame of a chunk that was to be compressed, for which there is room.
    pub fn pack(&mut self, plain: Digest, plain_bytes: usize, frame: &[u8], digest: Digest) {
        let pack = *self.building_as.get_or_insert_with(|| {
            self.packs.push(None);
            position(self.packs.len() - 1)
        });
        let plain_bytes = u32::try_from(plain_bytes).expect("a chunk is not longer than CHUNK_BYTES");
        let offset = self.building.push(frame, plain, digest, plain_bytes);
        let frame_bytes = u32::try_from(frame.len()).expect("a frame is not longer than MAX_FRAME_BYTES");
        self.places.insert(
            plain,
            Some(Place {
                pack,
                offset,
                frame: digest,
                frame_bytes,
            }),
        );
    }

    /// Closes the pack that is being filled, if there is one.
    pub fn close(&mut self) -> Option<FullPack> {
        let number = self.building_as.take()?;
        Some(FullPack {
            number,
            content: std::mem::replace(&mut self.building, PackBuilder::with(self.seal.clone())),
        })
    }

    /// The manifest, once every frame is packed and every pack that was made here is `stored`.
    pub fn finish(mut self, disk: DiskFacts, stored: Vec<(u32, PackRef)>) -> Result<Manifest, ManifestError> {
        for (number, pack) in stored {
            self.packs[number as usize] = Some(pack);
        }
        let mut holes = Vec::new();
        let mut next = 0u64;
        let mut hole_until = |end: u64, next: u64| {
            if end > next {
                let chunk_count = end - next;
                holes.push(Hole {
                    first_chunk: next,
                    chunk_count,
                    kind: HoleKind::MustBeZero,
                });
            }
        };
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for (index, plain) in self.chunks {
            hole_until(index, next);
            next = index + 1;
            let Place {
                pack,
                offset,
                frame,
                frame_bytes,
            } = self.places[&plain].expect("every chunk that was to be compressed has been packed");
            chunks.push(Chunk {
                index,
                plain,
                frame,
                pack,
                offset,
                frame_bytes,
            });
        }
        hole_until(disk.disk_size_bytes.div_ceil(crate::CHUNK_BYTES.into()), next);
        let packs = self
            .packs
            .into_iter()
            .map(|pack| pack.expect("every pack has been stored"))
            .collect();
        let DiskFacts {
            disk_size_bytes,
            logical_sector_bytes,
            partitions,
        } = disk;
        match self.seal {
            Some(seal) => Manifest::assemble_sealed(
                seal,
                disk_size_bytes,
                logical_sector_bytes,
                packs,
                chunks,
                holes,
                partitions,
            ),
            None => Manifest::assemble(
                disk_size_bytes,
                logical_sector_bytes,
                packs,
                chunks,
                holes,
                partitions,
            ),
        }
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a disk of the largest size needs fewer packs")
}
