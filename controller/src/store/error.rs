//! What the store cannot do.

use std::{error::Error, io, path::PathBuf};

use super::fault::BucketFault;

/// What the store cannot do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is not there or cannot be used.
    #[error("the artifact store {} cannot be reached; check that its disk is mounted and that this user may write to it", path.display())]
    Unreachable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The credentials of the bucket cannot be used. What is wrong, then what to do.
    #[error("no credentials for {place}: {cause}; {remedy}")]
    Credentials {
        /// The bucket.
        place: String,
        /// What is wrong.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The client of the bucket cannot be made.
    #[error("cannot use {place}: {cause}; check section [store] of the configuration")]
    Setup {
        /// The bucket.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// Another controller keeps its images there, and would take ours for garbage, as we would its.
    #[error(
        "{place} belongs to another controller; choose another prefix in store.url, or restore the identity of the \
         controller that it belongs to"
    )]
    Foreign {
        /// The bucket and prefix.
        place: String,
    },
    /// There is no such object.
    #[error("the store has no object {key}")]
    Missing {
        /// Its key.
        key: String,
    },
    /// It is longer than such an object can be.
    #[error("the object {key} has {bytes} bytes, more than the {limit} that it may have")]
    TooLong {
        /// Its key.
        key: String,
        /// Its length.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The disk is full.
    #[error("the disk of the artifact store is full: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// What was to be written, with the reserve.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The bucket refuses, or does not answer.
    #[error("cannot {what} {key} in {place}: {fault}")]
    Bucket {
        /// "read", "write", …
        what: &'static str,
        /// The object's key.
        key: String,
        /// The bucket and prefix.
        place: String,
        /// What is wrong, and what to do.
        fault: BucketFault,
    },
    /// Reading or writing failed.
    #[error("cannot {what} {key} in the artifact store")]
    Failed {
        /// "read", "write", …
        what: &'static str,
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

/// Whether an error comes down to a full disk.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        }) {
            return true;
        }
        // What `io::Error::other` wraps is its inner error, not its source.
        next = match io.and_then(|e| e.get_ref()) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_through_wrappers() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let generic = object_store::Error::Generic {
            store: "local",
            source: Box::new(full()),
        };
        assert!(is_full(&full()) && is_full(&generic) && is_full(&io::Error::other(generic)));
        assert!(!is_full(&io::Error::other("no")));
    }
}
