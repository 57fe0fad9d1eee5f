//! Why an upload is refused.

use std::io;

use http::StatusCode;

use crate::{
    api::rest::problem::{Problem, chain, sentence},
    catalog::CatalogError,
    ingest::ImportError,
    store::{StoreError, is_full},
};

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is none, or none that the caller may see.
    #[error("there is no upload `{id}`")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// What the image is to be cannot be.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The request cannot become an import.
    #[error(transparent)]
    Import(#[from] Box<ImportError>),
    /// The project has too many.
    #[error("{count} uploads of the project are not complete, which is the most there can be")]
    TooMany {
        /// How many.
        count: i64,
    },
    /// It is larger than what may be uploaded.
    #[error("the file has {length} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its length, as far as it is known.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The piece does not begin where the last one ended.
    #[error("the piece begins at byte {given}, and {offset} bytes are there")]
    Offset {
        /// What the request said.
        given: u64,
        /// What is there.
        offset: u64,
    },
    /// More came than was announced.
    #[error("more than the announced {length} bytes came")]
    TooMuch {
        /// What was announced.
        length: u64,
    },
    /// It is not all there.
    #[error("{offset} of {length} bytes are there")]
    Incomplete {
        /// What is there.
        offset: u64,
        /// What was announced.
        length: u64,
    },
    /// A newer request has taken over.
    #[error("another request goes on with this upload")]
    TakenOver,
    /// The connection broke off in the middle of a piece; what came before is kept.
    #[error("the piece broke off")]
    Broken(#[source] axum::Error),
    /// The file in the spool.
    #[error("cannot keep the uploaded file in the spool folder of the data folder")]
    Spool(#[source] io::Error),
    /// No space is left.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database.
    #[error("cannot read or write the uploads in the database")]
    Database(#[from] sqlx::Error),
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = sentence(&chain(&error));
        match error {
            UploadError::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "upload-not-found",
                "There is no such upload",
                detail,
                "Begin a new one: `imprint image import FILE` (API: POST /v1/uploads). Uploads that nobody goes on with are removed after a while.",
            ),
            UploadError::Catalog(error) => error.into(),
            UploadError::Import(error) => (*error).into(),
            UploadError::Store(error) => error.into(),
            UploadError::TooMany { .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-uploads",
                "Too many uploads are not complete",
                detail,
                "Complete or delete some: GET /v1/uploads, DELETE /v1/uploads/{id}.",
            ),
            UploadError::TooLarge { .. } | UploadError::TooMuch { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "upload-too-large",
                "The file is larger than it may be",
                detail,
                "Announce the right length, upload a compressed file, or let the operator raise ingest.max_file_bytes.",
            ),
            UploadError::Offset { .. } | UploadError::TakenOver => Self::new(
                StatusCode::CONFLICT,
                "upload-offset",
                "The piece is not the next one",
                detail,
                "Ask how far the upload is (API: HEAD /v1/uploads/{id}, header Upload-Offset) and go on from there.",
            ),
            UploadError::Incomplete { .. } => Self::new(
                StatusCode::CONFLICT,
                "upload-incomplete",
                "The image file did not arrive whole",
                detail,
                "Upload the rest: `imprint image import FILE` goes on where it was (API: PATCH /v1/uploads/{id}).",
            ),
            UploadError::Broken(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "upload-broken",
                "The connection broke off",
                detail,
                "Ask how far the upload is (API: HEAD /v1/uploads/{id}) and go on from there.",
            ),
            UploadError::Spool(ref source) if is_full(source) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                "The disk of the artifact store is full",
                detail,
                "Free space on the disk of the controller's data folder, or move the folder to a larger one.",
            ),
            UploadError::Spool(_) | UploadError::Database(_) => Self::internal(&error),
        }
    }
}
