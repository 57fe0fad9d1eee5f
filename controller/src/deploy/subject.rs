//! What a request is about: its node, its image, and what is known of both, for a deployment and for its plan alike.

use imprint_hardware::matching::Answer;

use super::{Deployments, error::DeployError, image_rules::Chosen, request::DeployRequest};
use crate::{
    catalog::Image,
    identity::Caller,
    inventory::{Inventory, Node},
};

/// What a request is about.
pub(super) struct Subject {
    pub node: Node,
    pub inventory: Option<Inventory>,
    pub image: Image,
    /// Name of the image to use instead, if there is one that the caller may use.
    replacement: Option<String>,
    /// How the image stands to the node.
    pub fit: Option<Answer>,
}

impl Subject {
    /// The image, as the checks take it.
    pub fn chosen<'a>(&'a self, region: &'a str) -> Chosen<'a> {
        Chosen {
            image: &self.image,
            replacement: self.replacement.as_deref(),
            region,
            fit: self.fit.as_ref(),
        }
    }
}

impl Deployments {
    /// Looks for all of it, and refuses what the caller may not use or nobody could write.
    pub(super) async fn subject(&self, by: &Caller, request: &DeployRequest) -> Result<Subject, DeployError> {
        let node = self.nodes.find(&by.viewer(), &request.node).await?;
        let image = match self.image_of(&by.viewer(), request).await {
            Err(DeployError::Image(error)) => return Err(self.explained(by, &request.image, error).await),
            found => found?,
        };
        let inventory = self.nodes.inventory(&node.id).await?;
        let image = match request.family.as_deref().filter(|family| !family.is_empty()) {
            Some(_) => {
                self.best_of(&by.viewer(), image, &node, inventory.as_ref())
                    .await?
            }
            None => image,
        };
        self.check_shared(by, &image, &node).await?;
        let replacement = self.replacement_of(&by.viewer(), &image).await?;
        for disk in image.disks.iter().filter(|disk| disk.encrypted) {
            // Before anything is begun: without its key the image cannot be written.
            self.image_keys.open(&disk.manifest).await?;
        }
        let fit = self.fit(request, &node, inventory.as_ref(), &image).await?;
        Ok(Subject {
            node,
            inventory,
            image,
            replacement,
            fit,
        })
    }
}
