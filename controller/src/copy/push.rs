//! A copy to another region: the job that sends it.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use imprint_image::{
    Chunk, Digest, MAX_MANIFEST_BYTES, Manifest, PackRef, frame::FrameError, pack::PackBuilder,
};
use serde_json::{Value, json};

use super::{
    Copies, CopyFault, Encrypt, Inner,
    client::RegionClient,
    transfer::{BeginTransfer, TransferDisk},
};
use crate::{
    catalog::{Image, ImageSpec},
    config::RegionConfig,
    events::NewEvent,
    export::ExportFault,
    identity::Caller,
    jobs::{Job, JobContext, Jobs, NewJob},
    store::StoreObject,
};

/// Neighbouring frames that are read at once.
const READ_BYTES: u64 = 4 << 20;
/// What is sent at once, and lost when the connection breaks in the middle of it.
const SEND_BYTES: u64 = 8 << 20;

impl Copies {
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn across(
        &self,
        jobs: &Jobs,
        caller: &Caller,
        image: &Image,
        spec: ImageSpec,
        region: &str,
        encrypt: Encrypt,
        new: NewJob,
    ) -> Result<Job, CopyFault> {
        if image.encrypted {
            return Err(ExportFault::Encrypted {
                image: image.name.clone(),
            }
            .into());
        }
        if encrypt == Encrypt::Yes {
            return Err(CopyFault::EncryptedElsewhere);
        }
        let push = Push {
            inner: self.0.clone(),
            region: self.region(&caller.project_id, region)?.clone(),
            request: BeginTransfer {
                image: spec,
                source_region: self.0.catalog.region().to_owned(),
                source_image: image.id.clone(),
                source_format: image.source_format.clone(),
                disks: image
                    .disks
                    .iter()
                    .map(|disk| TransferDisk {
                        role: disk.role.clone(),
                        image_digest: disk.image_digest.clone(),
                    })
                    .collect(),
            },
            image: image.clone(),
            caller: caller.clone(),
        };
        let job = jobs.start(new, move |context| async move { Ok(push.run(&context).await?) });
        Ok(job.await?)
    }

    /// The region of this name, if the project may copy images there.
    fn region(&self, project_id: &str, name: &str) -> Result<&RegionConfig, CopyFault> {
        let open = || {
            self.0
                .regions
                .iter()
                .filter(|r| r.url.is_some() && r.is_open_to(project_id))
        };
        open()
            .find(|region| region.name == name)
            .ok_or_else(|| CopyFault::NoRegion {
                name: name.chars().take(100).collect(),
                known: open().map(|region| region.name.clone()).collect(),
            })
    }
}

/// All that the job needs.
pub(super) struct Push {
    inner: Arc<Inner>,
    region: RegionConfig,
    request: BeginTransfer,
    image: Image,
    caller: Caller,
}

/// What was sent.
#[derive(Debug, Default)]
struct Sent {
    chunks: u64,
    bytes: u64,
    known: u64,
}

impl Push {
    pub(super) async fn run(self, context: &JobContext) -> Result<Value, CopyFault> {
        let client = RegionClient::open(&self.region)?;
        // While it is sent, nobody removes it, whatever becomes of the image.
        let held = self.hold(&context.id).await;
        let result = match held {
            Ok(()) => self.send(&client, context).await,
            Err(fault) => Err(fault),
        };
        self.inner.catalog.sweep(&self.inner.store, &context.id).await?;
        result
    }

    async fn hold(&self, holder: &str) -> Result<(), CopyFault> {
        if !self.inner.catalog.hold(holder, &self.image.id).await? {
            return Err(CopyFault::Changed);
        }
        let now = self
            .inner
            .catalog
            .find(&self.caller.viewer(), &self.image.id)
            .await?;
        Ok(crate::export::require_content(&now, &self.caller.viewer())?)
    }

    async fn send(&self, client: &RegionClient, context: &JobContext) -> Result<Value, CopyFault> {
        context.progress("announcing", 0, 0);
        let transfer = client.begin(&self.request).await?;
        let result = self
            .send_all(client, &transfer.id, &transfer.manifests, context)
            .await;
        if context.cancel.is_cancelled() {
            client.abandon(&transfer.id).await;
            return Err(CopyFault::Cancelled);
        }
        let sent = match result {
            Ok(sent) => sent,
            // The next copy goes on where this one broke off.
            Err(fault @ (CopyFault::Unreachable { .. } | CopyFault::Refused { .. })) => return Err(fault),
            // It would fail here again, and over there it keeps a part of the project's quota meanwhile.
            Err(fault) => {
                client.abandon(&transfer.id).await;
                return Err(fault);
            }
        };
        context.progress("completing", 0, 0);
        let there = client.complete(&transfer.id).await?;
        self.tell(&there).await?;
        Ok(json!({
            "region": self.region.name,
            "image_id": there["id"],
            "image_digest": there["image_digest"],
            "chunks_sent": sent.chunks,
            "bytes_sent": sent.bytes,
            "chunks_known": sent.known,
        }))
    }

