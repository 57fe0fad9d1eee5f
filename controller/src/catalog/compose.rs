//! Full-machine images of images that are there: their disks under one name, each with a role.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Catalog, CatalogError, Image, ImageSpec, NewImage, find,
    insert::whole,
    quota::bytes_new_to,
    spec::check_label,
    transitions::tell_with,
    usage,
    words::{ImageKind, ImageState, Source, Visibility},
};
use crate::identity::Caller;

const MAX_DISKS: usize = 64;
/// The role of the disk that the machine starts from.
pub(super) const SYSTEM: &str = "system";

/// A disk of a full machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Id or name of an image with one disk.
    pub image: String,
    /// `system` for the disk to start from, else a name of its own: "data", "logs".
    pub role: String,
}

/// A full-machine image to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct ComposeRequest {
    /// What it is to be.
    #[serde(flatten)]
    pub spec: ImageSpec,
    /// Its disks; exactly one is the system.
    pub disks: Vec<Part>,
}

impl Catalog {
    /// Makes a full-machine image. Nothing is copied: it shares the content, and keeps it when the other images go.
    pub async fn compose(
        &self,
        by: &Caller,
        request: &ComposeRequest,
        key: Option<&str>,
    ) -> Result<Image, CatalogError> {
        let mut spec = request.spec.clone();
        if spec.kind.is_some_and(|kind| kind != ImageKind::FullMachine) {
            return Err(CatalogError::BadField {
                field: "kind",
                reason: "what is composed is a full-machine image".to_owned(),
            });
        }
        if spec.visibility.is_some_and(|seen| seen != Visibility::Private) {
            return Err(CatalogError::BadField {
                field: "visibility",
                reason: "what is composed is private; publish it then".to_owned(),
            });
        }
        spec.kind = Some(ImageKind::FullMachine);
        check_roles(&request.disks)?;
        if let Some(key) = key
            && let Some(made) = self.made_by(&by.project_id, key).await?
        {
            return if made.name == spec.name && made.source == Source::Compose {
                Ok(made)
            } else {
                Err(CatalogError::KeyReused { name: made.name })
            };
        }
        let mut change = self.events.begin_by(by.author()).await?;
        let mut parts = Vec::new();
        for part in &request.disks {
            let image = find::find_in(change.connection(), &by.viewer(), &part.image).await?;
            fits(&image, by)?;
            parts.push((part.role.as_str(), image));
        }
        parts.sort_by_key(|(role, _)| *role != SYSTEM);
        let system = &parts[0].1;
        let region = spec.region.get_or_insert_with(|| system.region.clone()).clone();
        if let Some((_, other)) = parts.iter().find(|(_, image)| image.region != region) {
            return Err(CatalogError::Compose {
                image: other.name.clone(),
                reason: format!(
                    "it belongs to region {}, and the new image to {region}",
                    other.region
                ),
            });
        }
        let text = |own: &mut Option<String>, of: &str| {
            if own.is_none() && !of.is_empty() {
                *own = Some(of.to_owned());
            }
        };
        text(&mut spec.os_distribution, &system.os_distribution);
        text(&mut spec.os_version, &system.os_version);
        text(&mut spec.architecture, &system.architecture);
        text(&mut spec.source_model, &system.source_model);
        if spec.boot_modes.is_empty() {
            spec.boot_modes.clone_from(&system.boot_modes);
        }
        spec.target.get_or_insert(system.target);
        spec.min_memory_bytes.get_or_insert(system.min_memory_bytes);
        spec.min_disk_bytes.get_or_insert(system.min_disk_bytes);
        spec.parent = Some(spec.parent.unwrap_or_else(|| system.id.clone()));
        let sources: Vec<String> = parts
            .iter()
            .map(|(role, image)| format!("{role}={}", image.id))
            .collect();
        let new = NewImage {
            spec: &spec,
            by,
            source: Source::Compose,
            source_reference: &sources.join(","),
            idempotency_key: key,
        };
        let begun = self
            .begin_image_in(change.connection(), &new, ImageState::Importing)
            .await?;
        for ((role, image), position) in parts.iter().zip(0_i64..) {
            sqlx::query("INSERT INTO image_disks (image_id, position, role, manifest) VALUES (?, ?, ?, ?)")
                .bind(&begun.id)
                .bind(position)
                .bind(role)
                .bind(&image.disks[0].manifest)
                .execute(change.connection())
                .await?;
        }
        let sum = |bytes: fn(&Image) -> u64| whole(parts.iter().map(|(_, image)| bytes(image)).sum());
        sqlx::query(
            "UPDATE images SET state = 'active', source_format = 'images', disk_size_bytes = ?, data_bytes = ?,
                 stored_bytes = ?, encrypted = ? WHERE id = ?",
        )
        .bind(sum(|image| image.disk_size_bytes))
        .bind(sum(|image| image.data_bytes))
        .bind(sum(|image| image.stored_bytes))
        .bind(parts.iter().any(|(_, image)| image.encrypted))
        .bind(&begun.id)
        .execute(change.connection())
        .await?;
        // Its disks count for the project from now on, unless other images of the project have them.
        let manifests: Vec<&str> = parts
            .iter()
            .map(|(_, image)| image.disks[0].manifest.as_str())
            .collect();
        let (project, creator) = (&begun.project_id, &begun.created_by);
        let bytes = bytes_new_to(change.connection(), project, &begun.id, &manifests).await?;
        self.check_quota(change.connection(), project, creator, &begun.id, 1, bytes)
            .await?;
        usage::settle(change.connection(), self.clock.now_ms(), &begun.id).await?;
        let message = format!("Image {} was composed of {} images.", begun.name, parts.len());
        let details = json!({ "disks": sources });
        tell_with(&mut change, "image.composed", &by.name, &begun, message, details).await?;
        let image = find::get_in(change.connection(), &begun.id).await?;
        change.commit().await?;
        image.ok_or_else(|| CatalogError::gone(&begun.id))
    }
}

