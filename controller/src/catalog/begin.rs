//! The life of an image's row while its content is on the way: it is there at once, so that its name is taken and
//! everybody sees what happens; it becomes active, or it goes.

use imprint_image::Manifest;
use serde_json::json;
use sqlx::{Row, SqliteConnection};
use ulid::Ulid;

use super::{
    Catalog, CatalogError, Detected, Findings, Image, ImageSpec, find,
    insert::{insert_packs, whole},
    transitions::put_expiry,
    usage,
    words::{ImageKind, ImageState, Source, Target, Visibility},
};
use crate::identity::{Caller, PLATFORM, Role, WrappedKey};

/// An image whose content is still to come.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// What it is to be.
    pub spec: &'a ImageSpec,
    /// Who makes it; it belongs to the project that this caller acts for.
    pub by: &'a Caller,
    /// How it comes to be.
    pub source: Source,
    /// Where it comes from, without secrets.
    pub source_reference: &'a str,
    /// Of the request.
    pub idempotency_key: Option<&'a str>,
}

/// What an import made of one disk.
#[derive(Debug)]
pub struct NewDisk<'a> {
    /// `system`, `data`, or a name of its own.
    pub role: &'a str,
    /// The manifest, as signed.
    pub manifest: &'a Manifest,
    /// Its name in the store.
    pub key: String,
    /// BLAKE3 of the manifest without its signatures, hex.
    pub manifest_digest: String,
    /// Whether the store got this manifest and its packs for this image. Otherwise an image with the same content had
    /// them before, and they stay as they are.
    pub fresh: bool,
    /// Its data key, wrapped for `key`, if it is encrypted. Its chunks are then entered nowhere: nobody else's are
    /// compared with them.
    pub wrapped_key: Option<WrappedKey>,
    /// What was read from it.
    pub findings: Option<&'a Findings>,
}

/// The content of an image, all in the store.
#[derive(Debug)]
pub struct Finished<'a> {
    /// The image.
    pub image_id: &'a str,
    /// Whose objects are no longer pending.
    pub import_id: &'a str,
    /// What was imported: "raw", "qcow2", …
    pub source_format: &'a str,
    /// Its disks; a system disk comes first.
    pub disks: &'a [NewDisk<'a>],
}

/// An image whose import ended with the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project that it was to belong to.
    pub project_id: String,
}

impl Catalog {
    /// Enters an image whose content is still to come: `queued`, or `importing` at once.
    pub async fn begin_image(&self, new: &NewImage<'_>, state: ImageState) -> Result<Image, CatalogError> {
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let image = self.begin_image_in(&mut tx, new, state).await?;
        tx.commit().await?;
        Ok(image)
    }

    /// As [`Catalog::begin_image`], in a transaction that does more.
    pub async fn begin_image_in(
        &self,
        connection: &mut SqliteConnection,
        new: &NewImage<'_>,
        state: ImageState,
    ) -> Result<Image, CatalogError> {
        let spec = new.spec;
        spec.check()?;
        let visibility = allowed_visibility(new)?;
        let parent = match spec.parent.as_deref().filter(|parent| !parent.is_empty()) {
            Some(parent) => Some(find::find_in(connection, &new.by.viewer(), parent).await?.id),
            None => None,
        };
        self.refuse_taken(connection, &new.by.project_id, &spec.name)
            .await?;
        let id = Ulid::generate().to_string();
        let now = self.clock.now_ms();
        sqlx::query(
            "INSERT INTO images (id, project_id, created_by, name, family, version, description, kind, visibility, state,
                 exclude_from_latest, protected, region, source, source_reference, source_format, parent_id, source_model,
                 target, os_distribution, os_version, architecture, boot_modes, min_disk_bytes, min_memory_bytes, license,
                 price, certified_for, properties, created_at, updated_at, idempotency_key)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(&new.by.project_id)
        .bind(&new.by.name)
        .bind(&spec.name)
        .bind(&spec.family)
        .bind(&spec.version)
        .bind(spec.description.as_deref().unwrap_or_default())
        .bind(spec.kind.unwrap_or(ImageKind::SystemDisk).as_str())
        .bind(visibility.as_str())
        .bind(state.as_str())
        .bind(spec.exclude_from_latest.unwrap_or(false))
        .bind(spec.protected.unwrap_or(false))
        .bind(spec.region.as_deref().unwrap_or(&self.region))
        .bind(new.source.as_str())
        .bind(new.source_reference)
        .bind(parent)
        .bind(spec.source_model.as_deref().unwrap_or_default())
        .bind(spec.target.unwrap_or(Target::Baremetal).as_str())
        .bind(spec.os_distribution.as_deref().unwrap_or_default())
        .bind(spec.os_version.as_deref().unwrap_or_default())
        .bind(spec.architecture.as_deref().unwrap_or_default())
        .bind(json!(spec.boot_modes).to_string())
        .bind(whole(spec.min_disk_bytes.unwrap_or(0)))
        .bind(whole(spec.min_memory_bytes.unwrap_or(0)))
        .bind(spec.license.as_ref().map(|license| json!(license).to_string()))
        .bind(spec.price.as_ref().map(|price| json!(price).to_string()))
        .bind(json!(spec.certified_for).to_string())
        .bind(json!(spec.properties).to_string())
        .bind(now)
        .bind(now)
        .bind(new.idempotency_key)
        .execute(&mut *connection)
        .await?;
        put_tags(connection, &id, &spec.tags).await?;
        Ok(find::get_in(connection, &id)
            .await?
            .expect("the row was inserted in this transaction"))
    }

