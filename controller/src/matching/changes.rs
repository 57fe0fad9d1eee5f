//! What a new model or a new image changes for which nodes.

use imprint_hardware::{
    matching::{Fleet, Verdict},
    model::{HardwareModel, choose},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Counts, MatchError, Matching, facts};
use crate::{
    catalog::{Image, Visibility},
    events::{Author, NewEvent},
    inventory::{Inventory, Node},
};

/// Names that are told.
const FIRST: usize = 10;
/// Nodes that are read at once.
const AT_ONCE: usize = 500;

/// Nodes whose model is another one now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// In one sentence.
    pub summary: String,
    /// How many nodes there are with known hardware.
    pub nodes: u64,
    /// How many of them have another model, or other rules of their model.
    pub changed: u64,
    /// The first of them by name.
    pub first: Vec<String>,
}

impl Matching {
    /// Goes through all nodes with what is known of their hardware, some at a time.
    pub(super) async fn each_node(
        &self,
        mut look: impl FnMut(&[(Node, Option<Inventory>)]) + Send,
    ) -> Result<(), MatchError> {
        let mut after = String::new();
        loop {
            let page = self.nodes.with_inventories(None, &after, AT_ONCE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.id);
            look(&page);
        }
    }

    /// Whose model is another one.
    pub(super) async fn model_change(
        &self,
        before: &[HardwareModel],
        after: &[HardwareModel],
    ) -> Result<Change, MatchError> {
        let mut change = Change::default();
        let mut names = Vec::new();
        self.each_node(|page| {
            for (node, inventory) in page {
                let Some(inventory) = inventory else { continue };
                change.nodes += 1;
                if choose(before, inventory) != choose(after, inventory) {
                    change.changed += 1;
                    names.push(node.name.clone());
                }
            }
        })
        .await?;
        names.sort();
        names.truncate(FIRST);
        change.summary = match change.changed {
            0 => format!("none of {} nodes changes", change.nodes),
            changed => format!(
                "it changes {changed} of {} nodes, first {}",
                change.nodes,
                names.join(", ")
            ),
        };
        change.first = names;
        Ok(change)
    }

    /// Tells which nodes an image fits that can be used from now on.
    pub async fn tell_image(&self, author: Author, image: &Image) -> Result<(), MatchError> {
        let models = self.current().await?;
        let needs = self.needs(std::slice::from_ref(image)).await?;
        let site = self.site();
        let mut counts = Counts::default();
        let mut first: [Vec<String>; 3] = Default::default();
        self.each_node(|page| {
            let nodes: Vec<_> = page
                .iter()
                .map(|(node, inventory)| facts(node, inventory.as_ref(), &models, None))
                .collect();
            let fleet = Fleet::new(site, &nodes, &needs);
            for (place, node) in nodes.iter().enumerate() {
                // Whose nodes others have is not told.
                if matches!(image.visibility, Visibility::Private | Visibility::Shared)
                    && node.project != image.project_id
                {
                    continue;
                }
                let verdict = fleet.judge(place, 0).verdict();
                counts.add(verdict);
                let names = &mut first[match verdict {
                    Verdict::Fits => 0,
                    Verdict::Unverified => 1,
                    Verdict::Refused => 2,
                }];
                if names.len() < FIRST {
                    names.push(node.name.to_owned());
                }
            }
        })
        .await?;
        let [fits, unverified, refused] = first;
        self.events
            .append_by(
                author.in_project(&image.project_id),
                NewEvent {
                    kind: "image.matched",
                    node_id: None,
                    deployment_id: None,
                    message: format!(
                        "Image {} fits {} nodes, is unverified on {} and refused by {}.",
                        image.name, counts.fits, counts.unverified, counts.refused
                    ),
                    details: json!({
                        "image_id": image.id, "counts": counts, "fits": fits, "unverified": unverified, "refused": refused,
                    }),
                },
            )
            .await?;
        Ok(())
    }
}
