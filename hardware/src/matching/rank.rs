//! The order in which the images of a server should be chosen.

use std::{cmp::Reverse, collections::HashMap};

use super::{Fleet, ImageNeeds, ImageState, Judgement, Verdict};
use crate::words::words;

words! {
    /// What somebody wants to do with a server.
    Intent, {
        /// A fresh operating system: public images first.
        Clean => "clean",
        /// The same as another server of his own: the project's own images first.
        Replicate => "replicate",
        /// What others have made for him: shared images first.
        Shared => "shared",
        /// A complete software environment: the marketplace first.
        Marketplace => "marketplace",
    }
}

impl Intent {
    fn means(self, image: &ImageNeeds, project: &str) -> bool {
        let own = image.project == project;
        match self {
            Self::Clean => image.visibility == "public",
            Self::Replicate => own,
            Self::Shared => image.visibility == "shared" && !own,
            Self::Marketplace => image.visibility == "marketplace",
        }
    }
}

/// What an order goes by besides facts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ranking<'a> {
    /// Id of an image that was asked for by name.
    pub pin: Option<&'a str>,
    /// What is wanted.
    pub intent: Option<Intent>,
}

/// Smaller is better. The id at the end makes every order the only one.
type Key<'a> = (
    Verdict,
    [bool; 5],
    Reverse<Option<&'a str>>,
    u64,
    &'a str,
    &'a str,
);

impl Fleet<'_> {
    /// Places of the images with their judgements, the best first: by verdict, then the pinned one, what the intent means,
    /// the project's own, verified on this model, the newest of its family and not deprecated; then the smaller, then by
    /// name and id.
    #[must_use]
    pub fn rank(&self, node: usize, ranking: Ranking<'_>) -> Vec<(usize, Judgement)> {
        let newest = self.newest();
        let project = self.nodes[node].project;
        let mut places: Vec<(usize, Judgement)> = (0..self.images.len())
            .map(|image| (image, self.judge(node, image)))
            .collect();
        places.sort_by_cached_key(|&(place, judgement)| {
            let image = &self.images[place];
            let worse = [
                ranking.pin != Some(image.id.as_str()),
                ranking.intent.is_some_and(|intent| !intent.means(image, project)),
                image.project != project,
                !self.is_verified(node, place),
                !newest[place],
            ];
            // Among those that are not the newest, the newer first.
            let age = (!newest[place]).then_some(image.id.as_str());
            let key: Key<'_> = (
                judgement.verdict(),
                worse,
                Reverse(age),
                image.disk_bytes,
                &image.name,
                &image.id,
            );
            key
        });
        places
    }

    /// Of each image whether no newer active one of its family, project and region may be used instead. An image without
    /// a family is the newest of itself.
    fn newest(&self) -> Vec<bool> {
        let mut newest: HashMap<(&str, &str, &str), &str> = HashMap::new();
        let counts = |image: &ImageNeeds| image.state == ImageState::Active && !image.exclude_from_latest;
        for image in self.images.iter().filter(|image| counts(image)) {
            if let Some(family) = &image.family {
                let id = newest
                    .entry((family, &image.project, &image.region))
                    .or_insert(&image.id);
                *id = (*id).max(&image.id);
            }
        }
        let is_newest = |image: &ImageNeeds| match &image.family {
            None => counts(image),
            Some(family) => {
                let id = newest.get(&(family.as_str(), image.project.as_str(), image.region.as_str()));
                counts(image) && id.is_some_and(|id| *id == image.id)
            }
        };
        self.images.iter().map(is_newest).collect()
    }
}
