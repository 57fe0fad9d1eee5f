//! The right disk or none: which disk of a machine a rule names, and why the others were not taken.

mod choose;
mod parse;
mod rule;
#[cfg(test)]
mod tests;

pub use choose::{ChoiceError, Needs, Verdict, choose};
pub use parse::RuleError;
pub use rule::{Comparison, Condition, DiskRule, Fact, Wanted};
