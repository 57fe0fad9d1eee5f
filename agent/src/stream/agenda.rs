//! What is still to be fetched, what the disk may already hold, and which frames are asked for together. Pure.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use imprint_image::{Chunk, Manifest};

use super::delta::Mode;

/// Neighbouring frames are asked for together, up to this much: few requests, and little to lose with one.
const RANGE_BYTES: u64 = 4 << 20;
/// Frames between two wanted ones that are read and dropped, if they are no more than this: a gigabit link brings
/// them in about the time that another request takes.
const GAP_BYTES: u64 = 32 << 10;

/// One request: a part of a pack, and the frames in it that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FetchRange {
    /// Which pack of the manifest.
    pub(super) pack: u32,
    /// Positions in the manifest's `chunks`, in the order of their frames in the pack. Never empty.
    pub(super) frames: VecDeque<usize>,
    /// Which store to ask first.
    pub(super) origin: usize,
}

impl FetchRange {
    /// The bytes of the pack from the first frame that is left to the last one.
    pub(super) fn bytes(&self, manifest: &Manifest) -> Range<u64> {
        let place = |position: Option<&usize>| position.map_or(0..0, |&at| frame(&manifest.chunks[at]));
        place(self.frames.front()).start..place(self.frames.back()).end
    }
}

/// Where a frame lies in its pack.
fn frame(chunk: &Chunk) -> Range<u64> {
    chunk.offset..chunk.offset + u64::from(chunk.frame_bytes)
}

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is on the disk, or a request for it was handed out.
    Settled,
    /// The disk may hold it; nobody has looked yet.
    Open,
    /// Somebody looks.
    Looking,
    /// It has to be fetched.
    Wanted,
}

/// Amounts of chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amount {
    /// On the disk.
    pub(super) plain: u64,
    /// On the wire.
    pub(super) frames: u64,
}

/// All chunks of one write that are not done.
#[derive(Debug)]
pub(super) struct Agenda {
    manifest: Arc<Manifest>,
    states: Vec<State>,
    /// No chunk before this position can be fetched now.
    fetch_from: usize,
    /// No chunk before this position is open.
    look_from: usize,
    /// Chunks that are looked at first, and those that follow if one of the first is right.
    samples: VecDeque<usize>,
    more_samples: VecDeque<usize>,
    samples_taken: usize,
    again: VecDeque<FetchRange>,
    mode: Mode,
    open: Amount,
    looking: usize,
    wanted: Amount,
}

impl Agenda {
    /// All chunks have to be fetched, except those that are done.
    pub(super) fn pull(manifest: Arc<Manifest>, done: impl Fn(u64) -> bool) -> Self {
        Agenda::new(manifest, State::Wanted, Mode::Pulling, done)
    }

    /// The disk may hold every chunk that isn't done. `samples` of them are looked at first, spread evenly over the
    /// disk; half of them, until [`sample_more`](Self::sample_more) lets the others follow.
    pub(super) fn question(manifest: Arc<Manifest>, samples: usize, done: impl Fn(u64) -> bool) -> Self {
        let mut agenda = Agenda::new(manifest, State::Open, Mode::Sampling, done);
        let open: Vec<usize> = (0..agenda.states.len())
            .filter(|&position| agenda.states[position] == State::Open)
            .collect();
        agenda.samples = spread(open.len(), samples)
            .into_iter()
            .map(|at| open[at])
            .collect();
        let half = agenda.samples.len().div_ceil(2);
        agenda.more_samples = agenda.samples.split_off(half);
        agenda
    }

    fn new(manifest: Arc<Manifest>, missing: State, mode: Mode, done: impl Fn(u64) -> bool) -> Self {
        let mut agenda = Agenda {
            states: vec![State::Settled; manifest.chunks.len()],
            manifest,
            fetch_from: 0,
            look_from: 0,
            samples: VecDeque::new(),
            more_samples: VecDeque::new(),
            samples_taken: 0,
            again: VecDeque::new(),
            mode,
            open: Amount::default(),
            looking: 0,
            wanted: Amount::default(),
        };
        for position in 0..agenda.states.len() {
            if !done(agenda.manifest.chunks[position].index) {
                agenda.put(position, missing);
            }
        }
        agenda
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Who goes on with the open chunks: the disk or the network.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.fetch_from = 0;
    }

    /// What the disk may hold, and nobody has looked at.
    pub(super) fn open(&self) -> Amount {
        self.open
    }

    /// What is known to be missing, and not asked for yet.
    pub(super) fn wanted(&self) -> Amount {
        self.wanted
    }

    /// Whether no look at the disk can come any more, or is under way.
    pub(super) fn nothing_to_look_at(&self) -> bool {
        self.open.plain == 0 && self.looking == 0
    }

    /// The sample shows that a closer look is worth while.
    pub(super) fn sample_more(&mut self) {
        let Agenda {
            samples,
            more_samples,
            ..
        } = self;
        samples.append(more_samples);
    }

