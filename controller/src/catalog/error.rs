//! What the catalogue refuses, and how callers see it.

use http::StatusCode;

use super::ImageState;
use crate::api::rest::problem::{Problem, sentence};

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
    /// The page token is none of ours.
    #[error("the page token is not one that this list has given out")]
    BadPageToken,
    /// The database failed.
    #[error("cannot read or write the catalogue")]
    Database(#[from] sqlx::Error),
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            CatalogError::NotFound { near, any, .. } => {
                let remedy = if !any {
                    "No image has been imported yet: `imprint image import FILE --name NAME`.".to_owned()
                } else if near.is_empty() {
                    "`imprint image list` shows all images.".to_owned()
                } else {
                    format!(
                        "Did you mean {}? `imprint image list` shows all images.",
                        near.join(" or ")
                    )
                };
                Self::new(
                    StatusCode::NOT_FOUND,
                    "image-not-found",
                    "There is no such image",
                    detail,
                    remedy,
                )
            }
            CatalogError::NameTaken { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-name-taken",
                "The name is taken",
                detail,
                "Choose another --name; `imprint image list` shows those that are taken (API: GET /v1/images).",
            ),
            CatalogError::BadName { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "bad-image-name",
                "The name cannot be used",
                detail,
                "Choose a name of letters, digits, spaces and punctuation without slashes, like `debian-12`.",
            ),
            CatalogError::Importing { .. } => Self::new(
                StatusCode::CONFLICT,
                "import-running",
                "The name is taken by a running import",
                detail,
                "Wait until it has ended (`imprint events --follow` tells), or choose another --name.",
            ),
            CatalogError::Ambiguous { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-name-ambiguous",
                "The name means several images",
                detail,
                "Name the image by its id; `imprint image list` shows whose each of them is.",
            ),
            CatalogError::FamilyNotFound { near, .. } => Self::new(
                StatusCode::NOT_FOUND,
                "family-not-found",
                "There is no such family",
                detail,
                if near.is_empty() {
                    "`imprint image families` shows all families.".to_owned()
                } else {
                    format!(
                        "Did you mean {}? `imprint image families` shows all families.",
                        near.join(" or ")
                    )
                },
            ),
            CatalogError::FamilyWithoutActive {
                elsewhere,
                newest,
                region,
                ..
            } => Self::new(
                StatusCode::CONFLICT,
                "family-without-active-image",
                "No image of the family can be used",
                detail,
                match elsewhere {
                    Some(_) => format!("Copy it first: `imprint image copy {newest} --region {region}`."),
                    None => {
                        format!("Import a new version, or put one back: `imprint image activate {newest}`.")
                    }
                },
            ),
            CatalogError::FamilyAmbiguous { .. } => Self::new(
                StatusCode::CONFLICT,
                "family-ambiguous",
                "Several projects have such a family",
                detail,
                "Name an image by its id instead; `imprint image list --family FAMILY` shows whose each of them is.",
            ),
            CatalogError::BadField { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "bad-image-field",
                "Something that was said of the image cannot be kept",
                detail,
                "Correct the field, or leave it out.",
            ),
            CatalogError::Contradiction { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "image-contradicts",
                "The image is not what was said of it",
                detail,
                "Leave the field out, then what was found is kept; or check that it is the right image file.",
            ),
            CatalogError::BadPageToken => Self::invalid(
                detail,
                "Send next_page_token of the page before, or none for the first page.",
            ),
            CatalogError::Database(_) => Self::internal(&error),
        }
    }
}
