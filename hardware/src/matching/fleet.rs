//! Images and nodes, prepared, and every pair of them judged.

use super::{
    Answer, ImageNeeds, NodeFacts, Reason, Site, Verdict, Weight,
    checks::{CHECKS, Fails},
    prepared::{self, Image, Node},
    vocabulary::{Names, Vocabulary},
};

/// Which checks fail for a pair: bit n is row n of [`CHECKS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement(u64);

impl Judgement {
    /// The worst of what fails.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        if self.0 & REFUSES != 0 {
            Verdict::Refused
        } else if self.0 & UNVERIFIED != 0 {
            Verdict::Unverified
        } else {
            Verdict::Fits
        }
    }

    /// The codes of all checks that fail, notes among them, in the order of the table.
    pub fn codes(self) -> impl Iterator<Item = &'static str> {
        let failed = move |(row, _): &(usize, _)| self.0 & (1 << row) != 0;
        CHECKS
            .iter()
            .enumerate()
            .filter(failed)
            .map(|(_, check)| check.code)
    }
}

const REFUSES: u64 = rows(Weight::Refuses);
const UNVERIFIED: u64 = rows(Weight::Unverified);

/// The rows of one weight.
const fn rows(weight: Weight) -> u64 {
    assert!(CHECKS.len() <= 64, "an answer is kept in 64 bits");
    let (mut mask, mut row) = (0, 0);
    while row < CHECKS.len() {
        if CHECKS[row].weight as u8 == weight as u8 {
            mask |= 1 << row;
        }
        row += 1;
    }
    mask
}

/// Whether an image and a node fail a check.
type PairFails = fn(&Image, &Node) -> bool;

/// Images and nodes, prepared once so that each pair costs nanoseconds.
#[derive(Debug)]
pub struct Fleet<'a> {
    pub(super) site: Site<'a>,
    pub(super) nodes: &'a [NodeFacts<'a>],
    pub(super) images: &'a [ImageNeeds],
    prepared_nodes: Vec<(Node, u64)>,
    pub(super) prepared_images: Vec<(Image, u64)>,
    pairs: Vec<(u64, PairFails)>,
}

impl<'a> Fleet<'a> {
    /// Prepares both sides.
    #[must_use]
    pub fn new(site: Site<'a>, nodes: &'a [NodeFacts<'a>], images: &'a [ImageNeeds]) -> Self {
        let words = Vocabulary::of(nodes, images);
        let mut names = Names::default();
        let prepared_nodes = nodes.iter().map(|node| {
            let node = prepared::node(node, &mut names, &words);
            let failed = mask(|fails| matches!(fails, Fails::Node(fails) if fails(&node)));
            (node, failed)
        });
        let prepared_nodes = prepared_nodes.collect();
        let prepared_images = images.iter().map(|image| {
            let image = prepared::image(image, site, &mut names, &words);
            let failed = mask(|fails| matches!(fails, Fails::Image(fails) if fails(&image)));
            (image, failed)
        });
        let prepared_images = prepared_images.collect();
        let pairs = CHECKS
            .iter()
            .enumerate()
            .filter_map(|(row, check)| match check.fails {
                Fails::Pair(fails) => Some((1 << row, fails)),
                Fails::Image(_) | Fails::Node(_) => None,
            });
        Self {
            site,
            nodes,
            images,
            prepared_nodes,
            prepared_images,
            pairs: pairs.collect(),
        }
    }

    /// The nodes, in the order in which they were given.
    #[must_use]
    pub fn nodes(&self) -> &'a [NodeFacts<'a>] {
        self.nodes
    }

    /// The images, in the order in which they were given.
    #[must_use]
    pub fn images(&self) -> &'a [ImageNeeds] {
        self.images
    }

    /// Whether an image fits a node, by their places.
    #[must_use]
    pub fn judge(&self, node: usize, image: usize) -> Judgement {
        let (node, of_node) = &self.prepared_nodes[node];
        let (image, of_image) = &self.prepared_images[image];
        let mut failed = of_node | of_image;
        for (row, fails) in &self.pairs {
            if fails(image, node) {
                failed |= row;
            }
        }
        Judgement(failed)
    }

    /// The judgement in words.
    #[must_use]
    pub fn answer(&self, node: usize, image: usize) -> Answer {
        let judgement = self.judge(node, image);
        let (mut reasons, mut notes) = (Vec::new(), Vec::new());
        for (row, check) in CHECKS.iter().enumerate() {
            if judgement.0 & (1 << row) == 0 {
                continue;
            }
            let said = (check.explain)(&self.images[image], &self.nodes[node], self.site);
            let reason = Reason {
                code: check.code.to_owned(),
                text: said.text,
                remedy: said.remedy,
                image_fact: said.image_fact,
                node_fact: said.node_fact,
            };
            match check.weight {
                Weight::Note => notes.push(reason),
                Weight::Refuses | Weight::Unverified => reasons.push(reason),
            }
        }
        Answer {
            verdict: judgement.verdict(),
            reasons,
            notes,
        }
    }

    pub(super) fn is_verified(&self, node: usize, image: usize) -> bool {
        self.prepared_images[image]
            .0
            .is_verified_on(&self.prepared_nodes[node].0)
    }
}

fn mask(fails: impl Fn(&Fails) -> bool) -> u64 {
    let failed = CHECKS.iter().enumerate().filter(|(_, check)| fails(&check.fails));
    failed.fold(0, |mask, (row, _)| mask | 1 << row)
}
