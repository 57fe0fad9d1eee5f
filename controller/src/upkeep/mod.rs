//! Care for the artifact store: removing what nobody needs, and proving that what is needed is there and whole.
//!
//! Both go through the whole store, one of them at a time. They are plain functions that tell how far they are and end
//! when they are cancelled; a job or the clock calls them.

mod collect;
mod figures;
mod pack;
mod periodic;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use imprint_image::PublicKey;
use tokio::sync::Mutex;

pub use collect::{GcReport, GcRequest};
pub use figures::StoreFigures;
pub use periodic::run;
pub use verify::{DamagedObject, VerifyReport};

use crate::{
    catalog::{Catalog, CatalogError},
    clock::Clock,
    config::StoreConfig,
    events::EventLog,
    identity::{Authority, ImageKeyError, ImageKeys},
    store::{Store, StoreError},
};

/// Told while the work goes on: what is done just now, how much of it, of how much.
pub type Progress<'a> = &'a (dyn Fn(&'static str, u64, u64) + Send + Sync);

/// Why the work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The store cannot be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The key of an encrypted image cannot be had, which says nothing of the store.
    #[error(transparent)]
    Key(#[from] ImageKeyError),
    /// What was found could not be kept.
    #[error("cannot keep what was found")]
    Keep(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A task of the controller ended without a result.
    #[error("the work was ended by the controller")]
    Task(#[from] tokio::task::JoinError),
    /// Somebody wanted it to end.
    #[error("it was cancelled")]
    Cancelled,
}

/// Cares for the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upkeep {
    store: Store,
    catalog: Catalog,
    events: EventLog,
    clock: Clock,
    keys: Arc<Vec<PublicKey>>,
    image_keys: ImageKeys,
    config: StoreConfig,
    /// Held while one of them works.
    alone: Arc<Mutex<()>>,
}

impl Upkeep {
    /// Over store and catalogue.
    pub fn new(
        store: Store,
        catalog: Catalog,
        events: EventLog,
        clock: Clock,
        authority: &Authority,
        image_keys: ImageKeys,
        config: &StoreConfig,
    ) -> Self {
        Self {
            store,
            catalog,
            events,
            clock,
            keys: Arc::new(authority.manifest_public_keys()),
            image_keys,
            config: config.clone(),
            alone: Arc::default(),
        }
    }
}
