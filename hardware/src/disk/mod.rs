//! The right disk or none: which disk of a machine a rule names, and why the others were not taken.
//!
//! A [`DiskRule`] is read from the operator's text (`docs/disk-rules.md`) or from [`hints`](read_hints) of other systems.
//! [`choose`] holds it and the guards against every disk. The controller does so when a deployment is asked for, the
//! agent again with the same text over what it then sees.

mod choose;
mod fact;
mod guard;
mod hints;
mod parse;
mod plan;
mod rule;
mod size;
#[cfg(test)]
mod tests;

pub use choose::{Choice, ChoiceError, Lack, Needs, Outcome, Verdict, choose};
pub use fact::Fact;
pub use guard::{ForeignSystems, Policy, identity, is_named};
pub use hints::{HintError, are_hints, read_hints};
pub use parse::RuleError;
pub use plan::{DiskPlan, plan};
pub use rule::{Comparison, Condition, DiskRule, Pick, Term, Wanted};
