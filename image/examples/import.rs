//! Imports a disk image and says how fast: `import FILE|- DIR [LEVEL [THREADS]]`, with `-` for standard input.
//!
//! DIR gets the artifact, signed by a key that is thrown away. The last line says in how many ranges of its packs a
//! full pull finds the image's frames.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use imprint_image::source::{self, Limits, Stream};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{Manifest, SignedManifest, SigningKey};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = &arguments[..] else {
        return Err("usage: import FILE|- DIR [LEVEL [THREADS]]".into());
    };
    let mut options = WriteOptions::default();
    if let Some(level) = rest.first() {
        options.level = level.parse()?;
    }
    if let Some(threads) = rest.get(1) {
        options.threads = threads.parse()?;
    }
    let level = options.level;
    let begin = Instant::now();
    let mut writer = ArtifactWriter::new(DirSink::new(Path::new(to))?, options);
    let manifest = if from == "-" {
        let mut input = io::stdin();
        writer.import(&mut Stream::new(&mut input))?
    } else {
        let mut opened = source::open(File::open(from)?, None, &Limits::default())?;
        writer.import(opened.source.as_mut())?
    };
    let seconds = begin.elapsed().as_secs_f64();
    let manifests = Path::new(to).join("manifests");
    fs::create_dir_all(&manifests)?;
    let signed = SignedManifest::sign(&manifest, &SigningKey::generate()?).encode();
    fs::write(manifests.join(manifest.image_digest.to_string()), &signed)?;
    report(&manifest, level, seconds, signed.len());
    Ok(())
}

/// Prints numbers of any size; they are for people, so what a float cannot hold does not matter.
#[allow(clippy::cast_precision_loss)]
fn report(manifest: &Manifest, level: i32, seconds: f64, manifest_bytes: usize) {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let (data, frames) = (manifest.data_bytes(), manifest.fetch_bytes());
    println!("image {}", manifest.image_digest);
    println!(
        "level {level}: {:.1} MB of data on a disk of {:.1} MB, frames {:.1} MB, in {seconds:.2} s: {:.0} MB/s of data",
        mb(data),
        mb(manifest.disk_size_bytes),
        mb(frames),
        mb(data) / seconds,
    );
    println!(
        "{} chunks, {} holes, {} packs, {} ranges, manifest {manifest_bytes} bytes",
        manifest.chunks.len(),
        manifest.holes.len(),
        manifest.packs.len(),
        ranges(manifest),
    );
}

/// Runs of frames that lie one behind the other.
fn ranges(manifest: &Manifest) -> usize {
    let follows = manifest
        .chunks
        .windows(2)
        .filter(|pair| {
            pair[0].pack == pair[1].pack && pair[0].offset + u64::from(pair[0].frame_bytes) == pair[1].offset
        })
        .count();
    manifest.chunks.len() - follows
}
