//! Images that everybody sees: public ones of the platform, those of the community that nobody vouches for, and those of
//! the marketplace on the terms of their publishers.

use imprint_image::{MAX_MANIFEST_BYTES, PublicKey, SignedManifest};
use serde::Deserialize;
use serde_json::json;
use sqlx::{Row, SqliteConnection};
use utoipa::ToSchema;

use super::{
    Catalog, CatalogError, Findings, Image, ImageDisk, ImageState, License, Price, PricePer, Visibility,
    find,
    parties::owned,
    publish_gate::{Evidence, against},
    spec::{check_license, check_models, check_price, check_text},
    terms::TermsError,
    transitions::tell_with,
};
use crate::{
    identity::{Caller, Permission},
    store::{Store, StoreObject},
};

const MAX_WORD_CHARS: usize = 128;

/// How an image is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// public (administrators only), community or marketplace.
    pub to: Visibility,
    /// Who publishes it; needed in the marketplace.
    #[serde(default)]
    pub publisher: Option<String>,
    /// Models of servers that it was tried on; a public image needs one. What is left out stays.
    #[serde(default)]
    pub certified_for: Option<Vec<String>>,
    /// What each use costs; the marketplace needs this or `free`. What is left out stays.
    #[serde(default)]
    pub price: Option<Price>,
    /// It costs nothing.
    #[serde(default)]
    pub free: bool,
    /// On what terms it may be used; needed in the marketplace. What is left out stays.
    #[serde(default)]
    pub license: Option<License>,
}

impl PublishRequest {
    fn check(&self) -> Result<(), CatalogError> {
        let bad = |field, reason: &str| {
            Err(CatalogError::BadField {
                field,
                reason: reason.to_owned(),
            })
        };
        if !is_published(self.to) {
            return bad("to", "an image is published as public, community or marketplace");
        }
        if self.free && self.price.is_some() {
            return bad("price", "what is free has no price");
        }
        check_text(
            "publisher",
            self.publisher.as_deref().unwrap_or_default(),
            MAX_WORD_CHARS,
        )?;
        check_models(self.certified_for.as_deref().unwrap_or_default())?;
        self.license.as_ref().map_or(Ok(()), check_license)?;
        self.price.as_ref().map_or(Ok(()), check_price)
    }

    /// The image with the terms that it is to have.
    fn applied_to(&self, image: &Image) -> Image {
        let mut next = image.clone();
        if let Some(publisher) = &self.publisher {
            publisher.trim().clone_into(&mut next.publisher);
        }
        if let Some(models) = &self.certified_for {
            next.certified_for = models.iter().map(|model| model.trim().to_owned()).collect();
        }
        if self.free {
            next.price = Some(Price {
                amount: "0".to_owned(),
                // What ISO 4217 has for no currency.
                currency: "XXX".to_owned(),
                per: PricePer::Deployment,
            });
        } else if let Some(price) = &self.price {
            next.price = Some(price.clone());
        }
        if let Some(license) = &self.license {
            next.license = Some(license.clone());
        }
        next
    }
}

/// Whether everybody sees it.
pub(super) fn is_published(visibility: Visibility) -> bool {
    matches!(
        visibility,
        Visibility::Public | Visibility::Community | Visibility::Marketplace
    )
}

/// What vouches for the manifests of images.
#[derive(Debug, Clone, Copy)]
pub struct Proofs<'a> {
    /// Where they are.
    pub store: &'a Store,
    /// Whose signatures count.
    pub keys: &'a [PublicKey],
}

/// Whether an image whose content has just come, and is signed by this controller, can become what it is to be; else
/// everything that is in the way, as [`Catalog::publish`] would say it.
pub(crate) fn fit_at_once(
    begun: &Image,
    role: &str,
    encrypted: bool,
    findings: Option<&Findings>,
) -> Result<(), TermsError> {
    if !is_published(begun.visibility) {
        return Ok(());
    }
    let image = Image {
        state: ImageState::Active,
        visibility: Visibility::Private,
        encrypted,
        ..begun.clone()
    };
    let evidence = Evidence {
        role: role.to_owned(),
        facts: findings.and_then(|found| serde_json::from_value(found.facts.clone()).ok()),
        lint: findings.and_then(|found| serde_json::from_value(found.lint.clone()).ok()),
        signature: Ok(()),
    };
    fit(&image, begun.visibility, &[evidence])
}

fn fit(image: &Image, wanted: Visibility, disks: &[Evidence]) -> Result<(), TermsError> {
    let reasons = against(image, wanted, disks);
    if reasons.is_empty() {
        return Ok(());
    }
    let (reasons, remedies) = reasons.into_iter().map(|r| (r.what, r.remedy)).unzip();
    Err(TermsError::NotFit {
        name: image.name.clone(),
        wanted,
        reasons,
        remedies,
    })
}

