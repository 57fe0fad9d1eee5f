//! The kinds of jobs.

use crate::words::words;

words! {
    /// What a job does.
    JobKind, "kind of job", {
        /// A file becomes an image.
        Import => "import",
        /// An image becomes another one of this controller, or of another region.
        Copy => "copy",
        /// An image becomes a file in a bucket.
        Export => "export",
        /// Everything in the store is read and compared with its digests.
        Verify => "verify",
        /// What nobody needs is removed from the store.
        Gc => "gc",
    }
}

impl JobKind {
    /// How many run at the same time; the others wait in the order in which they came. An import, a copy or an export
    /// takes all cores for a while, so more at once would only take turns.
    pub(super) fn at_once(self) -> usize {
        match self {
            Self::Import | Self::Copy | Self::Export => 2,
            Self::Verify | Self::Gc => 1,
        }
    }
}
