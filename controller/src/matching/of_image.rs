//! One image, the whole fleet: how many nodes it fits, and what is against it on the others.

use std::collections::BTreeMap;

use imprint_hardware::matching::{Fleet, Reason, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Counts, MatchError, Matching, facts, models, seen_by_owner};
use crate::identity::Caller;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Nodes that are read at once.
const AT_ONCE: usize = 500;

/// What is asked about an image.
#[derive(Debug, Clone, Default)]
pub struct FleetQuery {
    /// Only nodes with this verdict.
    pub verdict: Option<String>,
    /// At most this many nodes: 100 when 0, 1,000 at most.
    pub page_size: u32,
    /// Only nodes after this id.
    pub page_token: Option<String>,
}

/// A node, and how the image stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeAnswer {
    /// The node.
    pub node_id: String,
    /// Its name.
    pub node: String,
    /// Vendor and product.
    pub hardware: String,
    /// Its model.
    pub model: Option<String>,
    /// fits, unverified or refused.
    pub verdict: Verdict,
    /// Every requirement that is not met.
    pub reasons: Vec<Reason>,
    /// What else should be known.
    pub notes: Vec<Reason>,
}

/// Nodes of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelCount {
    /// The model, or vendor and product when there is no model; empty when neither is known.
    pub model: String,
    /// Its nodes.
    pub counts: Counts,
}

/// Nodes for which something holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CodeCount {
    /// The code of the reason or note.
    pub code: String,
    /// How many nodes.
    pub nodes: u64,
}

/// An image over the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageMatch {
    /// The image.
    pub image_id: String,
    /// Its name.
    pub image: String,
    /// All nodes that the caller sees.
    pub counts: Counts,
    /// The same by model: the image's row of the compatibility matrix.
    pub by_model: Vec<ModelCount>,
    /// Which reasons and notes on how many nodes, the most frequent first.
    pub by_code: Vec<CodeCount>,
    /// A page of nodes, by id.
    pub items: Vec<NodeAnswer>,
    /// Asks for the next page; null on the last one.
    pub next_page_token: Option<String>,
}

impl Matching {
    /// An image over all nodes that the caller sees. Nothing is changed.
    pub async fn of_image(
        &self,
        by: &Caller,
        image: &str,
        query: &FleetQuery,
    ) -> Result<ImageMatch, MatchError> {
        let verdict = query.verdict.as_deref().filter(|text| !text.is_empty());
        let verdict = verdict.map(models::verdict).transpose()?;
        let image = self.catalog.find(&by.viewer(), image).await?;
        let needs = seen_by_owner(self.needs(std::slice::from_ref(&image)).await?, by);
        let models = self.current().await?;
        let limit = match query.page_size as usize {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let from = query.page_token.clone().unwrap_or_default();
        let (mut counts, mut items, mut more) = (Counts::default(), Vec::new(), false);
        let mut by_model: BTreeMap<String, Counts> = BTreeMap::new();
        let mut by_code: BTreeMap<&'static str, u64> = BTreeMap::new();
        let viewer = by.viewer();
        let mut after = String::new();
        loop {
            let page = self
                .nodes
                .with_inventories(viewer.project(), &after, AT_ONCE)
                .await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(&last.id);
            let nodes: Vec<_> = page
                .iter()
                .map(|(node, inventory)| facts(node, inventory.as_ref(), &models, None))
                .collect();
            let fleet = Fleet::new(self.site(), &nodes, &needs);
            for (place, node) in nodes.iter().enumerate() {
                let judgement = fleet.judge(place, 0);
                counts.add(judgement.verdict());
                let model = node.model_name().map_or_else(|| node.hardware(), str::to_owned);
                by_model
                    .entry(model.clone())
                    .or_default()
                    .add(judgement.verdict());
                judgement
                    .codes()
                    .for_each(|code| *by_code.entry(code).or_default() += 1);
                if node.id <= from.as_str() || verdict.is_some_and(|wanted| wanted != judgement.verdict()) {
                    continue;
                }
                if items.len() == limit {
                    more = true;
                    continue;
                }
                let answer = fleet.answer(place, 0);
                items.push(NodeAnswer {
                    node_id: node.id.to_owned(),
                    node: node.name.to_owned(),
                    hardware: node.hardware(),
                    model: node.model_name().map(str::to_owned),
                    verdict: answer.verdict,
                    reasons: answer.reasons,
                    notes: answer.notes,
                });
            }
        }
        let mut by_code: Vec<CodeCount> = by_code
            .into_iter()
            .map(|(code, nodes)| CodeCount {
                code: code.to_owned(),
                nodes,
            })
            .collect();
        by_code.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.code.cmp(&b.code)));
        let next = items
            .last()
            .filter(|_| more)
            .map(|item: &NodeAnswer| item.node_id.clone());
        Ok(ImageMatch {
            image_id: image.id,
            image: image.name,
            counts,
            by_model: by_model
                .into_iter()
                .map(|(model, counts)| ModelCount { model, counts })
                .collect(),
            by_code,
            items,
            next_page_token: next,
        })
    }
}
