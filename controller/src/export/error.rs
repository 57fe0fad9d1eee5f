//! Why an image does not become a file.

use http::StatusCode;
use imprint_image::{ManifestError, export::ExportError};

use super::STREAMS_AT_ONCE;
use crate::{
    api::rest::problem::{Problem, sentence},
    catalog::{CatalogError, ImageState},
    identity::ImageKeyError,
    jobs::JobError,
    store::{BucketFault, StoreError},
};

/// Why an image does not become a file.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// No format of this name.
    #[error(transparent)]
    Format(#[from] imprint_image::export::ParseExportFormatError),
    /// The image has no content yet, or its owner keeps it back.
    #[error("image {image} is {state}")]
    State {
        /// Its name.
        image: String,
        /// Where it is.
        state: ImageState,
    },
    /// It has to be said which disk.
    #[error("image {image} has several disks: {}", roles.join(", "))]
    WhichDisk {
        /// Its name.
        image: String,
        /// Roles of its disks.
        roles: Vec<String>,
    },
    /// It has no such disk.
    #[error("image {image} has no disk `{role}`; it has {}", roles.join(", "))]
    NoDisk {
        /// Its name.
        image: String,
        /// What was asked for.
        role: String,
        /// Roles of its disks.
        roles: Vec<String>,
    },
    /// It was deleted since it was asked for.
    #[error("image {image} was deleted meanwhile")]
    Gone {
        /// Its name.
        image: String,
    },
    /// It costs something, and belongs to somebody else.
    #[error("image {image} is sold by its owner")]
    Paid {
        /// Its name.
        image: String,
    },
    /// Its content is encrypted, and does not leave the region so.
    #[error("image {image} is encrypted")]
    Encrypted {
        /// Its name.
        image: String,
    },
    /// The format cannot hold the disk.
    #[error("{0}")]
    Unfit(ExportError),
    /// All slots are taken.
    #[error("{STREAMS_AT_ONCE} images are being read already")]
    Busy,
    /// The manifest in the store is not what it should be.
    #[error("the manifest {manifest} of image {image} cannot be used")]
    Manifest {
        /// The image's name.
        image: String,
        /// Its key in the store.
        manifest: String,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// The content in the store is damaged, or the store does not answer.
    #[error("the content of the image cannot be read")]
    Content(#[source] ExportError),
    /// No bucket of this name, or none for this project.
    #[error("there is no destination `{name}`")]
    NoDestination {
        /// What was asked for.
        name: String,
        /// Those that there are for the project.
        known: Vec<String>,
    },
    /// A key that cannot be one.
    #[error("the key {key:?} cannot be used: {why}")]
    Key {
        /// What was asked for.
        key: String,
        /// Why.
        why: &'static str,
    },
    /// There is something of this name.
    #[error("{place} has an object {key} already")]
    Exists {
        /// The bucket.
        place: String,
        /// The key.
        key: String,
    },
    /// The bucket refuses or does not answer.
    #[error("cannot {what} {key} in {place}: {fault}")]
    Bucket {
        /// "write", …
        what: &'static str,
        /// The key.
        key: String,
        /// The bucket.
        place: String,
        /// What it said.
        fault: BucketFault,
    },
    /// The bucket has something other than was sent.
    #[error("{key} in {place} has {arrived} bytes, and {expected} were written")]
    Short {
        /// The bucket.
        place: String,
        /// The key.
        key: String,
        /// Its length.
        arrived: u64,
        /// What it should be.
        expected: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stopped by whoever asked for it.
    #[error("the export was cancelled")]
    Cancelled,
    /// The catalogue, or that the image is not seen any more.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Jobs.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The thread that writes ended without a word.
    #[error("the export ended early")]
    Task(#[source] tokio::task::JoinError),
    /// The key of an encrypted image.
    #[error(transparent)]
    DataKey(#[from] ImageKeyError),
    /// The database.
    #[error("cannot read or write what is known of files in the database")]
    Database(#[from] sqlx::Error),
    /// The events.
    #[error(transparent)]
    Event(#[from] crate::events::DatabaseError),
}

impl ExportFault {
    /// Of an export that ended: what the disk's form forbids, what was stopped, or what the content has.
    pub(super) fn of(error: ExportError) -> Self {
        match error {
            ExportError::Cancelled => Self::Cancelled,
            ExportError::Unfit { .. } => Self::Unfit(error),
            other => Self::Content(other),
        }
    }
}

impl From<ExportFault> for Problem {
    fn from(fault: ExportFault) -> Self {
        let detail = sentence(&fault.to_string());
        let conflict =
            |kind, title, remedy: String| Self::new(StatusCode::CONFLICT, kind, title, &detail, remedy);
        match &fault {
            ExportFault::Format(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "unknown-format",
                "The format is not one that is written",
                detail,
                "Ask for raw, raw.zst, qcow2, qcow2-zstd, vmdk or vhd.",
            ),
            ExportFault::State { .. } => conflict(
                "image-not-active",
                "The image cannot be read now",
                "Wait until its import has ended (`imprint image show`), or have its owner activate it: `imprint image activate IMAGE`.".to_owned(),
            ),
            ExportFault::Gone { .. } => conflict(
                "image-changed",
                "The image has changed",
                "Look for another one: `imprint image list`.".to_owned(),
            ),
            ExportFault::WhichDisk { roles, .. } => conflict(
                "disk-required",
                "The image has several disks",
                format!("Say which one becomes the file: --disk {} (API: disk={}).", roles.join(" or "), roles.join("|")),
            ),
            ExportFault::NoDisk { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "disk-not-found",
                "The image has no such disk",
                detail,
                "`imprint image show IMAGE` lists its disks.",
            ),
            ExportFault::Paid { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "image-is-sold",
                "The image is sold by its owner",
                detail,
                "Deploy it, which needs its entitlement only; its content is handed out by its owner.",
            ),
            ExportFault::Encrypted { .. } => conflict(
                "image-encrypted",
                "The image is encrypted",
                "Make a copy that is not, and take that: `imprint image copy IMAGE NAME --encrypt no`.".to_owned(),
            ),
            ExportFault::Unfit(ExportError::Unfit { instead, .. }) => {
                conflict("format-unfit", "The format cannot hold the disk", format!("Export it as {instead}."))
            }
            ExportFault::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-exports",
                "Too many images are being read",
                detail,
                "Try again in a while.",
            ),
            ExportFault::NoDestination { known, .. } => Self::new(
                StatusCode::NOT_FOUND,
                "destination-not-found",
                "There is no such destination",
                detail,
                if known.is_empty() {
                    "The operator adds buckets to the controller's configuration: [[destinations]] with name, url and projects.".to_owned()
                } else {
                    format!("There are: {}.", known.join(", "))
                },
            ),
            ExportFault::Key { .. } => Self::invalid(
                detail,
                "Name the object with letters, digits, `.`, `_`, `-` and single slashes, 512 characters at most.",
            ),
            ExportFault::Exists { .. } => conflict(
                "destination-exists",
                "There is such an object already",
                "Choose another key, or allow to replace it: --overwrite (API: overwrite).".to_owned(),
            ),
            ExportFault::Bucket { .. } | ExportFault::Short { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "destination-failed",
                "The destination refused or did not answer",
                detail,
                "Check the bucket and the rights of the credentials that the controller has for it, then start the export again.",
            ),
            ExportFault::Cancelled => conflict(
                "export-cancelled",
                "The export was cancelled",
                "Start it again when it is wanted after all.".to_owned(),
            ),
            ExportFault::Manifest { .. } | ExportFault::Content(_) => {
                let chain = crate::api::rest::problem::chain(&fault);
                tracing::error!(error = chain, "the content of an image cannot be read");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "image-damaged",
                    "The image's content cannot be read",
                    sentence(&chain),
                    "`imprint store verify` tells what of the store is damaged; restore it from a backup, or import the image again.",
                )
            }
            ExportFault::Unfit(error) => Self::internal(error),
            ExportFault::Task(error) => Self::internal(error),
            ExportFault::Database(error) => Self::internal(error),
            ExportFault::Event(error) => Self::internal(error),
            ExportFault::Store(_)
            | ExportFault::Job(_)
            | ExportFault::DataKey(_)
            | ExportFault::Catalog(_) => match fault {
                ExportFault::Catalog(error) => error.into(),
                ExportFault::DataKey(error) => error.into(),
                ExportFault::Store(error) => error.into(),
                ExportFault::Job(error) => error.into(),
                _ => unreachable!("matched above"),
            },
        }
    }
}
