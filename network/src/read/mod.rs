//! Reads what an operator or a cloud says of a server's network.
//!
//! Two formats are read: OpenStack's `network_data.json` and network-config version 2 (cloud-init's and netplan's). All
//! that is wrong is told at once, with path and line. Nothing is dropped in silence: what the model cannot carry is an
//! error, or a warning where a server is as well off without it.

mod dhcp;
mod field;
mod json;
mod openstack;
mod openstack_net;
mod tree;
mod v2;
mod v2_device;
mod v2_route;
mod yaml;

#[cfg(test)]
mod tests;

use tree::{BadText, Tree, Value};

use crate::{
    check::check,
    model::Network,
    problem::{Problem, Refused},
};
use field::{Field, Notes};

/// Longest text that is read, bytes.
pub const MAX_TEXT: usize = 256 << 10;

/// A format of network data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// OpenStack's `network_data.json`.
    OpenStack,
    /// Version 2 of cloud-init's network-config, which is netplan's.
    V2,
}

/// A network that was read and proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The network.
    pub network: Network,
    /// What it was read from.
    pub source: Source,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

/// Reads network data of either format; which one it is shows in the text.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Read, Refused> {
    let tree = parse(bytes).map_err(|bad| Refused {
        errors: vec![Problem {
            line: bad.line,
            path: String::new(),
            what: bad.what,
        }],
        warnings: Vec::new(),
    })?;
    let root = Field::root(&tree);
    let mut notes = Notes::default();
    let source = source(&root);
    let network = match source {
        Source::OpenStack => openstack::read(&root, &mut notes),
        Source::V2 => v2::read(&root, &mut notes),
    };
    // What could not be read would be missed again.
    if notes.findings.errors.is_empty() {
        notes.take(check(&network));
    }
    let mut findings = notes.findings;
    findings.errors.sort();
    findings.errors.dedup();
    findings.warnings.sort();
    findings.warnings.dedup();
    if findings.errors.is_empty() {
        Ok(Read {
            network: network.settled(),
            source,
            warnings: findings.warnings,
        })
    } else {
        Err(Refused {
            errors: findings.errors,
            warnings: findings.warnings,
        })
    }
}

fn source(root: &Field<'_>) -> Source {
    let list = |key| matches!(root.get(key).map(|field| &field.tree.value), Some(Value::List(_)));
    if root.get("version").is_none() && (list("links") || list("networks")) {
        Source::OpenStack
    } else {
        Source::V2
    }
}

fn parse(bytes: &[u8]) -> Result<Tree, BadText> {
    let whole = |what: String| BadText { line: None, what };
    if bytes.len() > MAX_TEXT {
        return Err(whole(format!(
            "it has {} bytes; at most {MAX_TEXT} are read",
            bytes.len()
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        BadText::at(line, "it is not UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // JSON is YAML but for its escapes, and serde explains it better.
    if text.trim_start().starts_with('{')
        && let Ok(tree) = json::read(text)
    {
        return Ok(tree);
    }
    let looks_like_json = text.trim_start().starts_with("{") && text.contains("\"links\"");
    if looks_like_json {
        json::read(text)
    } else {
        yaml::read(text)
    }
}
