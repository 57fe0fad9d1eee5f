//! What the catalogue refuses.

use super::{ImageState, QuotaExceeded};
use crate::events::DatabaseError;

/// What the catalogue refuses.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is no such image.
    #[error("there is no image `{wanted}`")]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// Known names like it.
        near: Vec<String>,
        /// Whether there is any image at all.
        any: bool,
    },
    /// Another image has the name.
    #[error("there is an image named `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be one.
    #[error("the name of the image cannot be used: {reason}")]
    BadName {
        /// Why.
        reason: String,
    },
    /// The name is taken by an image whose import still runs.
    #[error("an import with the name `{name}` is running")]
    Importing {
        /// The name.
        name: String,
    },
    /// The name means several images.
    #[error("`{name}` means several images: {}", ids.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// There is no such family.
    #[error("there is no family `{family}`")]
    FamilyNotFound {
        /// What was asked for.
        family: String,
        /// Known names like it.
        near: Vec<String>,
    },
    /// No image of the family can be used here.
    #[error("no image of the family `{family}` is active in region {region}; the newest, {newest}, is {state}{}",
            elsewhere.as_ref().map(|there| format!(" in region {there}")).unwrap_or_default())]
    FamilyWithoutActive {
        /// The family.
        family: String,
        /// Its newest image.
        newest: String,
        /// How that stands.
        state: ImageState,
        /// Where it can be used, when that is not here.
        elsewhere: Option<String>,
        /// Here.
        region: String,
    },
    /// Several projects have a family of that name.
    #[error("the projects {} each have a family `{family}`", projects.join(", "))]
    FamilyAmbiguous {
        /// The family.
        family: String,
        /// Their ids.
        projects: Vec<String>,
    },
    /// Something that was said of an image cannot be kept.
    #[error("the field `{field}` cannot be used: {reason}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// What was said of an image is not so.
    #[error("`{field}` was given as `{declared}`, and the content of the image says `{detected}`")]
    Contradiction {
        /// Which field.
        field: &'static str,
        /// What was said.
        declared: String,
        /// What is so.
        detected: String,
    },
    /// The key belongs to another request.
    #[error("the Idempotency-Key was used for image `{name}`")]
    KeyReused {
        /// The other image.
        name: String,
    },
    /// The image's state does not allow another one.
    #[error("image `{name}` is {from}, and cannot become {to}")]
    Transition {
        /// The image.
        name: String,
        /// Its state.
        from: ImageState,
        /// What was asked for.
        to: ImageState,
    },
    /// No such change is planned.
    #[error("image `{name}` is not planned to become {to}")]
    NotPlanned {
        /// The image.
        name: String,
        /// What was asked for.
        to: ImageState,
    },
    /// Its content is still on the way.
    #[error("the import of image `{name}` is still running")]
    NotReady {
        /// The image.
        name: String,
    },
    /// It belongs to another project.
    #[error("image `{name}` belongs to another project")]
    NotYours {
        /// The image.
        name: String,
    },
    /// Somebody else has changed it.
    #[error("image `{name}` was changed since it was read")]
    Changed {
        /// The image.
        name: String,
    },
    /// Its owner protects it.
    #[error("image `{name}` is protected")]
    Protected {
        /// The image.
        name: String,
    },
    /// It is for sale.
    #[error("image `{name}` is published in the marketplace")]
    Published {
        /// The image.
        name: String,
    },
    /// An image cannot be a disk of a full machine.
    #[error("image `{image}` cannot be a disk of a full machine: {reason}")]
    Compose {
        /// The image.
        image: String,
        /// Why.
        reason: String,
    },
    /// More than a quota allows.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The page token is none of ours.
    #[error("the page token is not one that this list has given out")]
    BadPageToken,
    /// The database failed.
    #[error("cannot read or write the catalogue")]
    Database(#[from] sqlx::Error),
    /// A change and its event could not be written.
    #[error(transparent)]
    Change(#[from] DatabaseError),
}

impl CatalogError {
    /// An image that somebody else has taken away in between.
    pub(super) fn gone(id: &str) -> Self {
        Self::NotFound {
            wanted: id.to_owned(),
            near: Vec::new(),
            any: true,
        }
    }
}
