//! The faults of a configuration, all of them at once.

use std::fmt;

/// One fault: which key, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Path of the key ("dhcp.range"), or the name of the flag.
    pub key: String,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// Every fault that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file, or "command line".
    pub origin: String,
    /// In the order of the keys; never empty.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigErrors {
    /// A single fault.
    pub fn one(
        origin: impl Into<String>,
        key: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let problem = ConfigProblem {
            key: key.into(),
            cause: cause.into(),
            remedy: remedy.into(),
        };
        Self {
            origin: origin.into(),
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        write!(f, "{count} {noun} in the configuration ({})", self.origin)?;
        for ConfigProblem { key, cause, remedy } in &self.problems {
            write!(f, "\n  {key}: {cause}\n    {remedy}")?;
        }
        Ok(())
    }
}
