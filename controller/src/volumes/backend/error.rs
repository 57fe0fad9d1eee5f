//! Why a back-end does not do it.

use std::{io, path::PathBuf};

use imprint_image::export::ExportError;

/// Why a back-end does not do it.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A file or folder.
    #[error("cannot {what} {}", path.display())]
    File {
        /// "make", "write", …
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is to be written into a base.
    #[error("the image cannot be written to the back-end")]
    Content(#[source] ExportError),
    /// It would not hold the base.
    #[error("a volume of {size_bytes} bytes is smaller than what it is to hold, {base_bytes} bytes")]
    TooSmall {
        /// The volume's size.
        size_bytes: u64,
        /// The base's size.
        base_bytes: u64,
    },
    /// The controller ends.
    #[error("the work was broken off")]
    Interrupted,
}

impl BackendError {
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    fn io(&self) -> Option<&io::Error> {
        match self {
            Self::File { source, .. } | Self::Content(ExportError::Write { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// Whether the storage has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.io().is_some_and(|source| {
            matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        })
    }

    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        use io::ErrorKind as E;
        match self.io().map(io::Error::kind) {
            Some(E::StorageFull | E::QuotaExceeded) => {
                "Make room in the file system of the folder (volumes.folder in the configuration), or delete volumes that \
                 are not needed; then try again."
            }
            Some(E::PermissionDenied | E::ReadOnlyFilesystem) => {
                "Let the controller's user write to the folder (volumes.folder in the configuration), and its service \
                 too (ReadWritePaths=); then try again."
            }
            Some(E::FileTooLarge) => {
                "Choose a smaller size, or a folder in a file system that has larger files, XFS for example."
            }
            Some(_) => {
                "Check the folder (volumes.folder in the configuration) and its file system; then try again."
            }
            None => match self {
                Self::TooSmall { .. } => "Choose a size that holds the image.",
                Self::Content(_) => {
                    "See what `imprint store verify` says of the image, and that the store answers; then try again."
                }
                Self::File { .. } | Self::Interrupted => "Try again.",
            },
        }
    }
}