    /// Whether so many looks are all that the sample gives.
    pub(super) fn is_sampled(&mut self, looks: usize) -> bool {
        while self
            .samples
            .front()
            .is_some_and(|&at| self.states[at] != State::Open)
        {
            self.samples.pop_front();
        }
        self.samples.is_empty() && looks == self.samples_taken
    }

    /// The first chunk that nobody has looked at.
    pub(super) fn first_open(&mut self) -> Option<usize> {
        let open = (self.look_from..self.states.len()).find(|&at| self.states[at] == State::Open);
        self.look_from = open.unwrap_or(self.states.len());
        open
    }

    /// A chunk to be looked at, if it is time for one, and whether it is one of the sample.
    pub(super) fn next_look(&mut self) -> Option<(usize, bool)> {
        let sample = loop {
            match self.samples.pop_front() {
                Some(position) if self.states[position] == State::Open => break Some(position),
                Some(_) => {}
                None => break None,
            }
        };
        let position = match (sample, self.mode) {
            (Some(position), _) => position,
            (None, Mode::Checking) => self.first_open()?,
            (None, Mode::Sampling | Mode::Pulling) => return None,
        };
        self.samples_taken += usize::from(sample.is_some());
        self.put(position, State::Looking);
        Some((position, sample.is_some()))
    }

    /// Somebody else looks at this chunk; until [`looked`](Self::looked) tells the result, it is left alone.
    pub(super) fn hold(&mut self, position: usize) {
        if self.states[position] == State::Open {
            self.put(position, State::Looking);
        }
    }

    /// Somebody has looked: the disk holds the chunk, or it has to be fetched.
    pub(super) fn looked(&mut self, position: usize, right: bool) {
        self.put(position, if right { State::Settled } else { State::Wanted });
    }

    /// A chunk has to be fetched again, from this store.
    pub(super) fn again(&mut self, position: usize, origin: usize) {
        self.again.push_front(FetchRange {
            pack: self.manifest.chunks[position].pack,
            frames: [position].into(),
            origin,
        });
    }

    /// The next request, in the order of the disk.
    pub(super) fn next_range(&mut self) -> Option<FetchRange> {
        if let Some(range) = self.again.pop_front() {
            return Some(range);
        }
        let first = (self.fetch_from..self.states.len()).find(|&at| self.can_fetch(at));
        self.fetch_from = first.map_or(self.states.len(), |at| at + 1);
        let first = first?;
        let manifest = Arc::clone(&self.manifest);
        let pack = manifest.chunks[first].pack;
        let Range { start, end } = frame(&manifest.chunks[first]);
        let (mut reached, mut gap) = (end, 0);
        let mut frames = VecDeque::from([first]);
        self.put(first, State::Settled);
        for (position, chunk) in manifest.chunks.iter().enumerate().skip(first + 1) {
            let place = frame(chunk);
            if chunk.pack != pack || place.start != reached + gap || place.end - start > RANGE_BYTES {
                break;
            }
            if self.can_fetch(position) {
                self.put(position, State::Settled);
                frames.push_back(position);
                (reached, gap) = (place.end, 0);
            } else {
                gap += u64::from(chunk.frame_bytes);
                if gap > GAP_BYTES {
                    break;
                }
            }
        }
        Some(FetchRange {
            pack,
            frames,
            origin: 0,
        })
    }

    fn can_fetch(&self, position: usize) -> bool {
        match self.states[position] {
            State::Wanted => self.mode != Mode::Sampling,
            State::Open => self.mode == Mode::Pulling,
            State::Settled | State::Looking => false,
        }
    }

    fn put(&mut self, position: usize, state: State) {
        let chunk = &self.manifest.chunks[position];
        let place = self.manifest.chunk_range(chunk.index);
        let amount = Amount {
            plain: place.end - place.start,
            frames: u64::from(chunk.frame_bytes),
        };
        match self.states[position] {
            State::Open => self.open.less(amount),
            State::Looking => self.looking -= 1,
            State::Wanted => self.wanted.less(amount),
            State::Settled => {}
        }
        match state {
            State::Open => self.open.more(amount),
            State::Looking => self.looking += 1,
            State::Wanted => {
                self.wanted.more(amount);
                self.fetch_from = self.fetch_from.min(position);
            }
            State::Settled => {}
        }
        self.states[position] = state;
    }
}

impl Amount {
    fn more(&mut self, other: Amount) {
        self.plain += other.plain;
        self.frames += other.frames;
    }

    fn less(&mut self, other: Amount) {
        self.plain -= other.plain;
        self.frames -= other.frames;
    }
}

/// `most` of the numbers below `count`, halving the gaps between those that came before.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let most = most.min(count);
    let bits = most.next_power_of_two().trailing_zeros();
    let turned = (0..most.next_power_of_two()).map(|at| at.reverse_bits() >> (usize::BITS - bits.max(1)));
    turned
        .filter(|&at| at < most)
        // In the middle of each part, not at its border.
        .map(|at| (2 * at + 1) * count / (2 * most))
        .collect()
}

#[cfg(test)]
mod tests;
