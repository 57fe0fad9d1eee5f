//! Imports a disk image and says how fast: `import FILE|- DIR [LEVEL [THREADS]]`, with `-` for standard input.
//!
//! DIR gets the artifact, signed by a key that is thrown away. Chunks that lie in packs of DIR are not stored again.
//! The last line says in how many ranges of its packs a full pull finds the image's frames.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use imprint_image::pack::read_index;
use imprint_image::source::{self, Limits, Stream};
use imprint_image::write::{ArtifactWriter, DirSink, KnownChunk, WriteOptions};
use imprint_image::{Digest, Manifest, SignedManifest, SigningKey};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = &arguments[..] else {
        return Err("usage: import FILE|- DIR [LEVEL [THREADS]]".into());
    };
    let stored = stored(&Path::new(to).join("packs"))?;
    let known = |plain: &Digest| stored.get(plain).copied();
    let mut options = WriteOptions {
        known: &known,
        ..WriteOptions::default()
    };
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

/// What the packs of a folder hold, from their own indexes.
fn stored(packs: &Path) -> Result<HashMap<Digest, KnownChunk>, Box<dyn Error>> {
    let mut stored = HashMap::new();
    for pack in fs::read_dir(packs).into_iter().flatten() {
        let path = pack?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Ok(pack) = name.parse() else { continue };
        let mut file = File::open(&path)?;
        let pack_bytes = file.metadata()?.len();
        for entry in read_index(&mut file)? {
            let known = KnownChunk {
                pack,
                pack_bytes,
                offset: entry.offset,
                frame: entry.frame,
                frame_bytes: entry.frame_bytes,
            };
            stored.insert(entry.plain, known);
        }
    }
    Ok(stored)
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
