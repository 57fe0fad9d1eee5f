//! Why an image is not copied.

use http::StatusCode;
use imprint_image::{Digest, ManifestError, frame::FrameError, pack::PackError};

use crate::{
    api::rest::problem::{Problem, sentence},
    catalog::{CatalogError, WriteError},
    export::ExportFault,
    identity::ImageKeyError,
    ingest::ImportError,
    jobs::JobError,
    store::StoreError,
};

/// Writing keeps apart what broke it.
impl From<WriteError> for CopyFault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Catalog(error) => Self::Catalog(error),
            WriteError::Store(error) => Self::Store(error),
        }
    }
}

/// Why an image is not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyFault {
    /// A copy in the same region needs a name of its own.
    #[error("the copy has no name")]
    NoName,
    /// Only administrators make images for others.
    #[error("the copy was to belong to another project")]
    OtherProject,
    /// What goes to another region is not encrypted.
    #[error("the copy would have to be encrypted on its way to another region")]
    EncryptedElsewhere,
    /// The source is not what it was.
    #[error("the image has changed while the copy waited for its turn")]
    Changed,
    /// No such region, or none for this project.
    #[error("there is no region `{name}`")]
    NoRegion {
        /// What was asked for.
        name: String,
        /// Those that there are for the project.
        known: Vec<String>,
    },
    /// What is needed to reach a region is not usable.
    #[error("region {region} cannot be used: {why}")]
    Region {
        /// Its name.
        region: String,
        /// What is wrong.
        why: String,
    },
    /// The region does not answer.
    #[error("region {region} does not answer: {why}")]
    Unreachable {
        /// Its name.
        region: String,
        /// What happened.
        why: String,
    },
    /// The region refuses.
    #[error("region {region} refuses: {detail}")]
    Refused {
        /// Its name.
        region: String,
        /// What it said.
        detail: String,
        /// What it said to do.
        remedy: String,
    },
    /// Images from this region are not taken.
    #[error("images of region `{region}` are not taken here")]
    Untrusted {
        /// What the sender calls itself.
        region: String,
    },
    /// There is no such transfer, or none of this project.
    #[error("there is no transfer `{id}`")]
    NoTransfer {
        /// What was asked for.
        id: String,
    },
    /// The transfer has no such disk.
    #[error("the transfer has no disk {position}")]
    NoDisk {
        /// What was asked for.
        position: i64,
    },
    /// The transfer cannot be what it says.
    #[error("the transfer cannot be taken: {why}")]
    Request {
        /// What is wrong.
        why: &'static str,
    },
    /// What was sent is too long.
    #[error("what was sent is longer than {limit} bytes, or broke off")]
    Body {
        /// The limit.
        limit: u64,
    },
    /// A manifest that is not signed by a key of its region, or is damaged.
    #[error("the manifest cannot be taken")]
    Manifest(#[source] ManifestError),
    /// A manifest of something else.
    #[error("the manifest describes the image {got}, and {expected} was announced")]
    OtherImage {
        /// What was announced.
        expected: String,
        /// What came.
        got: Digest,
    },
    /// A manifest has not come yet.
    #[error("the manifest of disk {position} has not come yet")]
    ManifestFirst {
        /// The disk.
        position: i64,
    },
    /// A pack whose bytes are not those of its name.
    #[error("the pack has the digest {got}, and was sent as {expected}")]
    PackDigest {
        /// Its name.
        expected: Digest,
        /// What it has.
        got: Digest,
    },
    /// A pack that is none.
    #[error("the pack cannot be taken")]
    Pack(#[source] PackError),
    /// A frame that is not what the pack or the manifest says.
    #[error("the pack cannot be taken")]
    Frame(#[source] FrameError),
    /// A frame in our own store is not what it should be.
    #[error("the content of image {image} is damaged in the store")]
    Damaged {
        /// The image's name.
        image: String,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
    /// A chunk that the manifests do not name.
    #[error("the pack has a chunk that no manifest of the transfer names")]
    Foreign,
    /// Chunks have not come yet.
    #[error("{missing} chunks have not come yet")]
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// What came does not make the image that was announced.
    #[error("what came makes the image {got}, and {expected} was announced")]
    Identity {
        /// What was announced.
        expected: Digest,
        /// What came of it.
        got: Digest,
    },
    /// Content cannot be stored anew.
    #[error("the content cannot be packed anew")]
    Packing(#[source] imprint_image::write::ImportError),
    /// A thread or a decoder cannot be started.
    #[error("the content cannot be packed anew")]
    Threads(#[source] std::io::Error),
    /// What came cannot be looked at, or is not what was said of it.
    #[error(transparent)]
    Facts(#[from] ImportError),
    /// The key of an encrypted image.
    #[error(transparent)]
    Key(#[from] ImageKeyError),
    /// Stopped by whoever asked for it.
    #[error("the copy was cancelled")]
    Cancelled,
    /// A task or thread ended without a word.
    #[error("a part of the copy ended early")]
    Task(#[source] tokio::task::JoinError),
    /// What keeps content from being read.
    #[error(transparent)]
    Content(#[from] ExportFault),
    /// Catalogue.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Jobs.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database.
    #[error("cannot read or write the transfers in the database")]
    Database(#[from] sqlx::Error),
    /// The events.
    #[error(transparent)]
    Event(#[from] crate::events::DatabaseError),
}

impl From<CopyFault> for Problem {
    fn from(fault: CopyFault) -> Self {
        let detail = sentence(&fault.to_string());
        let chain = sentence(&crate::api::rest::problem::chain(&fault));
        let new = |status, kind, title, remedy: &str| Self::new(status, kind, title, detail.clone(), remedy);
        match fault {
            CopyFault::NoName => Self::invalid(
                detail,
                "Name the copy: `imprint image copy IMAGE NAME` (API: name).",
            ),
            CopyFault::OtherProject => new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "The token has no right to do this",
                "Copy it into the project of your own token; an administrator may name another project.",
            ),
            CopyFault::EncryptedElsewhere => new(
                StatusCode::CONFLICT,
                "encryption-stays-here",
                "Images go to other regions without encryption",
                "Copy it as it is, and make an encrypted copy of it in the other region: --encrypt yes.",
            ),
            CopyFault::Changed => new(
                StatusCode::CONFLICT,
                "image-changed",
                "The image has changed",
                "Look at it again, and start the copy anew.",
            ),
            CopyFault::NoRegion { known, .. } => Self::new(
                StatusCode::NOT_FOUND,
                "region-not-found",
                "There is no such region",
                detail,
                if known.is_empty() {
                    "The operator adds regions to the controller's configuration: [[regions]] with name, url, token_file and projects.".to_owned()
                } else {
                    format!("There are: {}.", known.join(", "))
                },
            ),
            CopyFault::Region { .. } => new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "region-unusable",
                "The region is not configured as it should be",
                "Check ca_file and token_file of the region in the controller's configuration.",
            ),
            CopyFault::Unreachable { .. } => new(
                StatusCode::BAD_GATEWAY,
                "region-unreachable",
                "The region does not answer",
                "Check the network and the other controller, and start the copy again: it goes on where it broke off.",
            ),
            CopyFault::Refused { remedy, .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "region-refuses",
                "The region refuses the image",
                detail,
                remedy,
            ),
            CopyFault::Untrusted { .. } => new(
                StatusCode::FORBIDDEN,
                "region-not-trusted",
                "Images of the region are not taken here",
                "The operator of this controller adds the region with its keys to the configuration: [[regions]] with name and keys.",
            ),
            CopyFault::NoTransfer { .. } | CopyFault::NoDisk { .. } => new(
                StatusCode::NOT_FOUND,
                "transfer-not-found",
                "There is no such transfer",
                "Begin it again: POST /v1/transfers.",
            ),
            CopyFault::Request { .. } => {
                Self::invalid(detail, "/openapi.json describes what a transfer needs.")
            }
            CopyFault::Body { .. } => new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "What was sent cannot be taken",
                "Send it again, and not more than that.",
            ),
            CopyFault::ManifestFirst { .. } | CopyFault::Incomplete { .. } => new(
                StatusCode::CONFLICT,
                "transfer-incomplete",
                "The transfer is not complete",
                "Ask what is missing, and send it.",
            ),
            CopyFault::Manifest(_)
            | CopyFault::OtherImage { .. }
            | CopyFault::PackDigest { .. }
            | CopyFault::Pack(_)
            | CopyFault::Frame(_)
            | CopyFault::Foreign
            | CopyFault::Identity { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "content-refused",
                "What was sent is not the image that was announced",
                chain,
                "Verify the store of the sending region (`imprint store verify`) and the keys that are trusted here, then copy again.",
            ),
            CopyFault::Damaged { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "image-damaged",
                "The image's content cannot be read",
                chain,
                "`imprint store verify` tells what of the store is damaged; restore it from a backup, or import the image again.",
            ),
            CopyFault::Cancelled => new(
                StatusCode::CONFLICT,
                "copy-cancelled",
                "The copy was cancelled",
                "Start it again when it is wanted after all.",
            ),
            CopyFault::Packing(error) => Self::internal(&error),
            CopyFault::Threads(error) => Self::internal(&error),
            CopyFault::Facts(error) => error.into(),
            CopyFault::Key(error) => error.into(),
            CopyFault::Task(error) => Self::internal(&error),
            CopyFault::Database(error) => Self::internal(&error),
            CopyFault::Event(error) => Self::internal(&error),
            CopyFault::Content(error) => error.into(),
            CopyFault::Catalog(error) => error.into(),
            CopyFault::Job(error) => error.into(),
            CopyFault::Store(error) => error.into(),
        }
    }
}
