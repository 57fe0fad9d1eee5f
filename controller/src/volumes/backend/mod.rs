//! Who makes volumes, when nobody has made them already.
//!
//! A back-end has *exports*, each the bytes of one volume by its name on cards, and *bases*, each the disk of an image, of
//! which volumes are cloned. [`FilesBackend`] keeps both as sparse files of this host, and [`NbdServer`] serves the exports.

mod error;
mod files;
mod nbd_server;
mod sparse;

use std::{fmt, io::Write};

use imprint_image::export::ExportError;

pub use error::BackendError;
pub use files::FilesBackend;
pub use nbd_server::{NbdServer, NbdServerError};

use crate::words::words;

words! {
    /// What makes volumes.
    BackendKind, "back-end of volumes", {
        /// Sparse files of the controller's host, served over NBD.
        Files => "files",
    }
}

/// Writes a disk into a base, strictly from its first byte to its last; to be called outside of the runtime.
pub type Fill = Box<dyn FnOnce(&mut dyn Write) -> Result<(), ExportError> + Send>;

/// Makes volumes.
///
/// Everything may be asked twice: after a restart the caller doesn't know what was done of the last time. What fails leaves
/// nothing behind. Names are made by the caller, and lead out of no folder: letters and digits.
#[tonic::async_trait]
pub trait VolumeBackend: fmt::Debug + Send + Sync {
    /// What it is.
    fn kind(&self) -> BackendKind;

    /// Makes an export of zeros, of so many bytes.
    async fn create(&self, name: &str, size_bytes: u64) -> Result<(), BackendError>;

    /// Writes a base; without effect where it is already. Only a base that is whole is ever seen.
    async fn write_base(&self, base: &str, fill: Fill) -> Result<(), BackendError>;

    /// Makes an export that begins with the bytes of a base, and has zeros behind them. What is written to it later is
    /// neither in the base nor in another export.
    async fn clone_base(&self, base: &str, name: &str, size_bytes: u64) -> Result<(), BackendError>;

    /// Removes an export; without effect where none is.
    async fn delete(&self, name: &str) -> Result<(), BackendError>;

    /// The names of all exports, also of those that nobody here has asked for.
    async fn list(&self) -> Result<Vec<String>, BackendError>;

    /// The names of all bases.
    async fn bases(&self) -> Result<Vec<String>, BackendError>;

    /// Removes a base; without effect where none is. Exports that were cloned of it stay as they are.
    async fn delete_base(&self, base: &str) -> Result<(), BackendError>;
}