fn check_roles(parts: &[Part]) -> Result<(), CatalogError> {
    let bad = |reason: String| {
        Err(CatalogError::BadField {
            field: "disks",
            reason,
        })
    };
    if !(2..=MAX_DISKS).contains(&parts.len()) {
        return bad(format!(
            "there are {}, and a full machine has 2 to {MAX_DISKS}",
            parts.len()
        ));
    }
    let mut seen = HashSet::new();
    for part in parts {
        check_label("disks", Some(&part.role))?;
        if part.role.contains(['=', ',', ' ']) {
            return bad(format!("the role `{}` is not one word", part.role));
        }
        if !seen.insert(part.role.as_str()) {
            return bad(format!("the role `{}` is there twice", part.role));
        }
    }
    if seen.contains(SYSTEM) {
        Ok(())
    } else {
        bad(format!("none has the role `{SYSTEM}`"))
    }
}

/// Refuses an image that cannot be a disk of another one.
fn fits(image: &Image, by: &Caller) -> Result<(), CatalogError> {
    let reason = if !matches!(image.state, ImageState::Active | ImageState::Deprecated) {
        format!("it is {}", image.state)
    } else if matches!(image.kind, ImageKind::Iso | ImageKind::FullMachine) || image.disks.len() != 1 {
        format!("it is a {} image, and not one disk", image.kind)
    } else if image.encrypted && image.project_id != by.project_id {
        "it is encrypted for another project".to_owned()
    } else if image.visibility == Visibility::Marketplace && image.project_id != by.project_id {
        // Its terms and its price would be lost.
        "it is another project's offer in the marketplace".to_owned()
    } else {
        return Ok(());
    };
    Err(CatalogError::Compose {
        image: image.name.clone(),
        reason,
    })
}