    /// The content is on the way now.
    pub async fn start_image(&self, image_id: &str) -> Result<(), CatalogError> {
        sqlx::query("UPDATE images SET state = 'importing' WHERE id = ? AND state = 'queued'")
            .bind(image_id)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Enters the content of an image, which is active from then on.
    pub async fn finish_image(&self, done: &Finished<'_>) -> Result<Image, CatalogError> {
        let begun = self
            .get(done.image_id)
            .await?
            .ok_or_else(|| CatalogError::gone(done.image_id))?;
        let detected = agree(&begun, done.disks)?;
        let is_shown = |disk: &&NewDisk<'_>| disk.fresh && disk.wrapped_key.is_none();
        for disk in done.disks.iter().filter(is_shown) {
            self.insert_chunks(&begun.project_id, disk.manifest).await?;
        }
        let now = self.clock.now_ms();
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let sum = |bytes: fn(&Manifest) -> u64| -> i64 {
            whole(done.disks.iter().map(|disk| bytes(disk.manifest)).sum())
        };
        let changed = sqlx::query(
            "UPDATE images SET state = 'active', source_format = ?, disk_size_bytes = ?, data_bytes = ?, stored_bytes = ?,
                 os_distribution = ?, os_version = ?, architecture = ?, boot_modes = ?, encrypted = ?, updated_at = ?
             WHERE id = ? AND state IN ('queued', 'importing')",
        )
        .bind(done.source_format)
        .bind(sum(|manifest| manifest.disk_size_bytes))
        .bind(sum(Manifest::data_bytes))
        .bind(sum(Manifest::fetch_bytes))
        .bind(detected.os_distribution.unwrap_or(begun.os_distribution))
        .bind(detected.os_version.unwrap_or(begun.os_version))
        .bind(detected.architecture.unwrap_or(begun.architecture))
        .bind(json!(detected.boot_modes.unwrap_or(begun.boot_modes)).to_string())
        .bind(done.disks.iter().any(|disk| disk.wrapped_key.is_some()))
        .bind(now)
        .bind(done.image_id)
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(CatalogError::gone(done.image_id));
        }
        for (disk, position) in done.disks.iter().zip(0_i64..) {
            insert_manifest(&mut tx, disk, now).await?;
            sqlx::query("INSERT INTO image_disks (image_id, position, role, manifest) VALUES (?, ?, ?, ?)")
                .bind(done.image_id)
                .bind(position)
                .bind(disk.role)
                .bind(&disk.key)
                .execute(&mut *tx)
                .await?;
        }
        if begun.kind == ImageKind::Iso && begun.expires_at.is_none() {
            let at = self.clock.now() + self.iso_life;
            put_expiry(&mut tx, &begun.created_by, &begun.id, Some(at)).await?;
        }
        if done.disks.iter().any(|disk| disk.fresh) {
            sqlx::query("DELETE FROM pending_objects WHERE import_id = ?")
                .bind(done.import_id)
                .execute(&mut *tx)
                .await?;
        }
        usage::settle(&mut tx, now, done.image_id).await?;
        let image = find::get_in(&mut tx, done.image_id).await?;
        tx.commit().await?;
        image.ok_or_else(|| CatalogError::gone(done.image_id))
    }

