//! Which objects of the store nobody needs any more.
//!
//! A manifest is needed as long as an image that is not deleted has it, a deployment that runs writes it, or it is noted
//! as pending by whoever writes or reads it. A pack is needed as long as any manifest in the catalogue names it, or it is
//! pending. So manifests go first, and packs after the last one that names them.
//!
//! [`plan`] only proposes, from what was read some time before. What counts is [`Catalog::release`], which looks again
//! and forgets in one transaction, while nobody writes ([`crate::store::Store::removing`]).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::TryStreamExt;
use imprint_image::Digest;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{Catalog, CatalogError};
use crate::store::{StoreObject, StoredObject};

/// What the catalogue says about the objects of the store.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The manifests in the catalogue, and whether an image or a deployment needs them.
    pub manifests: HashMap<Digest, bool>,
    /// Which packs each of them names.
    pub packs: Vec<(Digest, Digest)>,
    /// What running work has noted.
    pub pending: HashSet<StoreObject>,
}

/// An object to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub object: StoreObject,
    /// Its length; 0 when only the catalogue still knows it.
    pub bytes: u64,
    /// Whether the catalogue ever knew it. What a crash left is not known.
    pub known: bool,
}

/// What can go, and what was found beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// In the order in which it has to go: manifests first.
    pub remove: Vec<Removal>,
    /// Not needed, but too new.
    pub young: Vec<StoredObject>,
    /// Needed, and not in the store.
    pub missing: Vec<StoreObject>,
}

/// Proposes what can go. The needs were read before the store was listed; `grace` protects what was written since.
pub fn plan(needs: &Needs, stored: &[StoredObject], now_ms: i64, grace: Duration) -> GcPlan {
    let newest = now_ms.saturating_sub(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
    let there: HashMap<StoreObject, StoredObject> = stored.iter().map(|s| (s.object, *s)).collect();
    let mut plan = GcPlan::default();

    let wanted = |digest: &Digest| {
        needs.manifests.get(digest) == Some(&true) || needs.pending.contains(&StoreObject::Manifest(*digest))
    };
    let mut named: HashSet<Digest> = there.keys().filter_map(manifest).collect();
    named.extend(needs.manifests.keys());
    let mut goes: HashSet<Digest> = HashSet::new();
    for digest in named {
        let object = StoreObject::Manifest(digest);
        match there.get(&object) {
            None if needs.manifests.get(&digest) == Some(&true) => plan.missing.push(object),
            _ if wanted(&digest) => {}
            Some(found) if found.written_at_ms > newest => plan.young.push(*found),
            found => {
                goes.insert(digest);
                plan.remove.push(Removal {
                    object,
                    bytes: found.map_or(0, |found| found.bytes),
                    known: needs.manifests.contains_key(&digest),
                });
            }
        }
    }

    let (mut used, mut known, mut live) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (of, pack) in &needs.packs {
        known.insert(*pack);
        if !goes.contains(of) {
            used.insert(*pack);
        }
        if needs.manifests.get(of) == Some(&true) {
            live.insert(*pack);
        }
    }
    for found in stored {
        let StoreObject::Pack(digest) = found.object else {
            continue;
        };
        if used.contains(&digest) || needs.pending.contains(&found.object) {
            continue;
        }
        if found.written_at_ms > newest {
            plan.young.push(*found);
        } else {
            plan.remove.push(Removal {
                object: found.object,
                bytes: found.bytes,
                known: known.contains(&digest),
            });
        }
    }
    let lost = live.into_iter().map(StoreObject::Pack);
    plan.missing
        .extend(lost.filter(|object| !there.contains_key(object)));

    // An order that does not depend on hash tables; manifests sort before packs.
    plan.remove.sort_by_key(|removal| removal.object);
    plan.young.sort_by_key(|found| found.object);
    plan.missing.sort();
    plan
}

fn manifest(object: &StoreObject) -> Option<Digest> {
    match object {
        StoreObject::Manifest(digest) => Some(*digest),
        StoreObject::Pack(_) => None,
    }
}

/// A manifest that is needed, as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its name in the store.
    pub manifest: Digest,
    /// BLAKE3 of it without its signatures.
    pub manifest_digest: Digest,
    /// Bytes of the frames that it names.
    pub stored_bytes: u64,
}

