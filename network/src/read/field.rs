//! Values of a tree with their paths: what is read notes what is wrong by itself.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use super::tree::{Tree, Value};
use crate::{check::Findings, problem::Problem};

/// Longest piece of the text that a message repeats.
const SHOWN: usize = 48;

/// What was found while reading, and which line says what of the model.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub findings: Findings,
    /// Paths of the model (`links.eth0.mtu`) to paths and lines of the text.
    places: BTreeMap<String, (String, u32)>,
}

/// A value and its path.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    pub path: String,
    pub tree: &'a Tree,
}

impl Notes {
    pub(super) fn error(&mut self, field: &Field<'_>, what: impl Into<String>) {
        self.findings.errors.push(field.problem(what));
    }

    pub(super) fn warn(&mut self, field: &Field<'_>, what: impl Into<String>) {
        self.findings.warnings.push(field.problem(what));
    }

    /// Notes that a field of the text is what the model calls `place`.
    pub(super) fn is(&mut self, place: impl Into<String>, field: &Field<'_>) {
        self.places
            .entry(place.into())
            .or_insert_with(|| (field.path.clone(), field.tree.line));
    }

    /// Takes what the check found, with the places of the text instead of those of the model.
    pub(super) fn take(&mut self, checked: Findings) {
        let Findings { errors, warnings } = checked;
        let errors: Vec<Problem> = errors.into_iter().map(|problem| self.placed(problem)).collect();
        let warnings: Vec<Problem> = warnings.into_iter().map(|problem| self.placed(problem)).collect();
        self.findings.errors.extend(errors);
        self.findings.warnings.extend(warnings);
    }

    fn placed(&self, problem: Problem) -> Problem {
        let mut known = problem.path.as_str();
        loop {
            if let Some((path, line)) = self.places.get(known) {
                return Problem {
                    line: Some(*line),
                    path: path.clone(),
                    ..problem
                };
            }
            // The next best is what it is a part of. Names of links have dots themselves: each is tried.
            match known.rfind(['.', '[']) {
                Some(end) => known = &known[..end],
                None => return problem,
            }
        }
    }
}

impl<'a> Field<'a> {
    /// The whole text.
    pub(super) fn root(tree: &'a Tree) -> Self {
        Self {
            path: String::new(),
            tree,
        }
    }

    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem {
            line: Some(self.tree.line),
            path: self.path.clone(),
            what: what.into(),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.tree.value == Value::Null
    }

    /// A mapping's value that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let Value::Map(entries) = &self.tree.value else {
            return None;
        };
        let (_, tree) = entries.iter().find(|(name, _)| name == key)?;
        (tree.value != Value::Null).then(|| self.below(key, tree))
    }

    fn below(&self, key: &str, tree: &'a Tree) -> Field<'a> {
        let key: String = key.chars().take(SHOWN).collect();
        let path = if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        };
        Field { path, tree }
    }

    /// A mapping's entries; none of what is not there.
    pub(super) fn entries(&self, notes: &mut Notes) -> Vec<(&'a str, Field<'a>)> {
        match &self.tree.value {
            Value::Null => Vec::new(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, tree)| (key.as_str(), self.below(key, tree)))
                .collect(),
            other => {
                notes.error(self, format!("a mapping is expected here, not {}", other.word()));
                Vec::new()
            }
        }
    }

    /// A list's items; none of what is not there.
    pub(super) fn items(&self, notes: &mut Notes) -> Vec<Field<'a>> {
        match &self.tree.value {
            Value::Null => Vec::new(),
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, tree)| Field {
                    path: format!("{}[{index}]", self.path),
                    tree,
                })
                .collect(),
            other => {
                notes.error(self, format!("a list is expected here, not {}", other.word()));
                Vec::new()
            }
        }
    }

    /// A single value as text.
    pub(super) fn text(&self, notes: &mut Notes) -> Option<&'a str> {
        match &self.tree.value {
            Value::Scalar(text) => Some(text.trim()),
            Value::Null => None,
            other => {
                notes.error(
                    self,
                    format!("a single value is expected here, not {}", other.word()),
                );
                None
            }
        }
    }

    /// A single value of a type that reads itself; `wanted` says what would be read ("an IP address").
    pub(super) fn parse<T: FromStr>(&self, notes: &mut Notes, wanted: &str) -> Option<T> {
        let text = self.text(notes)?;
        let value = text.parse().ok();
        if value.is_none() {
            notes.error(self, format!("{} is not {wanted}", shown(text)));
        }
        value
    }

    /// A word out of a few.
    pub(super) fn word<T>(
        &self,
        notes: &mut Notes,
        known: impl Fn(&str) -> Option<T>,
        choices: impl Display,
    ) -> Option<T> {
        let text = self.text(notes)?;
        let value = known(text);
        if value.is_none() {
            notes.error(self, format!("{} is not known; known are {choices}", shown(text)));
        }
        value
    }

    /// Yes or no, in YAML's words.
    pub(super) fn flag(&self, notes: &mut Notes) -> Option<bool> {
        let text = self.text(notes)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => {
                notes.error(self, format!("{} is neither `true` nor `false`", shown(text)));
                None
            }
        }
    }

    /// A number that is not negative.
    pub(super) fn number(&self, notes: &mut Notes) -> Option<u32> {
        self.parse(notes, "a number")
    }
}

/// A piece of the text for a message.
pub(super) fn shown(text: &str) -> String {
    let mut piece: String = text.chars().take(SHOWN).collect();
    if piece.len() < text.len() {
        piece.push('…');
    }
    format!("{piece:?}")
}
