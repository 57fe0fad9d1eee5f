//! What of an image's facts would keep it from working on bare metal, and what to do about it.

mod boot;
mod system;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::model::{DiskKind, Facts};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works on some machines or with care.
    Warning,
    /// Machines will not come up, or not as they should.
    Error,
}

/// Something about an image that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name, which stays as it is: `no_gpt` and so on. `docs/image-facts.md` has the table.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Judges the facts of an image. What is unknown is not judged; that an operating system is unknown is a finding of its
/// own. A disk of data need not boot, so only its table and its file systems are judged. The worst comes first.
#[must_use]
pub fn lint(facts: &Facts) -> Vec<Finding> {
    let mut report = Report::default();
    match facts.kind {
        DiskKind::System => {
            boot::check(facts, &mut report);
            system::check(facts, &mut report);
        }
        DiskKind::Data => {
            boot::odd_table(facts, &mut report);
            system::unclean(facts, &mut report);
        }
    }
    let mut findings = report.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Takes findings.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, severity: Severity, code: &str, what: impl Into<String>, remedy: &str) {
        self.findings.push(Finding {
            code: code.to_owned(),
            severity,
            what: what.into(),
            remedy: remedy.to_owned(),
        });
    }

    fn error(&mut self, code: &str, what: impl Into<String>, remedy: &str) {
        self.add(Severity::Error, code, what, remedy);
    }

    fn warning(&mut self, code: &str, what: impl Into<String>, remedy: &str) {
        self.add(Severity::Warning, code, what, remedy);
    }

    fn info(&mut self, code: &str, what: impl Into<String>, remedy: &str) {
        self.add(Severity::Info, code, what, remedy);
    }
}
