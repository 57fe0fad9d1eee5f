//! Artifacts made and looked at.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use imprint_image::source::{self, Format, Limits};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{Manifest, SignedManifest, SigningKey};
use serde_json::{Value, json};

/// Makes the artifact of a raw image and signs it with the store's own key.
pub fn publish(raw: &Path, store: &Path, level: i32) -> Result<Value> {
    let sink = DirSink::new(store).with_context(|| format!("cannot make a store in {}", store.display()))?;
    let manifests = store.join("manifests");
    fs::create_dir_all(&manifests).context("cannot make the folder of manifests")?;
    let key = key(&store.join("key.pk8"))?;
    let file = File::open(raw).with_context(|| format!("cannot open {}", raw.display()))?;
    let mut opened =
        source::open(file, Some(Format::Raw), &Limits::default()).context("cannot read the image")?;
    let options = WriteOptions {
        level,
        ..WriteOptions::default()
    };
    let manifest = ArtifactWriter::new(sink, options)
        .import(opened.source.as_mut())
        .context("cannot make the artifact")?;
    let path = manifests.join(manifest.image_digest.to_string());
    let signed = SignedManifest::sign(&manifest, &key).encode();
    fs::write(&path, &signed).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(json!({
        "manifest": path,
        "image_digest": manifest.image_digest.to_string(),
        "public_key": key.public_key().to_string(),
        "manifest_bytes": signed.len(),
        "disk_size_bytes": manifest.disk_size_bytes,
        "data_bytes": manifest.data_bytes(),
        "fetch_bytes": manifest.fetch_bytes(),
        "chunks": manifest.chunks.len(),
        "packs": manifest.packs.iter().map(|pack| pack.digest.to_string()).collect::<Vec<_>>(),
    }))
}

/// A key for this store alone.
fn key(path: &Path) -> Result<SigningKey> {
    if let Ok(der) = fs::read(path) {
        return SigningKey::from_pkcs8(&der).with_context(|| format!("{} is no key", path.display()));
    }
    let key = SigningKey::generate().context("cannot make a key")?;
    let der = key.to_pkcs8().context("cannot encode the key")?;
    fs::write(path, der).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

/// Reads a manifest that this bench has made.
pub fn open(path: &Path) -> Result<Manifest> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    SignedManifest::open_unverified(&bytes).with_context(|| format!("{} is no manifest", path.display()))
}

/// Frame bytes of chunks that a disk with the old image has to fetch for the new one when it keeps what is in place.
pub fn changed(old: &Path, new: &Path) -> Result<Value> {
    let (old, new) = (open(old)?, open(new)?);
    let before: HashMap<u64, _> = old
        .chunks
        .iter()
        .map(|chunk| (chunk.index, chunk.plain))
        .collect();
    let changed: Vec<_> = new
        .chunks
        .iter()
        .filter(|chunk| before.get(&chunk.index) != Some(&chunk.plain))
        .collect();
    Ok(json!({
        "chunks": changed.len(),
        "frame_bytes": changed.iter().map(|chunk| u64::from(chunk.frame_bytes)).sum::<u64>(),
    }))
}
