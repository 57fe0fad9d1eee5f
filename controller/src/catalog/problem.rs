//! How callers see what the catalogue refuses.

use http::StatusCode;

use super::CatalogError;
use crate::api::rest::problem::{Problem, sentence};

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
            CatalogError::KeyReused { .. } => Self::new(
                StatusCode::CONFLICT,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
                detail,
                "Send a new key with each new request.",
            ),
            CatalogError::Transition { to, .. } => Self::new(
                StatusCode::CONFLICT,
                "image-transition-not-allowed",
                "The image cannot take this state",
                detail,
                format!(
                    "`imprint image show IMAGE` says how it stands; only an image whose import has ended can become {to}."
                ),
            ),
            CatalogError::NotPlanned { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "no-such-transition",
                "No such change is planned",
                detail,
                "`imprint image show IMAGE` shows what is planned (API: GET /v1/images/{image}/transitions).",
            ),
            CatalogError::NotReady { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-not-ready",
                "The image is not ready",
                detail,
                "Wait until its import has ended, or cancel the import's job: `imprint job list`.",
            ),
            CatalogError::NotYours { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "not-your-image",
                "The image belongs to another project",
                detail,
                "Ask its owner; or copy it, `imprint image copy IMAGE`, and change the copy.",
            ),
            CatalogError::Changed { .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "image-changed",
                "Somebody else has changed the image",
                detail,
                "Read the image again, and repeat the change with its new row_version.",
            ),
            CatalogError::Protected { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-protected",
                "The image is protected",
                detail,
                "If it may go, `imprint image update IMAGE --unprotect` first (API: PATCH with `\"protected\": false`).",
            ),
            CatalogError::Published { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-published",
                "The image is published",
                detail,
                "Take it out of the marketplace first: `imprint image unpublish IMAGE`.",
            ),
            CatalogError::Compose { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "image-not-composable",
                "An image cannot be a disk of a full machine",
                detail,
                "Name active images of one disk each, of one region, and not encrypted for others; `imprint image copy` makes one that fits.",
            ),
            CatalogError::Quota(exceeded) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "quota-exceeded",
                "The quota is used up",
                detail,
                exceeded.remedy(),
            ),
            CatalogError::BadPageToken => Self::invalid(
                detail,
                "Send next_page_token of the page before, or none for the first page.",
            ),
            CatalogError::Database(_) | CatalogError::Change(_) => Self::internal(&error),
        }
    }
}
