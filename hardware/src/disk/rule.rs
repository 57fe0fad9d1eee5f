//! A rule that names one disk by stable facts.

use std::fmt;

use super::{fact::Fact, size};
use crate::facts::Disk;

/// How a fact is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As it is written in a rule.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether it compares numbers only, and with one value only.
    #[must_use]
    pub fn is_ordered(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// What a fact is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Text, without regard to case; `*` at either end matches the rest.
    Text(String),
    /// Bytes.
    Bytes(u64),
}

impl Wanted {
    fn is_of(&self, fact: Fact, disk: &Disk) -> bool {
        match self {
            Self::Bytes(bytes) => fact.number(disk) == Some(*bytes),
            Self::Text(pattern) => fact
                .spellings(disk)
                .iter()
                .any(|spelling| text_matches(pattern, spelling)),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&size::written(*bytes)),
            Self::Text(text) if is_plain(text) => f.write_str(text),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// Letters that mean something in a rule, and so end a value that is not in quotes.
pub(super) const SPECIAL: [char; 9] = [',', '|', '(', ')', '"', '=', '<', '>', '!'];

fn is_plain(text: &str) -> bool {
    !text.contains(SPECIAL) && text.trim() == text && !text.is_empty()
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it looks at.
    pub fact: Fact,
    /// How.
    pub comparison: Comparison,
    /// Compared with what: with `=` one of them, with `!=` none of them; never empty.
    pub wanted: Vec<Wanted>,
}

impl Condition {
    /// Whether the disk fulfils it. What is not known is neither equal nor different.
    #[must_use]
    pub fn holds(&self, disk: &Disk) -> bool {
        let same = || self.wanted.iter().any(|wanted| wanted.is_of(self.fact, disk));
        let order = match (self.fact.number(disk), self.wanted.first()) {
            (Some(number), Some(Wanted::Bytes(bytes))) => Some(number.cmp(bytes)),
            _ => None,
        };
        match self.comparison {
            Comparison::Equal => same(),
            Comparison::NotEqual => !self.fact.spellings(disk).is_empty() && !same(),
            Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.fact.key(), self.comparison.symbol())?;
        separated(f, &self.wanted, "|")
    }
}

fn separated(f: &mut fmt::Formatter<'_>, parts: &[impl fmt::Display], by: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(by)?;
        }
        part.fmt(f)?;
    }
    Ok(())
}

/// Without regard to case; `*` at either end of the pattern matches the rest.
fn text_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let open_start = pattern.starts_with('*');
    let open_end = pattern.len() > 1 && pattern.ends_with('*');
    let core = pattern.strip_prefix('*').unwrap_or(&pattern);
    let core = if open_end {
        core.strip_suffix('*').unwrap_or(core)
    } else {
        core
    };
    match (open_start, open_end) {
        (true, true) => text.contains(core),
        (true, false) => text.ends_with(core),
        (false, true) => text.starts_with(core),
        (false, false) => text == core,
    }
}

/// A part of a rule that holds for a disk or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// One condition.
    Condition(Condition),
    /// `not(…)`: not all of these hold.
    Not(Vec<Term>),
    /// `a|b`: one of these holds.
    Any(Vec<Term>),
    /// `(a,b)`: all of these hold.
    All(Vec<Term>),
}

impl Term {
    /// Whether it holds for the disk.
    #[must_use]
    pub fn holds(&self, disk: &Disk) -> bool {
        match self {
            Self::Condition(condition) => condition.holds(disk),
            Self::Not(terms) => !terms.iter().all(|term| term.holds(disk)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(disk)),
            Self::All(terms) => terms.iter().all(|term| term.holds(disk)),
        }
    }

    /// What the disk has of what the term looks at: "serial=A, no wwn".
    #[must_use]
    pub fn found(&self, disk: &Disk) -> String {
        let mut facts = Vec::new();
        self.facts(&mut facts);
        facts.sort_unstable();
        facts.dedup();
        let found = facts.into_iter().map(|fact| match fact.number(disk) {
            Some(number) => format!("{}={}", fact.key(), size::written(number)),
            None => match fact.spellings(disk).first() {
                Some(spelling) => format!("{}={spelling}", fact.key()),
                None => format!("no {}", fact.key()),
            },
        });
        found.collect::<Vec<_>>().join(", ")
    }

    fn facts(&self, found: &mut Vec<Fact>) {
        match self {
            Self::Condition(condition) => found.push(condition.fact),
            Self::Not(terms) | Self::Any(terms) | Self::All(terms) => {
                for term in terms {
                    term.facts(found);
                }
            }
        }
    }

    /// Whether a disk is asked for by name in it: a condition `fact=value` that `test` takes, not one of an exclusion.
    fn asks(&self, test: &dyn Fn(&Condition) -> bool) -> bool {
        match self {
            Self::Condition(condition) => condition.comparison == Comparison::Equal && test(condition),
            Self::Not(_) => false,
            Self::Any(terms) | Self::All(terms) => terms.iter().any(|term| term.asks(test)),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(condition) => condition.fmt(f),
            Self::Not(terms) => {
                f.write_str("not(")?;
                separated(f, terms, ",")?;
                f.write_str(")")
            }
            Self::Any(terms) => separated(f, terms, "|"),
            Self::All(terms) => {
                f.write_str("(")?;
                separated(f, terms, ",")?;
                f.write_str(")")
            }
        }
    }
}

/// What decides between several disks that all conditions and guards leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// There must be one only. Also when the rule says nothing.
    Only,
    /// The smallest; two of that size are a tie.
    Smallest,
    /// The largest; two of that size are a tie.
    Largest,
}

impl Pick {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Only, Self::Smallest, Self::Largest];

    /// The word in a rule.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Smallest => "smallest",
            Self::Largest => "largest",
        }
    }
}

/// A rule: all terms must hold, and for exactly one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRule {
    /// As the operator wrote it.
    pub text: String,
    /// Empty: any disk that may be written at all.
    pub terms: Vec<Term>,
    /// What decides between several; unset like [`Pick::Only`].
    pub pick: Option<Pick>,
}

impl DiskRule {
    /// Whether all of its terms hold for the disk; what decides between several is not asked.
    #[must_use]
    pub fn holds(&self, disk: &Disk) -> bool {
        self.terms.iter().all(|term| term.holds(disk))
    }

    /// Whether it names disks on USB, which are left alone otherwise.
    #[must_use]
    pub fn asks_for_usb(&self) -> bool {
        let usb = |wanted: &Wanted| matches!(wanted, Wanted::Text(text) if text.eq_ignore_ascii_case("usb"));
        self.asks(&|condition| condition.fact == Fact::Transport && condition.wanted.iter().any(usb))
    }

    /// Whether it names a volume, which are left alone otherwise.
    #[must_use]
    pub fn asks_for_a_volume(&self) -> bool {
        self.asks(&|condition| condition.fact == Fact::Volume)
    }

    /// Whether it names one path to a disk that has several.
    #[must_use]
    pub fn asks_for_a_path(&self) -> bool {
        self.asks(&|condition| matches!(condition.fact, Fact::Path | Fact::Hctl))
    }

    fn asks(&self, test: &dyn Fn(&Condition) -> bool) -> bool {
        self.terms.iter().any(|term| term.asks(test))
    }
}

impl fmt::Display for DiskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.terms, ",")?;
        match self.pick {
            Some(pick) if self.terms.is_empty() => f.write_str(pick.word()),
            Some(pick) => write!(f, ",{}", pick.word()),
            None => Ok(()),
        }
    }
}
