//! YAML with the lines on which things stand.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// What a value is to cloud-init, which reads YAML 1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// `true`, also `yes` and `on`.
    Bool,
    /// A number.
    Number,
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values.
    Map(Vec<(Node, Node)>),
    /// Another place's value, or one with a tag: it may be anything.
    Any,
}

/// A value and the line that it begins on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

impl Node {
    /// A key, or another text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The fault of a YAML document, with its line first.
#[must_use]
pub fn yaml_fault(error: &serde_norway::Error) -> String {
    match error.location() {
        Some(place) => format!("line {}, column {}: {error}", place.line(), place.column()),
        None => error.to_string(),
    }
}

/// Collections that were begun and not ended.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(Node, Node)>, Option<Node>),
}

/// The one document of a text that [`serde_norway`] has taken; `None` when this parser does not take it.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        let line = span.start.line();
        let node = match event {
            Event::Scalar(text, style, _, tag) => Node {
                line,
                value: match (tag, style) {
                    (Some(_), _) => Value::Any,
                    (None, ScalarStyle::Plain) => plain(&text),
                    (None, _) => Value::Text(text.into_owned()),
                },
            },
            Event::Alias(_) => Node {
                line,
                value: Value::Any,
            },
            Event::SequenceStart(..) => {
                open.push(Open::List(line, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(line, Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(line, items) => Node {
                    line,
                    value: Value::List(items),
                },
                Open::Map(line, entries, _) => Node {
                    line,
                    value: Value::Map(entries),
                },
            },
            _ => continue,
        };
        match open.last_mut() {
            None => return Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(node),
            },
        }
    }
    None
}

/// What a word without quotes is in YAML 1.1.
fn plain(text: &str) -> Value {
    let is_word = |words: &[&str]| {
        words.iter().any(|word| {
            let title = || word[..1].to_uppercase() + &word[1..];
            text == *word || text == word.to_uppercase() || text == title()
        })
    };
    if text.is_empty() || text == "~" || is_word(&["null"]) {
        Value::Null
    } else if is_word(&["yes", "no", "true", "false", "on", "off"]) {
        Value::Bool
    } else if is_number(text) {
        Value::Number
    } else {
        Value::Text(text.to_owned())
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.replace('_', "");
    let after = |prefix: &str, good: fn(char) -> bool| {
        let rest = digits.strip_prefix(prefix);
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(good))
    };
    if after("0x", |c| c.is_ascii_hexdigit()) || after("0b", |c| c == '0' || c == '1') {
        return true;
    }
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().any(|c| c.is_ascii_digit())
        && digits.parse::<f64>().is_ok()
}
