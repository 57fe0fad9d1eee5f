//! Why an import fails, and how its caller sees it.

use std::{error::Error, io};

use http::StatusCode;
use imprint_image::{
    source::{Format, ParseFormatError, SourceError},
    write,
};
use tokio::task::JoinError;

use super::{bytes::SourceEnd, fetch::FetchError, upload::UploadError};
use crate::{
    api::rest::problem::{Problem, chain, sentence},
    catalog::{CatalogError, ImageKind, TermsError, WriteError},
    export::ExportFault,
    identity::ImageKeyError,
    jobs::JobError,
    store::{StoreError, is_full},
};

/// Why an import fails.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The declared format is none.
    #[error(transparent)]
    Declared(#[from] ParseFormatError),
    /// The declared digest is none.
    #[error("the SHA-256 is not 64 hex digits")]
    NoSha256,
    /// The declared sector size is none.
    #[error("no disk has logical sectors of {bytes} bytes")]
    NoSector {
        /// What was declared.
        bytes: u32,
    },
    /// A full machine is more than one file.
    #[error("a full-machine image is not one file")]
    FullMachine,
    /// An installation medium is one kind of image, and everything else is another.
    #[error("the image is declared as {kind}, but the file is {format}")]
    Medium {
        /// What was declared.
        kind: ImageKind,
        /// What the file is.
        format: Format,
    },
    /// The file is another one than was meant.
    #[error(
        "the file has the SHA-256 {}, and {} was declared",
        hex::encode(got),
        hex::encode(declared)
    )]
    Sha256 {
        /// What was declared.
        declared: [u8; 32],
        /// What came.
        got: [u8; 32],
    },
    /// The partition table contradicts what was declared.
    #[error(
        "logical sectors of {declared} bytes are declared, but the partition table is made for {detected} bytes"
    )]
    Sector {
        /// What was declared.
        declared: u32,
        /// What was found.
        detected: u32,
    },
    /// The disk is too small for its kind.
    #[error("the disk has {bytes} bytes, less than the {least} that a system disk must have")]
    TooSmall {
        /// What it has.
        bytes: u64,
        /// What it must have.
        least: u64,
    },
    /// The name cannot be used, or the image could not be entered.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It was to be published at once, and cannot be.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The key of an encrypted image cannot be wrapped.
    #[error(transparent)]
    Key(#[from] ImageKeyError),
    /// The key belongs to another request.
    #[error("the Idempotency-Key was used for the import of `{name}`")]
    KeyReused {
        /// The other image.
        name: String,
    },
    /// The job could not be started.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The artifact store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file did not come whole.
    #[error("the image file did not arrive whole")]
    Upload(#[source] Box<dyn Error + Send + Sync>),
    /// The controller could not fetch it.
    #[error(transparent)]
    Fetch(#[from] Box<FetchError>),
    /// The bucket that the file is in.
    #[error(transparent)]
    Bucket(#[from] Box<ExportFault>),
    /// The configuration has no such credential.
    #[error("the configuration has no credential `{name}`")]
    NotConfigured {
        /// What was named.
        name: String,
    },
    /// A secret of the configuration cannot be used.
    #[error("the credential `{name}` cannot be used")]
    Credential {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The upload that is to be imported.
    #[error(transparent)]
    Piecewise(#[from] Box<UploadError>),
    /// Its job was cancelled.
    #[error("the import was cancelled")]
    Cancelled,
    /// The caller is gone.
    #[error("the caller of the import is gone")]
    Disconnected,
    /// It took too long.
    #[error("the import has run for {seconds} seconds, which is the most that one may take")]
    TimeLimit {
        /// How long it may run.
        seconds: u64,
    },
    /// The file is larger than what is imported.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The file that holds the upload.
    #[error("cannot keep the uploaded file in the spool folder of the data folder")]
    Spool(#[source] io::Error),
    /// The file is none of those that can be read, or damaged.
    #[error(transparent)]
    Source(SourceError),
    /// The writer of the artifact.
    #[error(transparent)]
    Image(write::ImportError),
    /// What was just written cannot be read again.
    #[error("the facts of the disk cannot be read from the store")]
    Facts(#[source] io::Error),
    /// A task of the controller ended without a result.
    #[error("the import was ended by the controller")]
    Task(#[source] JoinError),
}

impl ImportError {
    /// What a read of the file gave, on its way here.
    pub(super) fn from_source(error: io::Error) -> Self {
        match error.downcast::<SourceEnd>() {
            Ok(SourceEnd::TooLarge { limit }) => Self::TooLarge { limit },
            Ok(SourceEnd::Failed(error)) => match error.downcast::<FetchError>() {
                Ok(error) => Self::Fetch(error),
                Err(error) => match error.downcast::<ExportFault>() {
                    Ok(error) => Self::Bucket(error),
                    Err(error) => Self::Upload(error),
                },
            },
            Ok(cut_off) => Self::Upload(Box::new(cut_off)),
            Err(error) => Self::Upload(Box::new(error)),
        }
    }

    /// What the writer gave: its source was the file, its sink is the store.
    pub(super) fn from_writer(error: write::ImportError) -> Self {
        match error {
            write::ImportError::Cancelled => Self::Cancelled,
            write::ImportError::Read { offset, source } => {
                if source.get_ref().is_some_and(|e| e.is::<SourceEnd>()) {
                    Self::from_source(source)
                } else {
                    Self::Image(write::ImportError::Read { offset, source })
                }
            }
            write::ImportError::Sink { pack, source } => match source.downcast::<Self>() {
                Ok(error) => error,
                Err(source) => Self::Image(write::ImportError::Sink { pack, source }),
            },
            other => Self::Image(other),
        }
    }

    /// Whether the file is to blame, so that the same file will always fail.
    pub(super) fn is_bad_image(&self) -> bool {
        use write::ImportError as W;
        match self {
            Self::Source(_)
            | Self::Sha256 { .. }
            | Self::Sector { .. }
            | Self::Medium { .. }
            | Self::TooSmall { .. }
            | Self::TooLarge { .. }
            | Self::Catalog(CatalogError::Contradiction { .. }) => true,
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

impl From<FetchError> for ImportError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(Box::new(error))
    }
}

impl From<ExportFault> for ImportError {
    fn from(error: ExportFault) -> Self {
        Self::Bucket(Box::new(error))
    }
}

impl From<UploadError> for ImportError {
    fn from(error: UploadError) -> Self {
        Self::Piecewise(Box::new(error))
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let unprocessable = |kind, title, remedy: &str| {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                kind,
                title,
                sentence(&error.to_string()),
                remedy,
            )
        };
        match &error {
            ImportError::Medium { kind, .. } => {
                return unprocessable(
                    "kind-contradicts-content",
                    "The file is another kind of image than was declared",
                    if *kind == ImageKind::Iso {
                        "Leave --kind out; only an installation medium (ISO 9660) is imported as --kind iso."
                    } else {
                        "Import an installation medium with --kind iso; it only serves to install a temporary server. To deploy a system, install it onto the disk of a virtual machine and import that disk, or take the distribution's cloud image."
                    },
                );
            }
            ImportError::Sha256 { .. } => {
                return unprocessable(
                    "digest-mismatch",
                    "The file is not the one that was meant",
                    "Fetch the file again and compare its digest with its publisher's; nothing was imported.",
                );
            }
            ImportError::Sector { .. } => {
                return unprocessable(
                    "declared-contradicts-content",
                    "The content is not what was declared",
                    "Leave the sector size out: the partition table tells it.",
                );
            }
            ImportError::TooSmall { .. } => {
                return unprocessable(
                    "image-too-small",
                    "The disk is smaller than a system disk may be",
                    "Import it with --kind data-disk if it holds no system, enlarge its disk (`qemu-img resize`), or let the operator lower ingest.system_disk_min_size.",
                );
            }
            ImportError::TooLarge { .. } => {
                return unprocessable(
                    "source-too-large",
                    "The file is larger than what is imported",
                    "Import a compressed file, or let the operator raise ingest.max_file_size.",
                );
            }
            _ => {}
        }
        let error = match error {
            ImportError::Catalog(error) => return error.into(),
            ImportError::Terms(error) => return error.into(),
            error => error,
        };
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
        other(error)
    }
}

fn other(error: ImportError) -> Problem {
    let detail = sentence(&chain(&error));
    match error {
        ImportError::Store(error) => error.into(),
        ImportError::Job(error) => error.into(),
        ImportError::Key(error) => error.into(),
        ImportError::Fetch(error) => (*error).into(),
        ImportError::Bucket(error) => bucket(*error),
        ImportError::Piecewise(error) => (*error).into(),
        ImportError::Declared(_) => Problem::invalid(
            detail,
            format!(
                "Leave --format out, or give auto or one of {}.",
                Format::readable_names()
            ),
        ),
        ImportError::NoSha256 => Problem::invalid(
            detail,
            "Give the digest as `sha256sum` prints it, or leave it out.",
        ),
        ImportError::NoSector { .. } => Problem::invalid(detail, "Give 512 or 4096, or leave it out."),
        ImportError::FullMachine => Problem::invalid(
            detail,
            "Import its disks, one with --kind system-disk and the others with --kind data-disk, and put them together: `imprint image compose` (API: POST /v1/images/compose).",
        ),
        ImportError::KeyReused { .. } => Problem::new(
            StatusCode::CONFLICT,
            "idempotency-key-reused",
            "The Idempotency-Key belongs to another request",
            detail,
            "Send a new key with each new request.",
        ),
        ImportError::NotConfigured { .. } => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "source-not-configured",
            "The controller does not know this name",
            detail,
            "Let the operator add it to the section [ingest] of the controller's configuration, or upload the file: `imprint image import FILE`.",
        ),
        ImportError::TimeLimit { .. } => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "import-too-long",
            "The import took too long",
            detail,
            "See what is slow: the source, or the controller. Import a smaller file, or let the operator raise ingest.max_seconds.",
        ),
        ImportError::Upload(_) | ImportError::Disconnected => Problem::new(
            StatusCode::BAD_REQUEST,
            "upload-incomplete",
            "The image file did not arrive whole",
            detail,
            "Check the network between here and the controller, and upload the file again: `imprint image import FILE --name NAME` (API: POST /v1/images).",
        ),
        ImportError::Cancelled => Problem::new(
            StatusCode::CONFLICT,
            "job-cancelled",
            "The job was cancelled",
            detail,
            "Start it again when it is wanted after all.",
        ),
        error => Problem::internal(&error),
    }
}

/// A bucket's faults are told as those of a source.
fn bucket(error: ExportFault) -> Problem {
    match error {
        ExportFault::Bucket { .. } => Problem::new(
            StatusCode::BAD_GATEWAY,
            "source-unreachable",
            "The file could not be fetched",
            sentence(&chain(&error)),
            "Check the key, and that the controller's credentials may read it; or upload the file: `imprint image import FILE`.",
        ),
        error => error.into(),
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
