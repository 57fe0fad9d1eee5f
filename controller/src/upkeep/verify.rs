//! Proving that the store has all that images and running deployments need, and that every byte of it is right.
//!
//! One manifest after the other: its signature, its digest, then its packs, several at a time. A pack is read whole once;
//! when a second manifest names it, its index is enough to see that it has what that one believes to find. So the memory
//! is that of one manifest and of a pack for each core, however large the store is.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use futures::{StreamExt, TryStreamExt, stream};
use imprint_image::{Digest, MAX_MANIFEST_BYTES, MAX_PACK_BYTES, Manifest, SignedManifest, seal::Seal};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{
    Progress, Upkeep, UpkeepError,
    pack::{self, Judgement, Reference},
};
use crate::{
    api::rest::problem::chain,
    catalog::{Damage, DamagedImage, StoredManifest},
    store::{StoreError, StoreObject, StoredObject},
};

/// Packs in memory at once.
const MOST_AT_ONCE: usize = 8;
/// Damaged objects that a report names; the rest is only counted.
const NAMED: usize = 1000;
/// Where the signatures of a manifest begin, and the length of one.
const SIGNATURES_AT: usize = 16;
const SIGNATURE_BYTES: usize = 96;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct VerifyReport {
    /// Manifests that were looked at.
    pub manifests: u64,
    /// Packs that were read whole.
    pub packs: u64,
    /// Frames that were hashed.
    pub frames: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How many objects are damaged or missing.
    pub damaged_objects: u64,
    /// The first thousand of them.
    pub damaged: Vec<DamagedObject>,
    /// Images that cannot be deployed because of it, also from earlier runs.
    pub images: Vec<DamagedImage>,
    /// Objects that an earlier run had found damaged and that are good.
    pub healed: u64,
}

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DamagedObject {
    /// "packs/<hex>" or "manifests/<hex>"
    pub object: String,
    /// What is wrong with it.
    pub cause: String,
}

/// What is known of a pack that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Good(u64),
    Bad,
}

/// The state of one run.
struct Run<'a> {
    upkeep: &'a Upkeep,
    progress: Progress<'a>,
    total: u64,
    read: AtomicU64,
    packs: HashMap<Digest, Known>,
    damage: HashMap<StoreObject, Damage>,
    good: Vec<StoreObject>,
    report: VerifyReport,
}

