//! A text as a tree whose every value knows its line.

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// Line, from 1.
    pub line: u32,
    /// The value.
    pub value: Value,
}

/// Values. What is not quoted has no type yet: `52:54:00:12:34:56` is a number in base 60 to some readers of YAML, and an
/// address to whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// A word, number or text.
    Scalar(String),
    /// A sequence.
    List(Vec<Tree>),
    /// A mapping, in the order of the text.
    Map(Vec<(String, Tree)>),
}

/// The text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadText {
    /// Line, from 1, when it is known.
    pub line: Option<u32>,
    /// Why.
    pub what: String,
}

/// Most levels of a text.
pub(super) const MAX_DEPTH: usize = 24;
/// Most values of a text, what is repeated by aliases counted each time.
pub(super) const MAX_VALUES: usize = 50_000;

impl BadText {
    pub(super) fn at(line: usize, what: impl Into<String>) -> Self {
        Self {
            line: u32::try_from(line).ok(),
            what: what.into(),
        }
    }
}

impl Value {
    /// What it is, for a sentence.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Tree {
    /// How many values it has.
    pub(super) fn size(&self) -> usize {
        let mut size = 0;
        let mut left = vec![self];
        while let Some(tree) = left.pop() {
            size += 1;
            match &tree.value {
                Value::Null | Value::Scalar(_) => {}
                Value::List(items) => left.extend(items),
                Value::Map(entries) => left.extend(entries.iter().map(|(_, tree)| tree)),
            }
        }
        size
    }
}
