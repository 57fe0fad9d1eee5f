//! What an import takes of its project's quota, reserved before the bytes are there.

use super::ImportError;
use crate::catalog::{Catalog, QuotaReservation};

/// Bytes that are reserved at once when more comes than was said before.
const STEP_BYTES: u64 = 256 << 20;

/// A running import's part of its project's quota.
#[derive(Debug, Clone)]
pub(super) struct Reservation {
    catalog: Catalog,
    reserved: QuotaReservation,
    taken: u64,
}

impl Reservation {
    /// Reserves one image and as many bytes as the file is known to have.
    pub(super) async fn make(catalog: &Catalog, reserved: QuotaReservation) -> Result<Self, ImportError> {
        catalog.reserve(&reserved).await?;
        Ok(Self {
            catalog: catalog.clone(),
            reserved,
            taken: 0,
        })
    }

    /// Bytes that are about to be stored; more is reserved when it was not enough.
    pub(super) async fn take(&mut self, bytes: u64) -> Result<(), ImportError> {
        self.taken += bytes;
        if self.taken > self.reserved.bytes {
            self.reserved.bytes = self.taken.next_multiple_of(STEP_BYTES);
            self.catalog.reserve(&self.reserved).await?;
        }
        Ok(())
    }
}
