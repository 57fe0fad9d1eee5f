//! From the catalogue's images to what the engine takes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use imprint_hardware::matching::{FirmwareModes, ImageKind, ImageNeeds, ImageState, SeenBy, Target};
use imprint_image::facts::Facts;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{Matching, digest::FactsDigest, rules};
use crate::{
    catalog::{self, BootMode, Image, ImageDisk, Visibility},
    events::{DatabaseError, doing},
};

/// Facts that are kept in memory.
const MOST_DIGESTS: usize = 4096;
/// Manifests that are read at once.
const AT_ONCE: usize = 200;

impl Matching {
    /// What one disk of an image asks.
    pub(super) async fn needs_of(
        &self,
        image: &Image,
        disk: &ImageDisk,
    ) -> Result<ImageNeeds, DatabaseError> {
        let known = self.knowledge(&[(image, disk)]).await?;
        Ok(known.needs(image, disk))
    }

    /// What images ask by their system disks, or their only ones. An image without a disk is on its way.
    pub(super) async fn needs(&self, images: &[Image]) -> Result<Vec<ImageNeeds>, DatabaseError> {
        let pairs: Vec<(&Image, &ImageDisk)> = images
            .iter()
            .filter_map(|image| Some((image, main_disk(image)?)))
            .collect();
        let known = self.knowledge(&pairs).await?;
        let none = no_disk();
        Ok(images
            .iter()
            .map(|image| known.needs(image, main_disk(image).unwrap_or(&none)))
            .collect())
    }

    async fn knowledge(&self, pairs: &[(&Image, &ImageDisk)]) -> Result<Knowledge, DatabaseError> {
        let manifests: Vec<&str> = pairs.iter().map(|(_, disk)| disk.manifest.as_str()).collect();
        let digests = self.digests(&manifests).await?;
        let ids: Vec<&str> = pairs.iter().map(|(image, _)| image.id.as_str()).collect();
        let verified = self
            .by_image(
                "SELECT DISTINCT d.image_id AS image, n.hardware AS value FROM deployments AS d JOIN nodes AS n \
                 ON n.id = d.node_id WHERE d.state = 'succeeded' AND d.finish = 1 AND d.first_boot IS NOT NULL AND n.hardware <> '' AND d.image_id IN (",
                &ids,
            )
            .await?;
        let members = self
            .by_image(
                "SELECT image_id AS image, project_id AS value FROM image_members WHERE state = 'accepted' AND image_id IN (",
                &ids,
            )
            .await?;
        Ok(Knowledge {
            digests,
            verified,
            members,
        })
    }

    async fn by_image(
        &self,
        query: &str,
        ids: &[&str],
    ) -> Result<HashMap<String, Vec<String>>, DatabaseError> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for some in ids.chunks(AT_ONCE) {
            let mut sql = QueryBuilder::<Sqlite>::new(query);
            let mut list = sql.separated(", ");
            for id in some {
                list.push_bind((*id).to_owned());
            }
            sql.push(") ORDER BY 1, 2");
            let read = doing("read what is known of images");
            for row in sql.build().fetch_all(&self.db).await.map_err(read)? {
                let read = |column: &str| row.try_get::<String, _>(column);
                let pair = read("image").and_then(|image| Ok((image, read("value")?)));
                let (image, value) = pair.map_err(doing("read what is known of images"))?;
                found.entry(image).or_default().push(value);
            }
        }
        Ok(found)
    }

    /// What was read from each of these manifests.
    async fn digests(&self, manifests: &[&str]) -> Result<HashMap<String, Arc<FactsDigest>>, DatabaseError> {
        let mut found = HashMap::new();
        {
            let kept = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
            for manifest in manifests {
                if let Some(digest) = kept.get(*manifest) {
                    found.insert((*manifest).to_owned(), digest.clone());
                }
            }
        }
        let missing: HashSet<&str> = manifests
            .iter()
            .copied()
            .filter(|key| !found.contains_key(*key))
            .collect();
        let missing: Vec<&str> = missing.into_iter().collect();
        for some in missing.chunks(AT_ONCE) {
            let mut sql = QueryBuilder::<Sqlite>::new(
                "SELECT manifest, facts FROM manifests WHERE facts IS NOT NULL AND manifest IN (",
            );
            let mut list = sql.separated(", ");
            for key in some {
                list.push_bind((*key).to_owned());
            }
            sql.push(")");
            let rows: Vec<(String, String)> = sql
                .build_query_as()
                .fetch_all(&self.db)
                .await
                .map_err(doing("read facts of images"))?;
            for (manifest, text) in rows {
                // Facts of a later version of the controller are not understood: unknown.
                let facts = serde_json::from_str::<Facts>(&text);
                let digest = facts.map_or_else(|_| FactsDigest::unknown(), |facts| FactsDigest::of(&facts));
                let digest = Arc::new(digest);
                let mut kept = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() >= MOST_DIGESTS {
                    kept.clear();
                }
                kept.insert(manifest.clone(), digest.clone());
                found.insert(manifest, digest);
            }
        }
        Ok(found)
    }
}

