//! Images become files again: streamed to a caller, or put into a bucket by a job.
//!
//! ```text
//! store --frames--> writer of the format (threads of image::export) --pipe--> response body, or parts of an object
//! ```
//!
//! Every frame is proven before a byte that comes from it leaves the controller; a stream that cannot go on ends with
//! an error, never with wrong bytes. The same image gives the same file each time, so its digest is kept once it is
//! known (`sums.rs`), and a transfer that broke off goes on at the byte where it ended. What is read stays in the store
//! until the export has ended, whatever becomes of the image (`hold.rs`).

mod bucket;
mod destination;
mod error;
mod frames;
mod held;
mod hold;
mod job;
mod opened;
mod pipe;
mod read;
mod stream;
mod sums;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sqlx::SqlitePool;
use tokio::sync::Semaphore;

pub use destination::{Destination, ObjectKey};
pub use error::ExportFault;
pub use frames::StoreFrames;
pub use job::ExportRequest;
pub use opened::OpenedDisk;
pub(crate) use opened::require_content;
pub use read::BucketFile;
pub use stream::ContentStream;
pub use sums::FileSum;

use crate::{
    catalog::Catalog,
    clock::Clock,
    events::EventLog,
    identity::{Authority, ImageKeys},
    store::Store,
};

/// Streams that may run at once; each uses the cores that it can get.
const STREAMS_AT_ONCE: usize = 4;

/// Writes images as files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exports(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: SqlitePool,
    catalog: Catalog,
    store: Store,
    authority: Authority,
    image_keys: ImageKeys,
    events: EventLog,
    clock: Clock,
    slots: Arc<Semaphore>,
    destinations: Vec<Destination>,
}

impl Exports {
    /// Over store and database, with the buckets that may be written to.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the concerns that it stands on")]
    pub fn new(
        db: SqlitePool,
        catalog: Catalog,
        store: Store,
        authority: Authority,
        image_keys: ImageKeys,
        events: EventLog,
        clock: Clock,
        destinations: Vec<Destination>,
    ) -> Self {
        Self(Arc::new(Inner {
            db,
            catalog,
            store,
            authority,
            image_keys,
            events,
            clock,
            slots: Arc::new(Semaphore::new(STREAMS_AT_ONCE)),
            destinations,
        }))
    }
}
