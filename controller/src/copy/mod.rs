//! Images become images again: of another project, or of another region.
//!
//! * Within the region (`within.rs`) a copy is a row of its own over the same content: the store keeps what any image
//!   needs, so the copy outlives its source and whatever right there was to it. A copy that is encrypted where its image
//!   is not, or the other way round, has its content stored anew (`reseal.rs`).
//! * To another region (`push.rs`) the controller that has the image sends it to the other one's `transfers`: first the
//!   signed manifest, then, of the chunks that the other side says are missing there, packs made for the purpose. The
//!   other side (`transfer/`) proves every frame, keeps what came when the connection breaks, and signs a manifest of
//!   its own in the end.

mod client;
mod error;
mod push;
mod request;
mod reseal;
mod spec;
#[cfg(test)]
mod tests;
pub mod transfer;
mod within;

use std::sync::Arc;

use imprint_image::seal::Algorithm;

pub use error::CopyFault;
pub use request::{CopyRequest, Encrypt};
pub use spec::spec_of;

use crate::{
    catalog::Catalog,
    config::Config,
    config::RegionConfig,
    events::EventLog,
    export::Exports,
    identity::{Authority, ImageKeys},
    store::Store,
};

/// Copies images. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Copies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: Store,
    events: EventLog,
    exports: Exports,
    authority: Authority,
    image_keys: ImageKeys,
    /// What copies are encrypted with.
    algorithm: Algorithm,
    regions: Vec<RegionConfig>,
}

impl Copies {
    /// Over store and catalogue, with the regions that there are.
    #[must_use]
    pub fn new(
        catalog: Catalog,
        store: Store,
        events: EventLog,
        exports: Exports,
        authority: Authority,
        image_keys: ImageKeys,
        config: &Config,
    ) -> Self {
        Self(Arc::new(Inner {
            catalog,
            store,
            events,
            exports,
            authority,
            image_keys,
            algorithm: config.encryption.algorithm,
            regions: config.regions.clone(),
        }))
    }
}