/// What is kept of images in other tables.
struct Knowledge {
    digests: HashMap<String, Arc<FactsDigest>>,
    verified: HashMap<String, Vec<String>>,
    members: HashMap<String, Vec<String>>,
}

impl Knowledge {
    fn needs(&self, image: &Image, disk: &ImageDisk) -> ImageNeeds {
        let digest = self.digests.get(&disk.manifest).cloned();
        let digest = digest.unwrap_or_else(|| Arc::new(FactsDigest::unknown()));
        let modes = |mode| image.boot_modes.contains(&mode);
        let is_first = image.disks.first().is_none_or(|first| first.role == disk.role);
        let of_image = |map: &HashMap<String, Vec<String>>| map.get(&image.id).cloned().unwrap_or_default();
        ImageNeeds {
            id: image.id.clone(),
            name: image.name.clone(),
            family: image.family.clone(),
            version: image.version.clone(),
            project: image.project_id.clone(),
            seen_by: match image.visibility {
                Visibility::Public | Visibility::Community | Visibility::Marketplace => SeenBy::Everyone,
                Visibility::Private => SeenBy::Projects(vec![image.project_id.clone()]),
                Visibility::Shared => {
                    let mut projects = of_image(&self.members);
                    projects.push(image.project_id.clone());
                    SeenBy::Projects(projects)
                }
            },
            visibility: image.visibility.to_string(),
            kind: kind(image, disk),
            target: match image.target {
                catalog::Target::Baremetal => Target::Baremetal,
                catalog::Target::Vm => Target::Vm,
                catalog::Target::Any => Target::Any,
            },
            state: state(image.state),
            state_shown: image.state.to_string(),
            exclude_from_latest: image.exclude_from_latest,
            region: image.region.clone(),
            architecture: architecture(&image.architecture),
            firmware: (!image.boot_modes.is_empty()).then(|| FirmwareModes {
                uefi: modes(BootMode::Uefi),
                bios: modes(BootMode::Bios),
            }),
            signed_loader: digest.signed_loader,
            disk_bytes: disk.disk_size_bytes,
            disks: u32::try_from(image.disks.len()).unwrap_or(u32::MAX),
            sector_bytes: disk.logical_sector_bytes,
            // What its owner says of the smallest disk is meant for the disk that the system is on.
            min_disk_bytes: if is_first { image.min_disk_bytes } else { 0 },
            min_memory_bytes: image.min_memory_bytes,
            drivers: digest.drivers.clone(),
            kernel_arguments: digest.kernel_arguments.clone(),
            cloud_init: digest.cloud_init,
            guest_plugin: digest.guest_plugin,
            source_model: image.source_model.clone(),
            verified_on: of_image(&self.verified),
            certified_for: image.certified_for.clone(),
            rules: rules::rules(|key| image.properties.get(key).cloned()),
            price: image
                .price
                .as_ref()
                .map(|price| format!("{} {} per {}", price.amount, price.currency, price.per)),
        }
    }
}

/// As kernels call it: others write `amd64` and `arm64`.
fn architecture(text: &str) -> String {
    match text.trim().to_ascii_lowercase().as_str() {
        "amd64" | "x86-64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

fn main_disk(image: &Image) -> Option<&ImageDisk> {
    image
        .disks
        .iter()
        .find(|disk| disk.role == "system")
        .or_else(|| image.disks.first())
}

fn no_disk() -> ImageDisk {
    ImageDisk {
        role: String::new(),
        manifest: String::new(),
        image_digest: String::new(),
        disk_size_bytes: 0,
        data_bytes: 0,
        stored_bytes: 0,
        logical_sector_bytes: 0,
        encrypted: false,
        manifest_digest: String::new(),
    }
}

/// A data disk of a full machine is a data disk.
fn kind(image: &Image, disk: &ImageDisk) -> ImageKind {
    match image.kind {
        catalog::ImageKind::SystemDisk => ImageKind::SystemDisk,
        catalog::ImageKind::DataDisk => ImageKind::DataDisk,
        catalog::ImageKind::Iso => ImageKind::Iso,
        catalog::ImageKind::FullMachine if disk.role == "system" => ImageKind::FullMachine,
        catalog::ImageKind::FullMachine => ImageKind::DataDisk,
    }
}

fn state(state: catalog::ImageState) -> ImageState {
    match state {
        catalog::ImageState::Active => ImageState::Active,
        catalog::ImageState::Deprecated => ImageState::Deprecated,
        catalog::ImageState::Queued | catalog::ImageState::Importing => ImageState::Unfinished,
        catalog::ImageState::Deactivated
        | catalog::ImageState::Obsolete
        | catalog::ImageState::Deleted
        | catalog::ImageState::Failed => ImageState::Withdrawn,
    }
}
