//! A copy that is encrypted where its image is not, or the other way round: the content is packed anew.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use imprint_image::{
    Digest, MAX_DISK_BYTES, Manifest,
    export::ArtifactSource,
    seal::{DataKey, Seal},
    write::{ArtifactWriter, ImportProgress, KnownChunk, PackSink, WriteOptions},
};
use tokio::runtime::Handle;

use super::{CopyFault, Inner};
use crate::{
    catalog::KnownChunks, export::StoreFrames, identity::WrappedKey, jobs::JobContext, store::StoreObject,
};

/// A disk of the copy, in the store.
pub(super) struct Resealed {
    pub(super) manifest: Manifest,
    /// Its name in the store.
    pub(super) key: String,
    /// Of the manifest without its signatures.
    pub(super) digest: String,
    pub(super) wrapped_key: Option<WrappedKey>,
}

impl Inner {
    /// Stores the disk of `manifest` once more, for the image `copy` of `project`: encrypted, or not.
    pub(super) async fn reseal(
        self: &Arc<Self>,
        copy: &str,
        project: &str,
        manifest: Manifest,
        encrypt: bool,
        context: &JobContext,
    ) -> Result<Resealed, CopyFault> {
        let data_key = encrypt.then(DataKey::generate);
        let packing = Packing {
            inner: self.clone(),
            runtime: Handle::current(),
            frames: StoreFrames::new(self.store.clone()),
            copy: copy.to_owned(),
            project: project.to_owned(),
            seal: data_key.as_ref().map(|key| Seal::new(key, self.algorithm)),
            context: context.clone(),
        };
        let expected = manifest.image_digest;
        let manifest = tokio::task::spawn_blocking(move || packing.run(&manifest))
            .await
            .map_err(CopyFault::Task)??;
        if manifest.image_digest != expected {
            let got = manifest.image_digest;
            return Err(CopyFault::Identity { expected, got });
        }
        let signed = self.authority.sign_manifest(&manifest);
        let digest = signed.manifest_digest();
        let object = StoreObject::Manifest(digest);
        {
            let _writing = self.store.writing().await;
            self.catalog
                .write_noted(&self.store, copy, &object, signed.encode().into())
                .await?;
        }
        let key = digest.to_string();
        let wrapped_key = match &data_key {
            Some(data_key) => Some(self.image_keys.wrap(data_key, &key).await?),
            None => None,
        };
        Ok(Resealed {
            manifest,
            digest: key.clone(),
            key,
            wrapped_key,
        })
    }
}

/// What the thread has that packs.
struct Packing {
    inner: Arc<Inner>,
    runtime: Handle,
    frames: StoreFrames,
    copy: String,
    project: String,
    seal: Option<Seal>,
    context: JobContext,
}

impl Packing {
    fn run(&self, manifest: &Manifest) -> Result<Manifest, CopyFault> {
        let cancelled = AtomicBool::new(false);
        let chunks = KnownChunks::new(self.inner.catalog.clone(), &self.project, &self.copy);
        let known = |plain: &Digest| self.known(&chunks, plain);
        let packed = |bytes| {
            self.context
                .progress("packing anew", bytes, manifest.disk_size_bytes);
        };
        packed(0);
        let progress = |now: &ImportProgress| {
            packed(now.disk_bytes);
            cancelled.store(self.context.cancel.is_cancelled(), Ordering::Relaxed);
        };
        let options = WriteOptions {
            known: &known,
            seal: self.seal.as_ref(),
            progress: Some(&progress),
            cancel: Some(&cancelled),
            logical_sector_bytes: Some(manifest.logical_sector_bytes),
            max_disk_bytes: MAX_DISK_BYTES,
            ..WriteOptions::default()
        };
        let mut source = ArtifactSource::new(manifest, &self.frames).map_err(CopyFault::Threads)?;
        let done = ArtifactWriter::new(Sink(self), options).import(&mut source);
        if self.context.cancel.is_cancelled() {
            return Err(CopyFault::Cancelled);
        }
        done.map_err(CopyFault::Packing)
    }

    /// A chunk that cannot be looked up is stored again, which costs space and nothing else.
    fn known(&self, chunks: &KnownChunks, plain: &Digest) -> Option<KnownChunk> {
        self.runtime.block_on(chunks.find(plain)).unwrap_or_else(|error| {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "a chunk could not be looked up");
            None
        })
    }
}

/// Notes packs and writes them.
struct Sink<'a>(&'a Packing);

impl PackSink for Sink<'_> {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        let Packing { inner, copy, .. } = self.0;
        let object = StoreObject::Pack(digest);
        let put = async {
            inner.store.require_space(bytes.len() as u64)?;
            let _writing = inner.store.writing().await;
            inner
                .catalog
                .write_noted(&inner.store, copy, &object, bytes.into())
                .await?;
            Ok::<(), CopyFault>(())
        };
        self.0.runtime.block_on(put).map_err(io::Error::other)
    }
}