impl Upkeep {
    /// Reads all that images and running deployments need, or what one image needs, and marks what is damaged.
    pub async fn verify(
        &self,
        image_id: Option<&str>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Result<VerifyReport, UpkeepError> {
        let _alone = self.alone.lock().await;
        let manifests = self.catalog.stored_manifests(image_id).await?;
        let total = match image_id {
            Some(_) => manifests.iter().map(|m| m.stored_bytes).sum(),
            None => self.needed_bytes().await?,
        };
        let mut run = Run {
            upkeep: self,
            progress,
            total,
            read: AtomicU64::new(0),
            packs: HashMap::new(),
            damage: HashMap::new(),
            good: Vec::new(),
            report: VerifyReport::default(),
        };
        for manifest in &manifests {
            if cancel.is_cancelled() {
                return Err(UpkeepError::Cancelled);
            }
            run.manifest(manifest, cancel).await?;
        }
        run.end().await
    }

    /// Bytes of all packs that are needed, as far as they are there.
    async fn needed_bytes(&self) -> Result<u64, UpkeepError> {
        let needs = self.catalog.needs().await?;
        let live = needs
            .packs
            .iter()
            .filter(|(of, _)| needs.manifests.get(of) == Some(&true));
        let packs: HashSet<StoreObject> = live.map(|(_, pack)| StoreObject::Pack(*pack)).collect();
        let count = |sum: u64, found: StoredObject| async move { Ok(sum + found.bytes) };
        let needed = self
            .store
            .list()
            .try_filter(|found| futures::future::ready(packs.contains(&found.object)));
        Ok(needed.try_fold(0, count).await?)
    }
}

impl Run<'_> {
    async fn manifest(
        &mut self,
        row: &StoredManifest,
        cancel: &CancellationToken,
    ) -> Result<(), UpkeepError> {
        self.report.manifests += 1;
        let object = StoreObject::Manifest(row.manifest);
        let manifest = match self.open(row).await? {
            Ok(manifest) => manifest,
            Err(cause) => {
                self.found(object, cause, Some(row.manifest));
                return Ok(());
            }
        };
        self.good.push(object);
        let mut wanted: Vec<Vec<Reference>> = vec![Vec::new(); manifest.packs.len()];
        for chunk in &manifest.chunks {
            wanted[chunk.pack as usize].push(Reference {
                offset: chunk.offset,
                bytes: chunk.frame_bytes,
                frame: chunk.frame,
            });
        }
        let at_once = thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_AT_ONCE));
        let (upkeep, read, progress, total) = (self.upkeep, &self.read, self.progress, self.total);
        let seal = manifest.seal.as_ref();
        let mut checks = Vec::with_capacity(manifest.packs.len());
        for (pack, references) in manifest.packs.iter().zip(wanted) {
            let digest = pack.digest;
            let known = self.packs.get(&digest).copied();
            checks.push(async move {
                if cancel.is_cancelled() {
                    return Err(UpkeepError::Cancelled);
                }
                let judgement = upkeep.pack(digest, known, references, seal, read).await?;
                progress("read", read.load(Ordering::Relaxed), total);
                Ok((digest, known.is_none(), judgement))
            });
        }
        let judged: Vec<(Digest, bool, (u64, Judgement))> = stream::iter(checks)
            .buffer_unordered(at_once)
            .try_collect()
            .await?;
        for (digest, first, (size, judgement)) in judged {
            let object = StoreObject::Pack(digest);
            if first {
                self.report.packs += 1;
                self.report.frames += judgement.frames;
                let good = judgement.fault.is_none();
                self.packs
                    .insert(digest, if good { Known::Good(size) } else { Known::Bad });
                if good {
                    self.good.push(object);
                }
            }
            if let Some(cause) = judgement.fault {
                self.found(object, cause, judgement.hits.then_some(row.manifest));
            }
        }
        Ok(())
    }

    /// The manifest, or what is wrong with it.
    async fn open(&self, row: &StoredManifest) -> Result<Result<Manifest, String>, UpkeepError> {
        let read = self
            .upkeep
            .store
            .get(&StoreObject::Manifest(row.manifest), MAX_MANIFEST_BYTES)
            .await;
        let content = match damaged(read)? {
            Ok(content) => content,
            Err(cause) => return Ok(Err(cause)),
        };
        self.read.fetch_add(content.len() as u64, Ordering::Relaxed);
        let (keys, expected) = (self.upkeep.keys.clone(), row.clone());
        let data_key = self.upkeep.image_keys.open(&row.manifest.to_string()).await?;
        let opened = tokio::task::spawn_blocking(move || {
            let manifest =
                SignedManifest::open_with(&content, &keys, data_key.as_ref()).map_err(|e| chain(&e))?;
            let signatures = usize::from(content[8]) * SIGNATURE_BYTES;
            if Digest::of(&content[SIGNATURES_AT + signatures..]) != expected.manifest_digest {
                return Err("it is signed, but not the manifest that the catalogue knows".to_owned());
            }
            Ok(manifest)
        });
        Ok(opened.await?)
    }

    fn found(&mut self, object: StoreObject, cause: String, hits: Option<Digest>) {
        tracing::error!(object = object.key(), cause, "an object of the store is damaged");
        let damage = self.damage.entry(object).or_insert_with(|| Damage {
            object,
            cause,
            manifests: Vec::new(),
        });
        damage.manifests.extend(hits);
    }

    async fn end(mut self) -> Result<VerifyReport, UpkeepError> {
        let catalog = &self.upkeep.catalog;
        self.good.retain(|object| !self.damage.contains_key(object));
        self.report.healed = catalog.forget_damage(&self.good).await?;
        let mut damage: Vec<Damage> = self.damage.into_values().collect();
        damage.sort_by_key(|damage| damage.object);
        catalog
            .note_damage(&self.upkeep.events, &damage)
            .await
            .map_err(UpkeepError::Keep)?;
        self.report.images = catalog.damaged_images().await?;
        self.report.bytes = self.read.into_inner();
        self.report.damaged_objects = damage.len() as u64;
        let named = damage.into_iter().take(NAMED).map(|damage| DamagedObject {
            object: damage.object.key(),
            cause: damage.cause,
        });
        self.report.damaged = named.collect();
        Ok(self.report)
    }
}

impl Upkeep {
    /// The size of a pack and what is to be said of it.
    async fn pack(
        &self,
        digest: Digest,
        known: Option<Known>,
        references: Vec<Reference>,
        seal: Option<&Seal>,
        read: &AtomicU64,
    ) -> Result<(u64, Judgement), UpkeepError> {
        let object = StoreObject::Pack(digest);
        if let Some(Known::Good(size)) = known
            && let Ok(end) = damaged(self.end_of(object, size).await)?
            && pack::has(end, size, &references, seal)
        {
            let judgement = Judgement {
                fault: None,
                hits: false,
                frames: 0,
            };
            return Ok((size, judgement));
        }
        let content = match damaged(self.store.get(&object, MAX_PACK_BYTES).await)? {
            Ok(content) => content,
            Err(cause) => return Ok((0, Judgement::unreadable(cause))),
        };
        let size = content.len() as u64;
        read.fetch_add(size, Ordering::Relaxed);
        let seal = seal.cloned();
        let judge = move || pack::judge(&digest, &content, &references, seal.as_ref());
        let judged = tokio::task::spawn_blocking(judge);
        Ok((size, judged.await?))
    }

    /// The end of a pack, with all of its index.
    async fn end_of(&self, object: StoreObject, size: u64) -> Result<Vec<u8>, StoreError> {
        let mut end = self.read(object, pack::tail(size)).await?;
        if let Some(before) = pack::rest_of_tail(&end, size) {
            let mut all = self.read(object, before).await?;
            all.append(&mut end);
            end = all;
        }
        Ok(end)
    }

    async fn read(&self, object: StoreObject, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        let pieces: Vec<_> = self.store.stream(object, range).try_collect().await?;
        Ok(pieces.concat())
    }
}

/// What a read says of the object itself; a store that cannot be reached says nothing of it.
fn damaged<T>(read: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(StoreError::Missing { .. }) => Ok(Err("it is not in the store".to_owned())),
        Err(error @ (StoreError::TooLong { .. } | StoreError::Failed { .. })) => Ok(Err(chain(&error))),
        Err(error) => Err(error),
    }
}
