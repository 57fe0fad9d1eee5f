//! Changes of what is said of an image. Its content stays what it is.

use std::collections::BTreeMap;

use imprint_image::facts::Facts;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use utoipa::ToSchema;

use super::{
    BootMode, Catalog, CatalogError, Detected, Image, License, Price, Target,
    begin::put_tags,
    check_name, delete, find,
    insert::whole,
    spec,
    transitions::{own, put_expiry, ready, tell_with},
};
use crate::{events::Change, identity::Caller};

/// What is to change; what is left out stays. Null takes away what can be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageChange {
    /// Name, unique within the project.
    pub name: Option<String>,
    /// The family whose version it is.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub family: Option<Option<String>>,
    /// Which version of the family.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Option<String>>,
    /// What it is for: at most 1,024 characters.
    pub description: Option<String>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// All properties.
    pub properties: Option<BTreeMap<String, String>>,
    /// Where nothing was detected, or the same.
    pub os_distribution: Option<String>,
    /// Where nothing was detected, or the same.
    pub os_version: Option<String>,
    /// Where nothing was detected, or the same.
    pub architecture: Option<String>,
    /// How firmware may start it: ways that the content has.
    pub boot_modes: Option<Vec<BootMode>>,
    /// The smallest disk that it can be used on; 0: its own size.
    pub min_disk_bytes: Option<u64>,
    /// The least memory that a machine must have.
    pub min_memory_bytes: Option<u64>,
    /// On what terms it may be used.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<License>)]
    pub license: Option<Option<License>>,
    /// What its use costs.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Price>)]
    pub price: Option<Option<Price>>,
    /// It cannot be deleted.
    pub protected: Option<bool>,
    /// It is never the newest of its family.
    pub exclude_from_latest: Option<bool>,
    /// What machines it was made for.
    pub target: Option<Target>,
    /// When it deletes itself.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Option<Timestamp>>,
    /// `row_version` of the image that the change was made up from; another one refuses the change.
    pub row_version: Option<i64>,
}

/// Tells null from what was left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl ImageChange {
    /// The image as it is to be.
    fn applied_to(&self, image: &Image) -> Image {
        fn put<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        let mut next = image.clone();
        put(&mut next.name, &self.name);
        put(&mut next.family, &self.family);
        put(&mut next.version, &self.version);
        put(&mut next.description, &self.description);
        put(&mut next.tags, &self.tags);
        put(&mut next.properties, &self.properties);
        put(&mut next.os_distribution, &self.os_distribution);
        put(&mut next.os_version, &self.os_version);
        put(&mut next.architecture, &self.architecture);
        put(&mut next.boot_modes, &self.boot_modes);
        put(&mut next.min_disk_bytes, &self.min_disk_bytes);
        put(&mut next.min_memory_bytes, &self.min_memory_bytes);
        put(&mut next.license, &self.license);
        put(&mut next.price, &self.price);
        put(&mut next.protected, &self.protected);
        put(&mut next.exclude_from_latest, &self.exclude_from_latest);
        put(&mut next.target, &self.target);
        put(&mut next.expires_at, &self.expires_at);
        next.tags.sort();
        next.tags.dedup();
        // In a query or on a command line, nothing is an empty word.
        next.family = next.family.filter(|family| !family.is_empty());
        next.version = next.version.filter(|version| !version.is_empty());
        next
    }
}

impl Catalog {
    /// Changes what is said of an image.
    pub async fn update(
        &self,
        by: &Caller,
        image: &str,
        wanted: &ImageChange,
    ) -> Result<Image, CatalogError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = own(change.connection(), by, image).await?;
        ready(&image)?;
        if wanted
            .row_version
            .is_some_and(|version| version != image.row_version)
        {
            return Err(CatalogError::Changed { name: image.name });
        }
        let next = wanted.applied_to(&image);
        let differs = difference(&image, &next);
        if differs.is_empty() {
            return Ok(image);
        }
        check(&next)?;
        if next.name != image.name {
            self.refuse_taken(change.connection(), &image.project_id, &next.name)
                .await?;
        }
        if next.expires_at != image.expires_at {
            self.check_expiry(&next)?;
            put_expiry(change.connection(), &by.name, &image.id, next.expires_at).await?;
        }
        detected(change.connection(), &image).await?.agrees_with(&next)?;
        self.write(&mut change, &next).await?;
        let names: Vec<&str> = differs.iter().map(|(field, ..)| *field).collect();
        let message = format!("Image {} was changed: {}.", image.name, names.join(", "));
        let values: serde_json::Map<String, Value> = differs
            .iter()
            .map(|(field, before, after)| ((*field).to_owned(), json!([before, after])))
            .collect();
        tell_with(
            &mut change,
            "image.updated",
            &by.name,
            &image,
            message,
            json!({ "changed": values }),
        )
        .await?;
        let changed = find::get_in(change.connection(), &image.id).await?;
        change.commit().await?;
        changed.ok_or_else(|| CatalogError::gone(&image.id))
    }

    fn check_expiry(&self, next: &Image) -> Result<(), CatalogError> {
        match next.expires_at {
            None => delete::may_outlive(next),
            Some(at) if at <= self.clock.now() => Err(CatalogError::BadField {
                field: "expires_at",
                reason: format!("{at} is past; `imprint image delete` deletes at once"),
            }),
            Some(_) => Ok(()),
        }
    }

    async fn write(&self, change: &mut Change, next: &Image) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE images SET name = ?, family = ?, version = ?, description = ?, properties = ?, os_distribution = ?,
                 os_version = ?, architecture = ?, boot_modes = ?, min_disk_bytes = ?, min_memory_bytes = ?, license = ?,
                 price = ?, protected = ?, exclude_from_latest = ?, target = ?, updated_at = ?,
                 row_version = row_version + 1 WHERE id = ?",
        )
        .bind(&next.name)
        .bind(&next.family)
        .bind(&next.version)
        .bind(&next.description)
        .bind(json!(next.properties).to_string())
        .bind(&next.os_distribution)
        .bind(&next.os_version)
        .bind(&next.architecture)
        .bind(json!(next.boot_modes).to_string())
        .bind(whole(next.min_disk_bytes))
        .bind(whole(next.min_memory_bytes))
        .bind(next.license.as_ref().map(|license| json!(license).to_string()))
        .bind(next.price.as_ref().map(|price| json!(price).to_string()))
        .bind(next.protected)
        .bind(next.exclude_from_latest)
        .bind(next.target.as_str())
        .bind(self.clock.now_ms())
        .bind(&next.id)
        .execute(change.connection())
        .await?;
        put_tags(change.connection(), &next.id, &next.tags).await
    }
}

