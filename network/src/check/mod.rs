//! What is wrong with a network, whatever it was read from. All of it at once.

mod addressing;
mod links;

pub(crate) use addressing::reaches;

use std::collections::BTreeMap;

use crate::{
    model::{Kind, Network},
    name::LinkName,
    problem::Problem,
};

/// Most links of one network.
pub const MAX_LINKS: usize = 512;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What has to change.
    pub errors: Vec<Problem>,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

impl Findings {
    pub(crate) fn error(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.errors.push(problem(path, what));
    }

    pub(crate) fn warn(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.warnings.push(problem(path, what));
    }
}

fn problem(path: impl Into<String>, what: impl Into<String>) -> Problem {
    Problem {
        line: None,
        path: path.into(),
        what: what.into(),
    }
}

/// Proves a network. Paths are `links.NAME.field[index]`.
#[must_use]
pub fn check(network: &Network) -> Findings {
    let mut findings = Findings::default();
    if network.links.is_empty() {
        findings.error("links", "there is no link; name at least one");
    }
    if network.links.len() > MAX_LINKS {
        findings.error(
            "links",
            format!("{} links; at most {MAX_LINKS} are taken", network.links.len()),
        );
        return findings;
    }
    circles(network, &mut findings);
    links::check(network, &mut findings);
    addressing::check(network, &mut findings);
    findings.errors.sort();
    findings.errors.dedup();
    findings.warnings.sort();
    findings.warnings.dedup();
    findings
}

/// The path of a link's field.
fn place(name: &LinkName, field: &str) -> String {
    if field.is_empty() {
        format!("links.{name}")
    } else {
        format!("links.{name}.{field}")
    }
}

/// Links that rest on themselves by way of others.
fn circles(network: &Network, findings: &mut Findings) {
    // 1: on the way down, 2: seen to the bottom.
    let mut seen: BTreeMap<&LinkName, u8> = BTreeMap::new();
    for start in network.links.keys() {
        let mut stack = vec![(start, false)];
        while let Some((name, leave)) = stack.pop() {
            if leave {
                seen.insert(name, 2);
                continue;
            }
            match seen.get(name) {
                Some(2) => continue,
                Some(_) => {
                    findings.error(place(name, ""), "it rests on itself by way of other links");
                    continue;
                }
                None => {}
            }
            seen.insert(name, 1);
            stack.push((name, true));
            if let Some(link) = network.links.get(name) {
                for below in network.below(link) {
                    if seen.get(below) != Some(&2) {
                        stack.push((below, false));
                    }
                }
            }
        }
    }
}

/// What a link is, for a sentence.
fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Nic(_) => "a physical interface",
        Kind::Bond(_) => "a bond",
        Kind::Vlan(_) => "a VLAN",
        Kind::Bridge(_) => "a bridge",
    }
}