/// What the store has of a disk of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// All of it, as far as anybody knows.
    Whole,
    /// Something of it was found damaged or missing.
    Damaged,
    /// Nothing: the image is deleted.
    Gone,
}

/// Sums over the images that are not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageBytes {
    /// How many there are.
    pub images: u64,
    /// Bytes of data on their disks.
    pub data: u64,
    /// Bytes of their frames, as if nothing were shared.
    pub stored: u64,
}

/// Whether a manifest `m` is needed.
const MANIFEST_IS_LIVE: &str = "EXISTS (SELECT 1 FROM image_disks AS d JOIN images AS i ON i.id = d.image_id
         WHERE d.manifest = m.manifest AND i.state <> 'deleted')
     OR EXISTS (SELECT 1 FROM deployments WHERE manifest = m.manifest AND state = 'running')";

impl Catalog {
    /// All that the catalogue says about the objects of the store.
    pub async fn needs(&self) -> Result<Needs, CatalogError> {
        let mut needs = Needs::default();
        // One view of all tables, so that nothing changes between two of them.
        let mut tx = self.db.begin().await?;
        let query = format!("SELECT m.manifest, ({MANIFEST_IS_LIVE}) AS live FROM manifests AS m");
        let rows: Vec<(String, bool)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut *tx).await?;
        for (manifest, live) in rows {
            if let Ok(digest) = manifest.parse() {
                needs.manifests.insert(digest, live);
            }
        }
        let mut rows = sqlx::query("SELECT manifest, pack FROM manifest_packs").fetch(&mut *tx);
        while let Some(row) = rows.try_next().await? {
            let digest = |column: &str| row.try_get::<&str, _>(column).map(|text| text.parse().ok());
            if let (Some(manifest), Some(pack)) = (digest("manifest")?, digest("pack")?) {
                needs.packs.push((manifest, pack));
            }
        }
        drop(rows);
        let pending: Vec<String> = sqlx::query_scalar("SELECT DISTINCT object FROM pending_objects")
            .fetch_all(&mut *tx)
            .await?;
        needs.pending = pending
            .iter()
            .filter_map(|key| StoreObject::from_key(key))
            .collect();
        Ok(needs)
    }

    /// Whether a disk of an image is in the store, for a transaction that from its end on keeps it there.
    pub async fn content_of(
        connection: &mut SqliteConnection,
        image_id: &str,
        manifest: &str,
    ) -> Result<Content, sqlx::Error> {
        let (stored, damaged): (bool, bool) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM manifests AS m JOIN image_disks AS d ON d.manifest = m.manifest
                     JOIN images AS i ON i.id = d.image_id WHERE m.manifest = ?2 AND i.id = ?1 AND i.state <> 'deleted'),
                 EXISTS (SELECT 1 FROM manifest_damage WHERE manifest = ?2)",
        )
        .bind(image_id)
        .bind(manifest)
        .fetch_one(connection)
        .await?;
        Ok(match (stored, damaged) {
            (false, _) => Content::Gone,
            (true, true) => Content::Damaged,
            (true, false) => Content::Whole,
        })
    }

    /// The manifests that are needed, or those of one image.
    pub async fn stored_manifests(
        &self,
        image_id: Option<&str>,
    ) -> Result<Vec<StoredManifest>, CatalogError> {
        let query = format!(
            "SELECT m.manifest, m.manifest_digest, m.stored_bytes FROM manifests AS m WHERE ({MANIFEST_IS_LIVE})
                 AND (?1 IS NULL OR m.manifest IN (SELECT manifest FROM image_disks WHERE image_id = ?1))
             ORDER BY m.created_at, m.manifest"
        );
        let rows: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(query))
            .bind(image_id)
            .fetch_all(&self.db)
            .await?;
        let read = |(manifest, digest, bytes): (String, String, i64)| {
            Some(StoredManifest {
                manifest: manifest.parse().ok()?,
                manifest_digest: digest.parse().ok()?,
                stored_bytes: u64::try_from(bytes).unwrap_or(0),
            })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Sums over the images that are not deleted.
    pub async fn image_bytes(&self) -> Result<ImageBytes, CatalogError> {
        let (images, data, stored): (i64, i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(data_bytes), 0), COALESCE(SUM(stored_bytes), 0) FROM images
             WHERE state <> 'deleted'",
        )
        .fetch_one(&self.db)
        .await?;
        let whole = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(ImageBytes {
            images: whole(images),
            data: whole(data),
            stored: whole(stored),
        })
    }

    /// Forgets an object that nobody needs; false, and nothing is changed, when somebody does. What `holder` itself has
    /// noted does not count. To be called under [`crate::store::Store::removing`], and the object removed under the same.
    pub async fn release(&self, object: &StoreObject, holder: Option<&str>) -> Result<bool, CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let key = object.key();
        let pending =
            "SELECT EXISTS (SELECT 1 FROM pending_objects WHERE object = ?1 AND import_id IS NOT ?2)";
        let pending: bool = sqlx::query_scalar(pending)
            .bind(&key)
            .bind(holder)
            .fetch_one(&mut *tx)
            .await?;
        let (query, digest) = match object {
            StoreObject::Manifest(digest) => (
                format!(
                    "SELECT EXISTS (SELECT 1 FROM (SELECT ?1 AS manifest) AS m WHERE {MANIFEST_IS_LIVE})"
                ),
                digest.to_string(),
            ),
            StoreObject::Pack(digest) => (
                "SELECT EXISTS (SELECT 1 FROM manifest_packs WHERE pack = ?1)".to_owned(),
                digest.to_string(),
            ),
        };
        let used: bool = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(&digest)
            .fetch_one(&mut *tx)
            .await?;
        if pending || used {
            return Ok(false);
        }
        let rows: &[&'static str] = match object {
            StoreObject::Manifest(_) => &[
                "DELETE FROM manifest_packs WHERE manifest = ?",
                "DELETE FROM manifest_damage WHERE manifest = ?",
                "DELETE FROM manifests WHERE manifest = ?",
            ],
            StoreObject::Pack(_) => &["DELETE FROM chunks WHERE pack = ?"],
        };
        for statement in rows {
            sqlx::query(*statement).bind(&digest).execute(&mut *tx).await?;
        }
        for statement in [
            "DELETE FROM store_damage WHERE object = ?",
            "DELETE FROM pending_objects WHERE object = ?",
        ] {
            sqlx::query(statement).bind(&key).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::from_bytes([n; 32])
    }

    fn stored(object: StoreObject, written_at_ms: i64) -> StoredObject {
        StoredObject {
            object,
            bytes: 10,
            written_at_ms,
        }
    }

    #[test]
    fn what_nobody_needs_goes_when_it_is_old_enough() {
        use StoreObject::{Manifest, Pack};
        let mut needs = Needs {
            manifests: [(digest(1), true), (digest(2), false), (digest(3), false)].into(),
            packs: [(1, 11), (1, 12), (2, 12), (2, 13), (3, 14)]
                .map(|(m, p)| (digest(m), digest(p)))
                .into(),
            pending: [Pack(digest(15))].into(),
        };
        let objects: Vec<_> = [1, 2, 3, 4]
            .map(|n| Manifest(digest(n)))
            .into_iter()
            .chain([11, 12, 13, 14, 15, 16].map(|n| Pack(digest(n))))
            // The manifest 3 was written a moment ago, and so keeps its pack.
            .map(|object| stored(object, if object == Manifest(digest(3)) { 950 } else { 100 }))
            .collect();
        let grace = Duration::from_millis(100);
        let found = plan(&needs, &objects, 1_000, grace);
        let removed: Vec<_> = found.remove.iter().map(|r| (r.object, r.known)).collect();
        assert_eq!(
            removed,
            [
                (Manifest(digest(2)), true),
                (Manifest(digest(4)), false),
                (Pack(digest(13)), true),
                (Pack(digest(16)), false),
            ]
        );
        assert_eq!(found.young, [stored(Manifest(digest(3)), 950)]);
        assert!(found.missing.is_empty());
        // Work that reads the manifest 2 keeps it with its packs.
        needs.pending.insert(Manifest(digest(2)));
        let kept = plan(&needs, &objects, 1_000, grace);
        assert!(
            !kept
                .remove
                .iter()
                .any(|r| [Manifest(digest(2)), Pack(digest(13))].contains(&r.object))
        );
        // Later the rest goes, also what only the catalogue knows; what is needed and is not there is told.
        let left: Vec<_> = objects
            .iter()
            .copied()
            .filter(|s| s.object != Pack(digest(11)) && s.object != Manifest(digest(3)))
            .collect();
        let late = plan(&needs, &left, 10_000, grace);
        assert!(late.remove.contains(&Removal {
            object: Manifest(digest(3)),
            bytes: 0,
            known: true
        }));
        assert_eq!(late.missing, [Pack(digest(11))]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_needed_is_ever_proposed(
            live in proptest::collection::vec(any::<bool>(), 6),
            packs in proptest::collection::vec((0..6_u8, 0..10_u8), 0..30),
            pending in proptest::collection::hash_set((any::<bool>(), 0..10_u8), 0..6),
            objects in proptest::collection::hash_map((any::<bool>(), 0..10_u8), 0..2_000_i64, 0..20),
        ) {
            let object = |is_pack: bool, n: u8| {
                if is_pack { StoreObject::Pack(digest(n)) } else { StoreObject::Manifest(digest(n)) }
            };
            let needs = Needs {
                manifests: live.iter().enumerate().map(|(n, live)| (digest(n as u8), *live)).collect(),
                packs: packs.iter().map(|(m, p)| (digest(*m), digest(*p))).collect(),
                pending: pending.iter().map(|(is_pack, n)| object(*is_pack, *n)).collect(),
            };
            let objects: Vec<_> = objects.iter().map(|((is_pack, n), at)| stored(object(*is_pack, *n), *at)).collect();
            let plan = plan(&needs, &objects, 1_500, Duration::from_millis(500));
            let goes: HashSet<_> = plan.remove.iter().map(|r| r.object).collect();
            for removal in &plan.remove {
                prop_assert!(!needs.pending.contains(&removal.object));
                if let Some(found) = objects.iter().find(|s| s.object == removal.object) {
                    prop_assert!(found.written_at_ms <= 1_000);
                }
                match removal.object {
                    StoreObject::Manifest(digest) => prop_assert_ne!(needs.manifests.get(&digest), Some(&true)),
                    // Every manifest that stays has all its packs.
                    StoreObject::Pack(pack) => for (of, named) in &needs.packs {
                        prop_assert!(*named != pack || goes.contains(&StoreObject::Manifest(*of)));
                    },
                }
            }
            // And nothing that is not needed, and old, is left.
            for found in &objects {
                let needed = needs.pending.contains(&found.object) || match found.object {
                    StoreObject::Manifest(digest) => needs.manifests.get(&digest) == Some(&true),
                    StoreObject::Pack(pack) => needs.packs.iter()
                        .any(|(of, named)| *named == pack && !goes.contains(&StoreObject::Manifest(*of))),
                };
                prop_assert!(needed || found.written_at_ms > 1_000 || goes.contains(&found.object));
            }
        }
    }
}