/// Refuses what cannot be kept.
fn check(next: &Image) -> Result<(), CatalogError> {
    check_name(&next.name)?;
    spec::check_label("family", next.family.as_deref())?;
    spec::check_label("version", next.version.as_deref())?;
    spec::check_description(&next.description)?;
    spec::check_tags(&next.tags)?;
    spec::check_properties(&next.properties)?;
    for (field, word) in [
        ("os_distribution", &next.os_distribution),
        ("os_version", &next.os_version),
        ("architecture", &next.architecture),
    ] {
        spec::check_word(field, word)?;
    }
    spec::check_bytes("min_disk_bytes", next.min_disk_bytes)?;
    spec::check_bytes("min_memory_bytes", next.min_memory_bytes)?;
    next.license.as_ref().map_or(Ok(()), spec::check_license)?;
    next.price.as_ref().map_or(Ok(()), spec::check_price)
}

/// The fields that differ, with their values before and after.
fn difference(before: &Image, after: &Image) -> Vec<(&'static str, Value, Value)> {
    let fields = |image: &Image| {
        [
            ("name", json!(image.name)),
            ("family", json!(image.family)),
            ("version", json!(image.version)),
            ("description", json!(image.description)),
            ("tags", json!(image.tags)),
            ("properties", json!(image.properties)),
            ("os_distribution", json!(image.os_distribution)),
            ("os_version", json!(image.os_version)),
            ("architecture", json!(image.architecture)),
            ("boot_modes", json!(image.boot_modes)),
            ("min_disk_bytes", json!(image.min_disk_bytes)),
            ("min_memory_bytes", json!(image.min_memory_bytes)),
            ("license", json!(image.license)),
            ("price", json!(image.price)),
            ("protected", json!(image.protected)),
            ("exclude_from_latest", json!(image.exclude_from_latest)),
            ("target", json!(image.target)),
            ("expires_at", json!(image.expires_at)),
        ]
    };
    fields(before)
        .into_iter()
        .zip(fields(after))
        .filter(|(before, after)| before.1 != after.1)
        .map(|((field, before), (_, after))| (field, before, after))
        .collect()
}

/// What the content of the first disk says; nothing when it was not looked at, or not in words of today.
async fn detected(connection: &mut SqliteConnection, image: &Image) -> Result<Detected, sqlx::Error> {
    let Some(disk) = image.disks.first() else {
        return Ok(Detected::default());
    };
    let facts: Option<String> = sqlx::query_scalar("SELECT facts FROM manifests WHERE manifest = ?")
        .bind(&disk.manifest)
        .fetch_optional(connection)
        .await?
        .flatten();
    let Some(facts) = facts else {
        return Ok(Detected::default());
    };
    match serde_json::from_str::<Facts>(&facts) {
        Ok(facts) => Ok(Detected::of(&facts)),
        Err(error) => {
            tracing::warn!(image.id = image.id, %error, "the facts of an image cannot be read");
            Ok(Detected::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_what_was_left_out() {
        let read = |text: &str| serde_json::from_str::<ImageChange>(text).unwrap();
        assert_eq!(read("{}"), ImageChange::default());
        assert_eq!(read(r#"{"family": null}"#).family, Some(None));
        assert_eq!(
            read(r#"{"family": "debian"}"#).family,
            Some(Some("debian".into()))
        );
        for unknown in [
            r#"{"image_digest": "00"}"#,
            r#"{"disks": []}"#,
            r#"{"kind": "iso"}"#,
        ] {
            assert!(serde_json::from_str::<ImageChange>(unknown).is_err(), "{unknown}");
        }
    }
}
