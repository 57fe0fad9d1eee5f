//! Frames for the writers of `imprint_image`, from the store.

use std::{io, ops::Range};

use futures::TryStreamExt;
use imprint_image::{PackRef, export::Frames};
use tokio::runtime::Handle;

use crate::store::{Store, StoreObject};

/// The store's packs, read from threads that may block.
#[derive(Debug, Clone)]
pub struct StoreFrames {
    store: Store,
    runtime: Handle,
}

impl StoreFrames {
    /// To be made in the runtime, and used outside of it.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            runtime: Handle::current(),
        }
    }
}

impl Frames for StoreFrames {
    fn fetch(&self, pack: &PackRef, range: Range<u64>) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let pieces = self.store.stream(StoreObject::Pack(pack.digest), range);
        self.runtime
            .block_on(
                pieces.try_fold(Vec::with_capacity(bytes), |mut all, piece| async move {
                    all.extend_from_slice(&piece);
                    Ok(all)
                }),
            )
            .map_err(io::Error::other)
    }
}
