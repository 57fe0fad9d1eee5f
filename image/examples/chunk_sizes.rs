//! What chunk size and level cost and give: `chunk_sizes FILE STEP LEVEL…`.
//!
//! Takes every STEP-th piece of 4 MiB of FILE, a raw disk image, leaves out what is zero, and prints for each level
//! the size of one single frame, and for each chunk size the sum of the frames, its ratio to that, and the megabytes
//! that a core compresses and decompresses in a second of its own time, whatever else the machine does.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use imprint_image::zero::is_zero;

const PIECE: usize = 4 << 20;
const CHUNKS: [usize; 3] = [256 << 10, 1 << 20, 4 << 20];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, step, levels @ ..] = &arguments[..] else {
        return Err("usage: chunk_sizes FILE STEP LEVEL…".into());
    };
    let pieces = sample(path, step.parse()?)?;
    let data: usize = pieces.iter().map(Vec::len).sum();
    println!(
        "{} pieces of 4 MiB, {:.1} MB with something in them",
        pieces.len(),
        mb(data)
    );
    for level in levels {
        let level = level.parse()?;
        let single = single(&pieces, level)?;
        println!("level {level}: one frame {:.2} MB", mb(single));
        for size in CHUNKS {
            let found = measure(&pieces, size, level)?;
            println!(
                "level {level}, chunk {:4} KiB: {:.2} MB in {} frames, {:.4} of one frame; {:.0} MB/s in, {:.0} MB/s out",
                size >> 10,
                mb(found.bytes),
                found.frames,
                ratio(found.bytes, single),
                ratio(found.plain * 1000, found.compress_ns),
                ratio(found.plain * 1000, found.decompress_ns),
            );
        }
    }
    Ok(())
}

/// Every `step`-th piece that is not zero, as it is in the image: its zeros are part of it.
fn sample(path: &str, step: usize) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len())?;
    let mut pieces = Vec::new();
    for at in (0..size).step_by(PIECE) {
        let mut piece = vec![0; PIECE.min(size - at)];
        file.read_exact_at(&mut piece, at as u64)?;
        if !is_zero(&piece) {
            pieces.push(piece);
        }
    }
    Ok(pieces.into_iter().step_by(step.max(1)).collect())
}

/// Everything in one frame, as `zstd -LEVEL` makes it.
fn single(pieces: &[Vec<u8>], level: i32) -> Result<usize, Box<dyn Error>> {
    let total: usize = pieces.iter().map(Vec::len).sum();
    let mut encoder = zstd::stream::Encoder::new(Counted(0), level)?;
    encoder.set_pledged_src_size(Some(total as u64))?;
    for piece in pieces {
        std::io::Write::write_all(&mut encoder, piece)?;
    }
    Ok(encoder.finish()?.0)
}

struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Found {
    plain: usize,
    bytes: usize,
    frames: usize,
    compress_ns: usize,
    decompress_ns: usize,
}

fn measure(pieces: &[Vec<u8>], size: usize, level: i32) -> Result<Found, Box<dyn Error>> {
    let cores = thread::available_parallelism()?.get();
    let share = pieces.len().div_ceil(cores).max(1);
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = pieces
            .chunks(share)
            .map(|part| scope.spawn(move || measure_part(part, size, level)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .collect::<Vec<_>>()
    });
    let mut sum = Found::default();
    for part in parts {
        let part = part?;
        sum.plain += part.plain;
        sum.bytes += part.bytes;
        sum.frames += part.frames;
        sum.compress_ns += part.compress_ns;
        sum.decompress_ns += part.decompress_ns;
    }
    Ok(sum)
}

fn measure_part(pieces: &[Vec<u8>], size: usize, level: i32) -> std::io::Result<Found> {
    let mut found = Found::default();
    let mut encoder = zstd::bulk::Compressor::new(level)?;
    let mut decoder = zstd::bulk::Decompressor::new()?;
    let mut plain = vec![0; size];
    for piece in pieces {
        for chunk in piece.chunks(size).filter(|chunk| !is_zero(chunk)) {
            let mut frame = Vec::with_capacity(zstd::compress_bound(size));
            let begin = own_time()?;
            encoder.compress_to_buffer(chunk, &mut frame)?;
            let compressed = own_time()?;
            decoder.decompress_to_buffer(&frame, &mut plain[..])?;
            found.decompress_ns += own_time()? - compressed;
            found.compress_ns += compressed - begin;
            found.plain += chunk.len();
            found.bytes += frame.len();
            found.frames += 1;
        }
    }
    Ok(found)
}

/// Nanoseconds that this thread has run.
fn own_time() -> std::io::Result<usize> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| std::io::Error::other("/proc/thread-self/schedstat has no number"))
}

#[allow(clippy::cast_precision_loss)]
fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[allow(clippy::cast_precision_loss)]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}
