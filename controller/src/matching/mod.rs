//! Choosing: which disk of a machine a rule names, and why the others were not taken.

mod choose;
mod disk_rule;
mod rule_parser;
#[cfg(test)]
mod tests;

pub use choose::{ChoiceError, Needs, Verdict, choose};
pub use disk_rule::{Comparison, Condition, DiskRule, Fact, Wanted};
pub use rule_parser::RuleError;
