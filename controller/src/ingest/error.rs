//! Why an import fails, and how its caller sees it.

use std::{error::Error, io};

use http::StatusCode;
use imprint_image::{
    source::{Format, ParseFormatError, SourceError},
    write,
};
use tokio::task::JoinError;

use super::body::UploadError;
use crate::{
    api::rest::problem::{Problem, chain, sentence},
    catalog::{CatalogError, WriteError},
    identity::ImageKeyError,
    store::{StoreError, is_full},
};

/// Why an import fails.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The declared format is none.
    #[error(transparent)]
    Declared(#[from] ParseFormatError),
    /// The name cannot be used, or the image could not be entered.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The key belongs to another request.
    #[error("the Idempotency-Key was used for the import of `{name}`")]
    KeyReused {
        /// The other image.
        name: String,
    },
    /// The key of an encrypted image cannot be wrapped.
    #[error(transparent)]
    Key(#[from] ImageKeyError),
    /// The artifact store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file did not come whole.
    #[error("the image file did not arrive whole")]
    Upload(#[source] Box<dyn Error + Send + Sync>),
    /// The caller is gone.
    #[error("the caller of the import is gone")]
    Disconnected,
    /// The file that holds the upload.
    #[error("cannot keep the uploaded file in the spool folder of the data folder")]
    Spool(#[source] io::Error),
    /// The file is none of those that can be read, or damaged.
    #[error(transparent)]
    Source(SourceError),
    /// The writer of the artifact.
    #[error(transparent)]
    Image(write::ImportError),
    /// A task of the controller ended without a result.
    #[error("the import was ended by the controller")]
    Task(#[source] JoinError),
}

impl ImportError {
    /// What a read of the body gave.
    pub(super) fn from_body(error: io::Error) -> Self {
        match error.downcast::<UploadError>() {
            Ok(error) => Self::Upload(Box::new(error)),
            Err(error) => Self::Upload(Box::new(error)),
        }
    }

    /// What the writer gave: its source was the body or a file, its sink is the store.
    pub(super) fn from_writer(error: write::ImportError) -> Self {
        match error {
            write::ImportError::Cancelled => Self::Disconnected,
            write::ImportError::Read { offset, source } => match source.downcast::<UploadError>() {
                Ok(error) => Self::Upload(Box::new(error)),
                Err(source) => Self::Image(write::ImportError::Read { offset, source }),
            },
            write::ImportError::Sink { pack, source } => match source.downcast::<Self>() {
                Ok(error) => error,
                Err(source) => Self::Image(write::ImportError::Sink { pack, source }),
            },
            other => Self::Image(other),
        }
    }

    /// Whether the file is to blame, not the controller.
    fn is_bad_image(&self) -> bool {
        use write::ImportError as W;
        match self {
            Self::Source(_) => true,
            Self::Image(W::Read { source, .. }) => source.get_ref().is_some_and(|e| e.is::<SourceError>()),
            Self::Image(W::Empty | W::Truncated { .. } | W::TooLarge { .. } | W::VhdFooter) => true,
            _ => false,
        }
    }
}

impl From<WriteError> for ImportError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Catalog(error) => Self::Catalog(error),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        if error.is_bad_image() {
            return bad_image(&error);
        }
        if is_full(&error) {
            return Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                "The disk of the artifact store is full",
                sentence(&chain(&error)),
                "Free space on the disk of the controller's data folder, or move the folder to a larger one.",
            );
        }
        let detail = sentence(&chain(&error));
        match error {
            ImportError::Catalog(error) => error.into(),
            ImportError::Store(error) => error.into(),
            ImportError::Key(error) => error.into(),
            ImportError::Declared(_) => Self::invalid(
                detail,
                format!(
                    "Leave --format out, or give auto or one of {}.",
                    Format::readable_names()
                ),
            ),
            ImportError::KeyReused { .. } => Self::new(
                StatusCode::CONFLICT,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
                detail,
                "Send a new key with each new request.",
            ),
            ImportError::Upload(_) | ImportError::Disconnected => Self::new(
                StatusCode::BAD_REQUEST,
                "upload-incomplete",
                "The image file did not arrive whole",
                detail,
                "Check the network between here and the controller, and upload the file again: `imprint image import FILE --name NAME` (API: POST /v1/images).",
            ),
            error => Self::internal(&error),
        }
    }
}

/// The image crate ends its messages with what to do: "what is wrong; what to do".
fn bad_image(error: &ImportError) -> Problem {
    let text = chain(error);
    let (detail, remedy) = match text.rsplit_once("; ") {
        Some((detail, remedy)) => (detail, sentence(remedy)),
        None => (
            text.as_str(),
            "Check the file with `qemu-img check` or its checksum, and upload it again.".to_owned(),
        ),
    };
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "bad-image",
        "The image file cannot be used",
        sentence(detail),
        remedy,
    )
}
