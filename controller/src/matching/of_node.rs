//! One node, all images: candidates in the order in which they should be chosen.

use imprint_hardware::matching::{Fleet, Intent, NodeFacts, Ranking, Reason, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Counts, MatchError, Matching, facts, seen_by_owner};
use crate::{
    catalog::{Image, ImageQuery},
    identity::{Caller, Viewer},
    inventory::{Inventory, Node},
};

/// Images that are looked at, at most.
const MOST_IMAGES: usize = 20_000;
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

/// Reasons that make an image nobody's candidate; `all` shows it still.
const BESIDE: [&str; 4] = [
    "image-not-ready",
    "image-withdrawn",
    "image-is-iso",
    "image-not-shared",
];

/// What is asked about a node.
#[derive(Debug, Clone, Default)]
pub struct MatchQuery {
    /// Only images of this family.
    pub family: Option<String>,
    /// Id or name of the image that is wanted: it comes first among those that are as good.
    pub image: Option<String>,
    /// clean, replicate, shared or marketplace.
    pub intent: Option<String>,
    /// Also images that are nobody's candidates.
    pub all: bool,
    /// At most this many candidates: 50 when 0, 1,000 at most.
    pub limit: u32,
}

/// An image, and how it stands to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Candidate {
    /// From 1, the best first.
    pub rank: u32,
    /// The image.
    pub image_id: String,
    /// Its name.
    pub image: String,
    /// The family whose version it is.
    pub family: Option<String>,
    /// Which version.
    pub version: Option<String>,
    /// Who may see it.
    pub visibility: String,
    /// What its use costs; null: nothing.
    pub price: Option<String>,
    /// fits, unverified or refused.
    pub verdict: Verdict,
    /// Every requirement that is not met.
    pub reasons: Vec<Reason>,
    /// What else should be known.
    pub notes: Vec<Reason>,
}

/// The images of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeMatch {
    /// The node.
    pub node_id: String,
    /// Its name.
    pub node: String,
    /// Vendor and product.
    pub hardware: String,
    /// Its model; null: none describes it.
    pub model: Option<String>,
    /// Name of the image that a deployment would take; null: none fits.
    pub chosen: Option<String>,
    /// How many images of each verdict, those beyond the limit too.
    pub counts: Counts,
    /// The best first.
    pub items: Vec<Candidate>,
    /// Whether there are more than the limit.
    pub more: bool,
}

impl Matching {
    /// The images that the caller sees, for a node.
    pub async fn of_node(
        &self,
        by: &Caller,
        node: &str,
        query: &MatchQuery,
    ) -> Result<NodeMatch, MatchError> {
        let node = self.nodes.find(&by.viewer(), node).await?;
        let inventory = self.nodes.inventory(&node.id).await?;
        let intent = query.intent.as_deref().filter(|text| !text.is_empty());
        let intent = intent.map(str::parse::<Intent>).transpose();
        let intent = intent.map_err(|error| MatchError::Word(error.to_string()))?;
        let wanted = match query.image.as_deref().filter(|image| !image.is_empty()) {
            Some(image) => Some(self.catalog.find(&by.viewer(), image).await?),
            None => None,
        };
        let family = query.family.as_deref().filter(|family| !family.is_empty());
        let mut images = self.images(&by.viewer(), family).await?;
        if let Some(wanted) = &wanted
            && !images.iter().any(|image| image.id == wanted.id)
        {
            images.push(wanted.clone());
        }
        let needs = seen_by_owner(self.needs(&images).await?, by);
        let models = self.current().await?;
        let nodes = [facts(&node, inventory.as_ref(), &models, None)];
        let fleet = Fleet::new(self.site(), &nodes, &needs);
        let ranking = Ranking {
            pin: wanted.as_ref().map(|image| image.id.as_str()),
            intent,
        };
        Ok(tell(&fleet, &node, ranking, query))
    }

    /// The best image of a family that fits a node; `None` when none does.
    pub(crate) async fn best_of_family(
        &self,
        viewer: &Viewer,
        node: &Node,
        inventory: &Inventory,
        images: &[Image],
    ) -> Result<Option<Image>, MatchError> {
        let usable: Vec<Image> = images
            .iter()
            .filter(|image| !image.exclude_from_latest)
            .cloned()
            .collect();
        let needs = self.needs(&usable).await?;
        let models = self.current().await?;
        let nodes = [facts(node, Some(inventory), &models, None)];
        let fleet = Fleet::new(self.site(), &nodes, &needs);
        let mut ranked = fleet.rank(0, Ranking::default());
        ranked.retain(|(_, judgement)| judgement.verdict() == Verdict::Fits);
        // The own project's family, or the one that a name means, comes before what is only better placed.
        ranked.sort_by_key(|(place, _)| usable[*place].project_id != viewer.home());
        Ok(ranked.first().map(|(place, _)| usable[*place].clone()))
    }

    /// The images that a viewer sees.
    pub(crate) async fn images(
        &self,
        viewer: &Viewer,
        family: Option<&str>,
    ) -> Result<Vec<Image>, MatchError> {
        let mut images = Vec::new();
        let mut query = ImageQuery {
            family: family.map(str::to_owned),
            page_size: 1000,
            ..ImageQuery::default()
        };
        loop {
            let page = self.catalog.list(viewer, &query).await?;
            images.extend(page.items);
            query.page_token = page.next_page_token;
            if query.page_token.is_none() || images.len() >= MOST_IMAGES {
                return Ok(images);
            }
        }
    }
}

fn tell(fleet: &Fleet<'_>, node: &Node, ranking: Ranking<'_>, query: &MatchQuery) -> NodeMatch {
    let limit = match query.limit as usize {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let of: &NodeFacts<'_> = &fleet.nodes()[0];
    let pinned = |place: usize| ranking.pin == Some(fleet.images()[place].id.as_str());
    let mut ranked = fleet.rank(0, ranking);
    ranked.retain(|(place, judgement)| {
        query.all || pinned(*place) || !judgement.codes().any(|code| BESIDE.contains(&code))
    });
    let mut counts = Counts::default();
    ranked
        .iter()
        .for_each(|(_, judgement)| counts.add(judgement.verdict()));
    let chosen = ranked
        .first()
        .filter(|(_, judgement)| judgement.verdict() == Verdict::Fits);
    let items = ranked.iter().take(limit).zip(1..).map(|((place, _), rank)| {
        let (image, answer) = (&fleet.images()[*place], fleet.answer(0, *place));
        Candidate {
            rank,
            image_id: image.id.clone(),
            image: image.name.clone(),
            family: image.family.clone(),
            version: image.version.clone(),
            visibility: image.visibility.clone(),
            price: image.price.clone(),
            verdict: answer.verdict,
            reasons: answer.reasons,
            notes: answer.notes,
        }
    });
    NodeMatch {
        node_id: node.id.clone(),
        node: node.name.clone(),
        hardware: of.hardware(),
        model: of.model_name().map(str::to_owned),
        chosen: chosen.map(|(place, _)| fleet.images()[*place].name.clone()),
        counts,
        items: items.collect(),
        more: ranked.len() > limit,
    }
}
