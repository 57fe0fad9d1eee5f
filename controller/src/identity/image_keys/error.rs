//! Why a data key cannot be had, and what an operator can do.

use std::error::Error;

use http::StatusCode;
use imprint_image::seal::OpenError;

use crate::api::rest::problem::{Problem, chain, sentence};

/// A wrapper cannot wrap or unwrap a key.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// It has no such key.
    #[error("the data key was wrapped with `{by}`, which is not here")]
    Unknown {
        /// What wrapped it.
        by: String,
    },
    /// The wrapped key was changed, or belongs to another image.
    #[error("the data key that `{by}` wrapped cannot be unwrapped")]
    Open {
        /// What wrapped it.
        by: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// It gives back something else than it was given.
    #[error("`{by}` does not give back the data key that it has wrapped")]
    Broken {
        /// The wrapper.
        by: String,
    },
    /// A key management service does not answer, or refuses.
    #[error("the key management service of `{by}` does not help")]
    Service {
        /// The wrapper.
        by: String,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The data key of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageKeyError {
    /// The wrapper.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// Nothing wraps keys here.
    #[error("nothing is configured that wraps data keys")]
    NoWrapper,
    /// The image was deleted, and its key with it.
    #[error("the data key of manifest {manifest} was destroyed when its image was deleted")]
    Destroyed {
        /// The manifest.
        manifest: String,
    },
    /// There is no such manifest.
    #[error("the catalogue has no manifest {manifest}")]
    Unknown {
        /// The manifest.
        manifest: String,
    },
    /// The database did not answer.
    #[error("cannot read the data keys of images")]
    Database(#[from] sqlx::Error),
}

impl From<ImageKeyError> for Problem {
    fn from(error: ImageKeyError) -> Self {
        let (detail, unavailable) = (sentence(&chain(&error)), StatusCode::SERVICE_UNAVAILABLE);
        let problem = |status, remedy: &str| {
            Self::new(
                status,
                "image-key-unavailable",
                "The key of the encrypted image cannot be had",
                detail,
                remedy,
            )
        };
        match error {
            ImageKeyError::Wrap(WrapError::Service { .. }) => problem(
                unavailable,
                "Check that the key management service can be reached and lets this controller use its key, then try again.",
            ),
            ImageKeyError::Wrap(_) | ImageKeyError::NoWrapper => problem(
                unavailable,
                "Restore identity/image-keys of the data folder from the backup that belongs to the database.",
            ),
            ImageKeyError::Destroyed { .. } => problem(
                StatusCode::GONE,
                "Import the image again: what is left of it in the store cannot be read any more.",
            ),
            ImageKeyError::Unknown { .. } | ImageKeyError::Database(_) => Self::internal(&error),
        }
    }
}
