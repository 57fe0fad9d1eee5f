//! Why something was decided, for programs and for people.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// One reason. The code never changes its meaning; the text may be worded anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[schema(as = DiskReason)]
pub struct Reason {
    /// For programs: `too-small`.
    pub code: &'static str,
    /// For people: the fact that decided, and what was asked of it.
    pub text: String,
    /// What can be done; empty when there is nothing to do.
    pub remedy: String,
}

impl Reason {
    /// A reason.
    #[must_use]
    pub fn new(code: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