    async fn send_all(
        &self,
        client: &RegionClient,
        id: &str,
        arrived: &[i64],
        context: &JobContext,
    ) -> Result<Sent, CopyFault> {
        let mut sent = Sent::default();
        let mut manifests = Vec::with_capacity(self.image.disks.len());
        for (position, disk) in self.image.disks.iter().enumerate() {
            let manifest = self.inner.exports.manifest(&self.image.name, disk).await?;
            if !arrived
                .iter()
                .any(|there| usize::try_from(*there) == Ok(position))
            {
                let key = disk.manifest.parse().expect("the catalogue keeps digests");
                let bytes = self
                    .inner
                    .store
                    .get(&StoreObject::Manifest(key), MAX_MANIFEST_BYTES)
                    .await?;
                client.put_manifest(id, position, bytes).await?;
            }
            manifests.push(manifest);
        }
        let mut seen = HashSet::new();
        for (position, manifest) in manifests.iter().enumerate() {
            let missing = client.missing(id, position).await?;
            let wanted = |nth: usize| {
                missing
                    .get(nth / 8)
                    .is_some_and(|byte| byte & (1 << (nth % 8)) != 0)
            };
            // A chunk that comes twice, or on two disks, is sent once.
            let chunks: Vec<&Chunk> = manifest
                .chunks
                .iter()
                .enumerate()
                .filter(|(nth, chunk)| wanted(*nth) && seen.insert(chunk.plain))
                .map(|(_, chunk)| chunk)
                .collect();
            sent.known += (manifest.chunks.len() - chunks.len()) as u64;
            self.send_chunks(client, id, manifest, &chunks, context, &mut sent)
                .await?;
        }
        Ok(sent)
    }

    /// Packs the chunks anew, so that nothing is sent that is not of the image.
    async fn send_chunks(
        &self,
        client: &RegionClient,
        id: &str,
        manifest: &Manifest,
        chunks: &[&Chunk],
        context: &JobContext,
        sent: &mut Sent,
    ) -> Result<(), CopyFault> {
        let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.frame_bytes)).sum();
        let (mut done, mut filled) = (0, 0);
        let mut pack = PackBuilder::default();
        for batch in batches(chunks) {
            if context.cancel.is_cancelled() {
                return Err(CopyFault::Cancelled);
            }
            context.progress("sending", done, total);
            let frames = self.read(manifest, batch).await?;
            let mut rest = &frames[..];
            for chunk in batch {
                let (frame, after) = rest.split_at(chunk.frame_bytes as usize);
                rest = after;
                self.prove(chunk, frame)?;
                if !pack.fits(frame.len()) || filled >= SEND_BYTES {
                    send_pack(client, id, std::mem::take(&mut pack), sent).await?;
                    filled = 0;
                }
                filled += u64::from(chunk.frame_bytes);
                let range = manifest.chunk_range(chunk.index);
                let plain_bytes = u32::try_from(range.end - range.start).expect("not longer than a chunk");
                pack.push(frame, chunk.plain, chunk.frame, plain_bytes);
                sent.chunks += 1;
                done += u64::from(chunk.frame_bytes);
            }
        }
        if !pack.is_empty() {
            send_pack(client, id, pack, sent).await?;
        }
        context.progress("sending", total, total);
        Ok(())
    }

    /// The frames of neighbours in one pack.
    async fn read(&self, manifest: &Manifest, batch: &[&Chunk]) -> Result<Vec<u8>, CopyFault> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Vec::new());
        };
        let PackRef { digest, .. } = manifest.packs[first.pack as usize];
        let range = first.offset..last.offset + u64::from(last.frame_bytes);
        let wanted = usize::try_from(range.end - range.start).expect("a few MiB");
        let frames = self
            .inner
            .store
            .stream(StoreObject::Pack(digest), range)
            .try_fold(Vec::with_capacity(wanted), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await?;
        if frames.len() == wanted {
            return Ok(frames);
        }
        let first = first.index;
        Err(CopyFault::Frame(FrameError::FrameLength {
            index: first,
            expected: u32::try_from(wanted).unwrap_or(u32::MAX),
            got: frames.len(),
        }))
    }

    /// What is damaged here is not sent.
    fn prove(&self, chunk: &Chunk, frame: &[u8]) -> Result<(), CopyFault> {
        let got = Digest::of(frame);
        if got == chunk.frame {
            return Ok(());
        }
        Err(CopyFault::Damaged {
            image: self.image.name.clone(),
            source: FrameError::FrameDigest {
                index: chunk.index,
                expected: chunk.frame,
                got,
            },
        })
    }

    async fn tell(&self, there: &Value) -> Result<(), CopyFault> {
        let event = NewEvent {
            kind: "image.copied",
            node_id: None,
            deployment_id: None,
            message: format!(
                "Image {} was copied to region {}.",
                self.image.name, self.region.name
            ),
            details: json!({
                "image_id": self.image.id,
                "region": self.region.name,
                "to_image_id": there["id"],
                "project_id": self.caller.project_id,
                "by": self.caller.name,
            }),
        };
        Ok(self.inner.events.append(event).await.map(drop)?)
    }
}

async fn send_pack(
    client: &RegionClient,
    id: &str,
    pack: PackBuilder,
    sent: &mut Sent,
) -> Result<(), CopyFault> {
    let (digest, bytes) = pack.finish();
    sent.bytes += bytes.len() as u64;
    client.put_pack(id, &digest, Bytes::from(bytes)).await
}

/// Runs of chunks whose frames are neighbours in one pack.
fn batches<'a>(chunks: &'a [&'a Chunk]) -> impl Iterator<Item = &'a [&'a Chunk]> {
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut end = first.offset + u64::from(first.frame_bytes);
        let mut count = 1;
        for chunk in &rest[1..] {
            let next = chunk.offset + u64::from(chunk.frame_bytes);
            if (chunk.pack, chunk.offset) != (first.pack, end) || next - first.offset > READ_BYTES {
                break;
            }
            (end, count) = (next, count + 1);
        }
        let (batch, after) = rest.split_at(count);
        rest = after;
        Some(batch)
    })
}