impl Catalog {
    /// Publishes an image, or says everything that is in the way. Publishing it again changes its terms.
    pub async fn publish(
        &self,
        by: &Caller,
        image: &str,
        wanted: &PublishRequest,
        proofs: Proofs<'_>,
    ) -> Result<Image, TermsError> {
        wanted.check()?;
        // Manifests never change: what is proven before the transaction holds in it.
        let mut connection = self.db.acquire().await?;
        let seen = owned(&mut connection, by, image).await?;
        drop(connection);
        may_publish(by, wanted.to)?;
        let mut signatures = Vec::new();
        for disk in &seen.disks {
            signatures.push((disk.manifest.clone(), proven(disk, proofs).await));
        }

        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, &seen.id).await?;
        let next = wanted.applied_to(&image);
        let mut disks = Vec::new();
        for disk in &image.disks {
            let signature = signatures
                .iter()
                .find(|(manifest, _)| *manifest == disk.manifest)
                .map_or_else(
                    || Err("it has changed just now".to_owned()),
                    |(_, proof)| proof.clone(),
                );
            disks.push(evidence(change.connection(), disk, signature).await?);
        }
        fit(&next, wanted.to, &disks)?;
        sqlx::query(
            "UPDATE images SET visibility = ?, publisher = ?, certified_for = ?, price = ?, license = ?, updated_at = ?,
                 row_version = row_version + 1 WHERE id = ?",
        )
        .bind(wanted.to.as_str())
        .bind(&next.publisher)
        .bind(json!(next.certified_for).to_string())
        .bind(next.price.as_ref().map(|price| json!(price).to_string()))
        .bind(next.license.as_ref().map(|license| json!(license).to_string()))
        .bind(self.clock.now_ms())
        .bind(&image.id)
        .execute(change.connection())
        .await?;
        let message = format!("Image {} was published ({}).", image.name, wanted.to);
        let details = json!({ "visibility": wanted.to, "publisher": next.publisher, "price": next.price,
            "certified_for": next.certified_for });
        tell_with(&mut change, "image.published", &by.name, &image, message, details).await?;
        let published = find::get_in(change.connection(), &image.id).await?;
        change.commit().await?;
        published.ok_or_else(|| CatalogError::gone(&image.id).into())
    }

    /// Makes a published image private again. Deployments that run go on, and nobody else begins new ones.
    pub async fn unpublish(&self, by: &Caller, image: &str) -> Result<Image, TermsError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, image).await?;
        if !is_published(image.visibility) {
            return Err(TermsError::NotPublished {
                name: image.name,
                visibility: image.visibility,
            });
        }
        may_publish(by, image.visibility)?;
        sqlx::query(
            "UPDATE images SET visibility = 'private', updated_at = ?, row_version = row_version + 1 WHERE id = ?",
        )
        .bind(self.clock.now_ms())
        .bind(&image.id)
        .execute(change.connection())
        .await?;
        let message = format!("Image {} is no longer published.", image.name);
        let details = json!({ "visibility": image.visibility });
        tell_with(
            &mut change,
            "image.unpublished",
            &by.name,
            &image,
            message,
            details,
        )
        .await?;
        let private = find::get_in(change.connection(), &image.id).await?;
        change.commit().await?;
        private.ok_or_else(|| CatalogError::gone(&image.id).into())
    }
}

fn may_publish(by: &Caller, to: Visibility) -> Result<(), TermsError> {
    if to == Visibility::Public && !by.may(Permission::PublishImages) {
        return Err(TermsError::NotAdmin);
    }
    Ok(())
}

/// Whether the manifest in the store is signed by somebody who counts, and is that of the disk. An encrypted one is not
/// opened: that it is encrypted is reason enough.
async fn proven(disk: &ImageDisk, proofs: Proofs<'_>) -> Result<(), String> {
    if disk.encrypted {
        return Ok(());
    }
    let object = StoreObject::from_key(&format!("manifests/{}", disk.manifest))
        .ok_or_else(|| "its name is none".to_owned())?;
    let bytes = proofs
        .store
        .get(&object, MAX_MANIFEST_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    let manifest = SignedManifest::open(&bytes, proofs.keys).map_err(|error| error.to_string())?;
    if manifest.image_digest.to_string() == disk.image_digest {
        Ok(())
    } else {
        Err("it is the manifest of another disk".to_owned())
    }
}

async fn evidence(
    connection: &mut SqliteConnection,
    disk: &ImageDisk,
    signature: Result<(), String>,
) -> Result<Evidence, sqlx::Error> {
    let row = sqlx::query("SELECT facts, lint FROM manifests WHERE manifest = ?")
        .bind(&disk.manifest)
        .fetch_one(connection)
        .await?;
    let (facts, lint): (Option<String>, Option<String>) = (row.try_get("facts")?, row.try_get("lint")?);
    // What another version wrote and this one cannot read was not looked at.
    Ok(Evidence {
        role: disk.role.clone(),
        facts: facts.and_then(|text| serde_json::from_str(&text).ok()),
        lint: lint.and_then(|text| serde_json::from_str(&text).ok()),
        signature,
    })
}
