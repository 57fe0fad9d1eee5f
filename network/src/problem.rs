//! What is wrong with a network, and where.

use std::fmt;

/// One thing that is wrong, or worth a second look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line of the text, from 1; unset when there is no text or no line to name.
    pub line: Option<u32>,
    /// Where it is: `ethernets.eth0.addresses[1]`, `links[2].bond_mode`. Empty for the whole.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

/// A network that cannot be used: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.errors))]
pub struct Refused {
    /// What has to change; at least one.
    pub errors: Vec<Problem>,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

fn listed(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}
