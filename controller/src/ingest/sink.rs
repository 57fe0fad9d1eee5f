//! Packs on their way from the writer's thread into the store.

use std::{io, sync::Arc};

use imprint_image::{Digest, write::PackSink};
use tokio::runtime::Handle;

use super::{ImportError, Inner, quota::Reservation};
use crate::store::StoreObject;

/// Notes and writes each pack.
pub(super) struct StoreSink {
    pub(super) inner: Arc<Inner>,
    pub(super) runtime: Handle,
    pub(super) import_id: String,
    pub(super) reservation: Reservation,
}

impl PackSink for StoreSink {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        let runtime = self.runtime.clone();
        runtime
            .block_on(self.put(digest, bytes))
            .map_err(io::Error::other)
    }
}

impl StoreSink {
    async fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), ImportError> {
        let inner = &self.inner;
        let object = StoreObject::Pack(digest);
        self.reservation.take(bytes.len() as u64).await?;
        let _nobody_sweeps = inner.store.writing().await;
        inner.store.require_space(bytes.len() as u64)?;
        let written = inner
            .catalog
            .write_noted(&inner.store, &self.import_id, &object, bytes.into());
        Ok(written.await?)
    }
}
