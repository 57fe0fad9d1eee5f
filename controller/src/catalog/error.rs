//! What the catalogue refuses, and how callers see it.

use http::StatusCode;

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
            CatalogError::BadPageToken => Self::invalid(
                detail,
                "Send next_page_token of the page before, or none for the first page.",
            ),
            CatalogError::Database(_) => Self::internal(&error),
        }
    }
}
