//! The images that fit a node or a hardware model, page by page.

use imprint_hardware::{
    matching::{Fleet, ImageNeeds, NodeFacts, SeenBy, Verdict},
    model::HardwareModel,
};

use super::{MatchError, Matching, facts, seen_by_owner};
use crate::{
    catalog::{Image, ImagePage, ImageQuery},
    identity::Caller,
    inventory::{Inventory, InventoryError, Node},
};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Images that are read at once.
const AT_ONCE: u32 = 500;
/// Images that are looked at for one page, at most; a page that ends here has a token to go on by.
const MOST_LOOKED_AT: usize = 10_000;

/// What images are to fit.
#[derive(Debug)]
enum Subject {
    Node(Box<Node>, Option<Box<Inventory>>),
    Model(String),
}

impl Matching {
    /// A page of the images that `query` describes and that fit `wanted`: a node by id, name, UUID, serial number or MAC
    /// address, else a hardware model by its name. In the order of [`crate::catalog::Catalog::list`] and by its page
    /// tokens. A page may have less than it could and still be followed by another one.
    ///
    /// # Errors
    /// When neither a node nor a model is called that, and as the lists of images.
    pub async fn fitting(
        &self,
        by: &Caller,
        query: &ImageQuery,
        wanted: &str,
    ) -> Result<ImagePage, MatchError> {
        let models = self.current().await?;
        let subject = self.subject(by, wanted, &models).await?;
        let of_model = matches!(subject, Subject::Model(_));
        let nodes = [match &subject {
            Subject::Node(node, inventory) => facts(node, inventory.as_deref(), &models, None),
            Subject::Model(name) => NodeFacts {
                id: "",
                name,
                project: &by.project_id,
                inventory: None,
                model: models.iter().find(|model| model.name == *name),
                disk: None,
            },
        }];
        let size = match query.page_size as usize {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut query = ImageQuery {
            page_size: AT_ONCE,
            ..query.clone()
        };
        let (mut items, mut looked_at): (Vec<Image>, usize) = (Vec::new(), 0);
        loop {
            let page = self.catalog.list(&by.viewer(), &query).await?;
            looked_at += page.items.len();
            let mut needs = seen_by_owner(self.needs(&page.items).await?, by);
            if of_model {
                // Whose image it is says nothing about a kind of server.
                needs.iter_mut().for_each(seen_by_everyone);
            }
            let fleet = Fleet::new(self.site(), &nodes, &needs);
            for (place, image) in page.items.into_iter().enumerate() {
                if fleet.judge(0, place).verdict() != Verdict::Fits {
                    continue;
                }
                if items.len() == size {
                    let next_page_token = items.last().map(|last| last.id.clone());
                    return Ok(ImagePage {
                        items,
                        next_page_token,
                    });
                }
                items.push(image);
            }
            if page.next_page_token.is_none() || looked_at >= MOST_LOOKED_AT {
                return Ok(ImagePage {
                    items,
                    next_page_token: page.next_page_token,
                });
            }
            query.page_token = page.next_page_token;
        }
    }

    /// A name that a node and a model have means the node.
    async fn subject(
        &self,
        by: &Caller,
        wanted: &str,
        models: &[HardwareModel],
    ) -> Result<Subject, MatchError> {
        match self.nodes.find(&by.viewer(), wanted).await {
            Ok(node) => {
                let inventory = self.nodes.inventory(&node.id).await?;
                Ok(Subject::Node(Box::new(node), inventory.map(Box::new)))
            }
            Err(InventoryError::NotFound { .. }) if models.iter().any(|model| model.name == wanted) => {
                Ok(Subject::Model(wanted.to_owned()))
            }
            Err(InventoryError::NotFound { wanted, near }) => Err(MatchError::Nothing { wanted, near }),
            Err(error) => Err(error.into()),
        }
    }
}

fn seen_by_everyone(image: &mut ImageNeeds) {
    image.seen_by = SeenBy::Everyone;
}
