//! Hardware models, and which images fit which nodes.
//!
//! [`imprint_hardware`] decides; here is what it decides over: the models, built in or applied ([`models`]), what the
//! catalogue knows of images ([`needs`]), and the nodes' inventories. [`Matching`] answers for one node over all images
//! ([`of_node`]), for one image over all nodes ([`of_image`]) and for one deployment, narrows lists of images to those that
//! fit ([`fitting`]), and tells what a new model or image changes ([`changes`]).

mod builtin;
mod changes;
mod current;
mod digest;
mod error;
mod fitting;
mod models;
mod needs;
mod of_image;
mod of_node;
mod rules;
mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use imprint_hardware::{
    disk::DiskRule,
    matching::{Answer, Fleet, ImageNeeds, NodeFacts, SeenBy, Site},
    model::{HardwareModel, choose},
};
use sqlx::SqlitePool;

pub use error::MatchError;
pub use models::{Applied, ModelOrigin, ModelPage, ModelVersion, ModelView};
pub use of_image::{CodeCount, FleetQuery, ImageMatch, ModelCount, NodeAnswer};
pub use of_node::{Candidate, MatchQuery, NodeMatch};
pub use run::run;

use crate::{
    catalog::{Catalog, Image, ImageDisk},
    clock::Clock,
    events::{DatabaseError, EventLog},
    identity::Caller,
    inventory::{Inventory, Node, Nodes},
};
use current::Current;
use digest::FactsDigest;

/// How many of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// Nothing is against it.
    pub fits: u64,
    /// It needs a permission.
    pub unverified: u64,
    /// It cannot be.
    pub refused: u64,
}

impl Counts {
    fn add(&mut self, verdict: imprint_hardware::matching::Verdict) {
        use imprint_hardware::matching::Verdict;
        match verdict {
            Verdict::Fits => self.fits += 1,
            Verdict::Unverified => self.unverified += 1,
            Verdict::Refused => self.refused += 1,
        }
    }
}

/// Models and matching; cheap to clone.
#[derive(Debug, Clone)]
pub struct Matching {
    db: SqlitePool,
    clock: Clock,
    events: EventLog,
    nodes: Nodes,
    catalog: Catalog,
    /// What was read from the facts of manifests, which never change.
    digests: Arc<Mutex<HashMap<String, Arc<FactsDigest>>>>,
    /// The models of the newest state of their table.
    models: Arc<Mutex<Option<Current>>>,
}

impl Matching {
    /// Over the database.
    #[must_use]
    pub fn new(db: SqlitePool, clock: Clock, events: EventLog, nodes: Nodes, catalog: Catalog) -> Self {
        Self {
            db,
            clock,
            events,
            nodes,
            catalog,
            digests: Arc::default(),
            models: Arc::default(),
        }
    }

    fn site(&self) -> Site<'_> {
        Site {
            region: self.catalog.region(),
        }
    }

    /// Whether a disk of an image fits a node, or the disk of it that a rule names.
    pub(crate) async fn answer(
        &self,
        node: &Node,
        inventory: Option<&Inventory>,
        image: &Image,
        disk: &ImageDisk,
        rule: Option<&DiskRule>,
    ) -> Result<Answer, DatabaseError> {
        let models = self.current().await?;
        let mut needs = [self.needs_of(image, disk).await?];
        // Who may use the image is asked apart: an operator may for others.
        needs[0].seen_by = SeenBy::Everyone;
        let nodes = [facts(node, inventory, &models, rule)];
        Ok(Fleet::new(self.site(), &nodes, &needs).answer(0, 0))
    }

    /// A node's model.
    pub(crate) async fn hardware_model(
        &self,
        inventory: Option<&Inventory>,
    ) -> Result<Option<HardwareModel>, DatabaseError> {
        let Some(inventory) = inventory else {
            return Ok(None);
        };
        let models = self.current().await?;
        Ok(choose(models.iter(), inventory).cloned())
    }

    /// The name of a node's model.
    pub async fn model_of(&self, inventory: Option<&Inventory>) -> Result<Option<String>, DatabaseError> {
        let model = self.hardware_model(inventory).await?;
        Ok(model.map(|model| model.name))
    }
}

/// Whoever asks may put the images of his own project on every node that he may deploy.
fn seen_by_owner(mut needs: Vec<ImageNeeds>, by: &Caller) -> Vec<ImageNeeds> {
    for image in needs.iter_mut().filter(|image| image.project == by.project_id) {
        image.seen_by = SeenBy::Everyone;
    }
    needs
}

/// A node as the engine takes it.
fn facts<'a>(
    node: &'a Node,
    inventory: Option<&'a Inventory>,
    models: &'a [HardwareModel],
    disk: Option<&'a DiskRule>,
) -> NodeFacts<'a> {
    NodeFacts {
        id: &node.id,
        name: &node.name,
        project: &node.project_id,
        inventory,
        model: inventory.and_then(|inventory| choose(models, inventory)),
        disk,
    }
}