    /// Takes an image away whose content will not come. Its name is free again.
    pub async fn abandon_image(&self, image_id: &str) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM images WHERE id = ? AND state IN ('queued', 'importing')")
            .bind(image_id)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Takes all images away whose imports ended with the controller. Called before anything is served.
    pub async fn abandon_unfinished(&self) -> Result<Vec<Abandoned>, CatalogError> {
        let rows = sqlx::query(
            "DELETE FROM images WHERE state IN ('queued', 'importing') RETURNING id, name, project_id",
        )
        .fetch_all(&self.db)
        .await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Abandoned {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                project_id: row.try_get("project_id")?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The image that an earlier request of the project with this key made.
    pub(crate) async fn made_by(
        &self,
        project_id: &str,
        idempotency_key: &str,
    ) -> Result<Option<Image>, CatalogError> {
        let mut connection = self.db.acquire().await?;
        let id: Option<String> =
            sqlx::query_scalar("SELECT id FROM images WHERE project_id = ? AND idempotency_key = ?")
                .bind(project_id)
                .bind(idempotency_key)
                .fetch_optional(&mut *connection)
                .await?;
        match id {
            Some(id) => Ok(find::get_in(&mut connection, &id).await?),
            None => Ok(None),
        }
    }

    /// Refuses a name that the project has given to another image.
    pub(super) async fn refuse_taken(
        &self,
        connection: &mut SqliteConnection,
        project_id: &str,
        name: &str,
    ) -> Result<(), CatalogError> {
        let state: Option<String> = sqlx::query_scalar(
            "SELECT state FROM images WHERE project_id = ? AND name = ? AND state <> 'deleted'",
        )
        .bind(project_id)
        .bind(name)
        .fetch_optional(connection)
        .await?;
        let name = name.to_owned();
        match state.as_deref().map(str::parse) {
            None => Ok(()),
            Some(Ok(ImageState::Queued | ImageState::Importing)) => Err(CatalogError::Importing { name }),
            Some(_) => Err(CatalogError::NameTaken { name }),
        }
    }
}

/// Only the platform's administrators make an image that others see from the beginning.
fn allowed_visibility(new: &NewImage<'_>) -> Result<Visibility, CatalogError> {
    let wanted = new.spec.visibility.unwrap_or(Visibility::Private);
    let publisher = new.by.role == Role::Admin && new.by.project_id == PLATFORM;
    match wanted {
        Visibility::Private => Ok(wanted),
        Visibility::Public | Visibility::Community if publisher => Ok(wanted),
        Visibility::Public | Visibility::Community | Visibility::Shared | Visibility::Marketplace => {
            Err(CatalogError::BadField {
                field: "visibility",
                reason: format!(
                    "a new image cannot be {wanted}; make it private, and share or publish it then"
                ),
            })
        }
    }
}

/// What was detected beats what was declared; where both are known they must agree.
fn agree(declared: &Image, disks: &[NewDisk<'_>]) -> Result<Detected, CatalogError> {
    let detected = disks
        .first()
        .and_then(|disk| disk.findings)
        .map_or_else(Detected::default, |findings| findings.system.clone());
    detected.agrees_with(declared)?;
    Ok(detected)
}

/// Replaces the tags of an image.
pub(super) async fn put_tags(
    connection: &mut SqliteConnection,
    image_id: &str,
    tags: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM image_tags WHERE image_id = ?")
        .bind(image_id)
        .execute(&mut *connection)
        .await?;
    for tag in tags {
        sqlx::query("INSERT INTO image_tags (image_id, tag) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(image_id)
            .bind(tag)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn insert_manifest(
    connection: &mut SqliteConnection,
    disk: &NewDisk<'_>,
    now: i64,
) -> Result<(), sqlx::Error> {
    let manifest = disk.manifest;
    sqlx::query(
        "INSERT INTO manifests (manifest, manifest_digest, image_digest, disk_size_bytes, data_bytes, stored_bytes,
             logical_sector_bytes, wrapped_key, wrapped_by, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (manifest) DO NOTHING",
    )
    .bind(&disk.key)
    .bind(&disk.manifest_digest)
    .bind(manifest.image_digest.to_string())
    .bind(whole(manifest.disk_size_bytes))
    .bind(whole(manifest.data_bytes()))
    .bind(whole(manifest.fetch_bytes()))
    .bind(manifest.logical_sector_bytes)
    .bind(disk.wrapped_key.as_ref().map(|wrapped| wrapped.bytes.as_slice()))
    .bind(disk.wrapped_key.as_ref().map(|wrapped| wrapped.by.as_str()))
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if disk.fresh {
        insert_packs(connection, &disk.key, manifest).await?;
    }
    match disk.findings {
        Some(findings) => findings.insert(connection, &disk.key).await,
        None => Ok(()),
    }
}
