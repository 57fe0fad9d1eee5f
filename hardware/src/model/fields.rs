//! Walking through a TOML document: every mistake is kept, with its place.

use std::fmt;

use serde::Serialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use utoipa::ToSchema;

/// A mistake in a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelProblem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// Every mistake in a model, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ModelErrors(pub Vec<ModelProblem>);

impl fmt::Display for ModelErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self
            .0
            .iter()
            .map(|p| format!("line {}, column {}: {}", p.line, p.column, p.problem))
            .collect();
        f.write_str(&problems.join("; "))
    }
}

/// The mistakes found so far.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, ModelProblem)>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: usize, problem: impl Into<String>, remedy: impl Into<String>) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let problem = ModelProblem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: problem.into(),
            remedy: remedy.into(),
        };
        self.found.push((at, problem));
    }

    pub(super) fn into_result(mut self) -> Result<(), ModelErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(at, _)| *at);
        Err(ModelErrors(
            self.found.into_iter().map(|(_, problem)| problem).collect(),
        ))
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub at: usize,
    pub value: T,
}

/// A table whose keys are taken one by one.
#[derive(Debug)]
pub(super) struct Section<'d, 'i> {
    table: &'d DeTable<'i>,
    /// `needs`, `match`; empty for the document itself.
    name: &'static str,
    asked: Vec<&'static str>,
    /// Where the section begins.
    pub at: usize,
}

impl<'d, 'i> Section<'d, 'i> {
    pub(super) fn new(table: &'d DeTable<'i>, name: &'static str, at: usize) -> Self {
        Self {
            table,
            name,
            asked: Vec::new(),
            at,
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'i>>> {
        self.asked.push(key);
        let mut entries = self.table.iter();
        entries
            .find(|(found, _)| found.get_ref().as_ref() == key)
            .map(|(_, value)| value)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'i>>, wanted: &str, problems: &mut Problems<'_>) {
        let kind = value.get_ref().type_str();
        problems.add(
            value.span().start,
            format!("{} is of type {kind}", self.path(key)),
            format!("Write {wanted}."),
        );
    }

    fn path(&self, key: &str) -> String {
        match self.name {
            "" => format!("`{key}`"),
            name => format!("`{name}.{key}`"),
        }
    }

    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<String>> {
        let value = self.value(key)?;
        let at = value.span().start;
        match value.get_ref().as_str() {
            Some(text) if text.trim().is_empty() => {
                let path = self.path(key);
                problems.add(
                    at,
                    format!("{path} is empty"),
                    "Write a value, or leave the key out.",
                );
                None
            }
            Some(text) => Some(At {
                at,
                value: text.trim().to_owned(),
            }),
            None => {
                self.wrong(key, value, "a text in quotes", problems);
                None
            }
        }
    }

    /// A text, or a list of texts.
    pub(super) fn texts(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<At<String>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let items: Vec<&Spanned<DeValue<'i>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        if items.is_empty() {
            let path = self.path(key);
            problems.add(
                value.span().start,
                format!("{path} is empty"),
                "Leave the key out.",
            );
        }
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref().as_str().map(str::trim) {
                Some(text) if !text.is_empty() => texts.push(At {
                    at: item.span().start,
                    value: text.to_owned(),
                }),
                _ => self.wrong(key, item, "a list of texts that are not empty", problems),
            }
        }
        texts
    }

    pub(super) fn number(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<At<u32>> {
        let value = self.value(key)?;
        let found = as_number(value);
        if found.is_none() {
            self.wrong(key, value, "a whole number, not below 0", problems);
        }
        found
    }

    pub(super) fn numbers(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Vec<At<u32>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of numbers", problems);
            return Vec::new();
        };
        let mut numbers = Vec::new();
        for item in items.iter() {
            match as_number(item) {
                Some(number) => numbers.push(number),
                None => self.wrong(key, item, "whole numbers", problems),
            }
        }
        numbers
    }

    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Option<bool> {
        let value = self.value(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong(key, value, "true or false", problems);
        }
        found
    }

    pub(super) fn section(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<Section<'d, 'i>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(table, key, value.span().start)),
            None => {
                self.wrong(key, value, &format!("a section: [{key}]"), problems);
                None
            }
        }
    }

    pub(super) fn sections(
        &mut self,
        key: &'static str,
        name: &'static str,
        problems: &mut Problems<'_>,
    ) -> Vec<Section<'d, 'i>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, &format!("sections: [[{name}]]"), problems);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(table, name, item.span().start)),
                None => self.wrong(key, item, &format!("sections: [[{name}]]"), problems),
            }
        }
        sections
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn end(self, problems: &mut Problems<'_>) {
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let shown: String = name.chars().take(64).collect();
            problems.add(
                key.span().start,
                format!("{} is not a key of models", self.path(&shown)),
                format!("Use one of {}.", self.asked.join(", ")),
            );
        }
    }
}

fn as_number(value: &Spanned<DeValue<'_>>) -> Option<At<u32>> {
    let integer = value.get_ref().as_integer()?;
    let value_of = u32::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    Some(At {
        at: value.span().start,
        value: value_of,
    })
}
