//! Which images fit a server, and why the others do not.
//!
//! What an image asks ([`ImageNeeds`]) is compared with what a server is ([`NodeFacts`]: its inventory, its model, its
//! owner). Every requirement is one row of one table ([`CHECKS`]); the reasons of an [`Answer`] are exactly the rows that
//! fail, in the order of the table.
//!
//! What is not known is never guessed. Each row says what an unknown fact means for it: most often nothing, and a row of
//! its own says that it is unknown, as `drivers-unknown` makes an answer `unverified` and `architecture-unknown` is a
//! note.
//!
//! [`Fleet`] brings both sides into a form in which a pair is judged in nanoseconds; texts are made only for what is
//! shown. [`Fleet::rank`] puts the images of a server into the order in which they should be chosen.

mod answer;
mod bits;
mod checks;
mod explain;
mod fleet;
mod image;
mod node;
mod notes;
mod prepared;
mod rank;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use answer::{Answer, Reason, Verdict};
pub use checks::{CHECKS, Check, Group, Weight};
pub use fleet::{Fleet, Judgement};
pub use image::{Drivers, FirmwareModes, ImageKind, ImageNeeds, ImageRules, ImageState, SeenBy, Target};
pub use node::NodeFacts;
pub use rank::{Intent, Ranking};

/// Where and for whom it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site<'a> {
    /// The region of this controller.
    pub region: &'a str,
}
