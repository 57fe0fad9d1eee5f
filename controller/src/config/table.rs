//! A TOML table that is read key by key: every wrong value is noted and replaced by the default, and what nobody asked
//! for at the end is an unknown key.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use toml::{Table, Value};

use super::problems::ConfigProblem;

/// One table of the file.
pub(super) struct Keys<'p> {
    path: &'static str,
    table: Table,
    known: Vec<&'static str>,
    problems: &'p mut Vec<ConfigProblem>,
}

impl<'p> Keys<'p> {
    pub(super) fn new(path: &'static str, table: Table, problems: &'p mut Vec<ConfigProblem>) -> Self {
        Self {
            path,
            table,
            known: Vec::new(),
            problems,
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Adds a problem of a key.
    pub(super) fn note(&mut self, key: &str, cause: impl Into<String>, remedy: impl Into<String>) {
        let key = self.full(key);
        self.problems.push(ConfigProblem {
            key,
            cause: cause.into(),
            remedy: remedy.into(),
        });
    }

    /// Whether a key was found wrong.
    pub(super) fn has_problem(&self, key: &str) -> bool {
        let key = self.full(key);
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// A value as it is written.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// A sub-table; empty when it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Table {
        match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.note(
                    key,
                    format!("is {}, not a table", kind(&other)),
                    format!("Write it as a section: [{key}]."),
                );
                Table::new()
            }
        }
    }

    /// A string that `T` can read. `example` completes "Write it like …".
    pub(super) fn text<T>(&mut self, key: &'static str, example: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let value = self.take(key)?;
        self.one(key, value, example)
    }

    /// A list of strings that `T` can read.
    pub(super) fn list<T>(&mut self, key: &'static str, example: &str) -> Option<Vec<T>>
    where
        T: FromStr<Err: Display>,
    {
        match self.take(key)? {
            Value::Array(values) => Some(
                values
                    .into_iter()
                    .filter_map(|v| self.one(key, v, example))
                    .collect(),
            ),
            other => {
                self.note(
                    key,
                    format!("is {}, not a list", kind(&other)),
                    format!("Write it like [{example}]."),
                );
                None
            }
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            let cause = format!("is {}, not true or false", kind(&value));
            self.note(key, cause, "Write true or false, without quotes.");
        }
        flag
    }

    /// A list of tables, `[[key]]`; empty when it is not there.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let example = format!("Write each as a section: [[{}]].", self.full(key));
        let Value::Array(values) = value else {
            self.note(
                key,
                format!("is {}, not a list of sections", kind(&value)),
                example,
            );
            return Vec::new();
        };
        let tables = values.into_iter().filter_map(|value| match value {
            Value::Table(table) => Some(table),
            other => {
                self.note(key, format!("has {} in it", kind(&other)), example.clone());
                None
            }
        });
        tables.collect()
    }

    /// A whole number of seconds of at least 1 and at most `max`.
    pub(super) fn count(&mut self, key: &'static str, max: u64) -> Option<u64> {
        self.number(key, max, "Give it in seconds, without quotes.")
    }

    /// A whole number of at least 1 and at most `max`.
    pub(super) fn number(&mut self, key: &'static str, max: u64, remedy: &str) -> Option<u64> {
        self.number_from(key, 1..=max, remedy)
    }

    /// A whole number of this range.
    pub(super) fn number_from(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        remedy: &str,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let number = value
            .as_integer()
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| range.contains(n));
        if number.is_none() {
            let got = if value.is_integer() {
                value.to_string()
            } else {
                kind(&value).to_owned()
            };
            self.note(
                key,
                format!(
                    "is {got}, not a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
                remedy,
            );
        }
        number
    }

    fn one<T>(&mut self, key: &str, value: Value, example: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let Value::String(text) = value else {
            self.note(
                key,
                format!("is {}, not a string", kind(&value)),
                format!("Write it like {example}."),
            );
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(
                    key,
                    format!("`{text}` cannot be used: {error}"),
                    format!("Write it like {example}."),
                );
                None
            }
        }
    }

    /// What is left was never asked for.
    pub(super) fn finish(mut self) {
        let table = std::mem::take(&mut self.table);
        let known = self.known.join(", ");
        for key in table.keys() {
            let near = self
                .known
                .iter()
                .copied()
                .filter(|k| near(k, key))
                .collect::<Vec<_>>();
            let remedy = match near.first() {
                Some(name) => format!("Did you mean `{name}`? Otherwise remove it."),
                None => format!("Remove it. Known here: {known}."),
            };
            self.note(key, "is not a known key", remedy);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// Whether an operator may have meant `known` by writing `given`.
fn near(known: &str, given: &str) -> bool {
    crate::catalog::edit_distance(known, given) <= 2
}
