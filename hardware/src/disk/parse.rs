//! `transport=nvme,size>=400GB,not(model=A*|B*),smallest`: terms joined by commas, alternatives by `|`.

use std::str::FromStr;

use super::{
    fact::Fact,
    rule::{Comparison, Condition, DiskRule, Pick, SPECIAL, Term, Wanted},
    size,
};

const EMPTY: &str = "expected a value; an unknown fact equals nothing";

/// Longest rule that is read.
pub(super) const MAX_RULE: usize = 1024;
/// How deep brackets may stand in brackets.
const MAX_DEPTH: usize = 8;

const TRANSPORTS: [&str; 9] = [
    "nvme", "sata", "sas", "scsi", "virtio", "usb", "raid", "iscsi", "mmc",
];

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the disk rule cannot be understood at character {position}: {fault}")]
pub struct RuleError {
    /// Where, counted in characters from 1.
    pub position: usize,
    /// What is wrong there, and what would be right.
    pub fault: String,
}

impl FromStr for DiskRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > MAX_RULE {
            return Err(RuleError {
                position: 1,
                fault: format!("it is longer than {MAX_RULE} bytes"),
            });
        }
        let mut rule = Self {
            text: text.trim().to_owned(),
            terms: Vec::new(),
            pick: None,
        };
        if rule.text.is_empty() {
            return Ok(rule);
        }
        let mut rest = Rest {
            text,
            at: 0,
            depth: 0,
        };
        loop {
            rest.skip_blanks();
            let at = rest.at;
            match rest.take_pick() {
                Some(_) if rule.pick.is_some() => {
                    return Err(fault_at(
                        text,
                        at,
                        "expected one of only, smallest, largest, and once",
                    ));
                }
                Some(pick) => rule.pick = Some(pick),
                None => rule.terms.push(any(&mut rest)?),
            }
            rest.skip_blanks();
            if rest.is_empty() {
                return Ok(rule);
            }
            if !rest.take(",") {
                return Err(rest.unexpected("`,` between two conditions"));
            }
        }
    }
}

struct Rest<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Rest<'a> {
    fn left(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    fn skip_blanks(&mut self) {
        self.at += self.left().len() - self.left().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.left().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let left = self.left();
        let end = left.find(|c| !wanted(c)).unwrap_or(left.len());
        self.at += end;
        &left[..end]
    }

    /// The word that comes next, and what follows after blanks.
    fn peek_word(&self) -> (&'a str, Option<char>) {
        let left = self.left().trim_start();
        let end = left.find(|c| !is_of_word(c)).unwrap_or(left.len());
        let (word, after) = left.split_at(end);
        (word, after.trim_start().chars().next())
    }

    /// A word that stands by itself and decides between several disks.
    fn take_pick(&mut self) -> Option<Pick> {
        let (word, next) = self.peek_word();
        let pick = Pick::ALL
            .into_iter()
            .find(|pick| pick.word().eq_ignore_ascii_case(word))?;
        matches!(next, None | Some(',')).then(|| {
            self.take_while(is_of_word);
            pick
        })
    }

    fn fault(&self, fault: impl Into<String>) -> RuleError {
        fault_at(self.text, self.at, fault)
    }

    fn unexpected(&self, expected: &str) -> RuleError {
        let quotes = match self.left().chars().next() {
            Some(letter) if SPECIAL.contains(&letter) && letter != '"' => {
                format!("; a value that has `{letter}` in it needs quotes: \"…\"")
            }
            _ => String::new(),
        };
        self.fault(format!("expected {expected}{quotes}"))
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

fn fault_at(text: &str, at: usize, fault: impl Into<String>) -> RuleError {
    RuleError {
        position: text[..at].chars().count() + 1,
        fault: fault.into(),
    }
}

/// `term|term`
fn any(rest: &mut Rest<'_>) -> Result<Term, RuleError> {
    let first = term(rest)?;
    let mut terms = vec![first];
    loop {
        rest.skip_blanks();
        if !rest.take("|") {
            break;
        }
        terms.push(term(rest)?);
    }
    Ok(match terms.len() {
        1 => terms.swap_remove(0),
        _ => Term::Any(terms),
    })
}

fn term(rest: &mut Rest<'_>) -> Result<Term, RuleError> {
    rest.skip_blanks();
    if rest.left().starts_with('(') {
        return Ok(Term::All(brackets(rest)?));
    }
    let (word, next) = rest.peek_word();
    if word.eq_ignore_ascii_case("not") && next == Some('(') {
        rest.take_while(is_of_word);
        rest.skip_blanks();
        return Ok(Term::Not(brackets(rest)?));
    }
    if Pick::ALL
        .iter()
        .any(|pick| pick.word().eq_ignore_ascii_case(word))
    {
        let fault = format!(
            "`{word}` stands by itself: between two commas, outside of brackets, without an operator"
        );
        return Err(rest.fault(fault));
    }
    condition(rest).map(Term::Condition)
}

/// `(term,term)`
fn brackets(rest: &mut Rest<'_>) -> Result<Vec<Term>, RuleError> {
    let open = rest.at;
    if rest.depth >= MAX_DEPTH {
        return Err(rest.fault(format!("brackets stand in more than {MAX_DEPTH} others")));
    }
    rest.depth += 1;
    rest.take("(");
    let mut terms = Vec::new();
    loop {
        terms.push(any(rest)?);
        rest.skip_blanks();
        if rest.take(")") {
            rest.depth -= 1;
            return Ok(terms);
        }
        if rest.is_empty() {
            return Err(fault_at(rest.text, open, "the closing `)` is missing"));
        }
        if !rest.take(",") {
            return Err(rest.unexpected("`,` or `)`"));
        }
    }
}

fn condition(rest: &mut Rest<'_>) -> Result<Condition, RuleError> {
    let fact = key(rest)?;
    rest.skip_blanks();
    let operator_at = rest.at;
    let comparison = operator(rest)?;
    let counted = matches!(fact, Fact::Size | Fact::Sector);
    if comparison.is_ordered() && !counted {
        return Err(fault_at(
            rest.text,
            operator_at,
            format!(
                "`{}` compares sizes only; use `=` or `!=` with `{}`",
                comparison.symbol(),
                fact.key()
            ),
        ));
    }
    let mut values = Vec::new();
    loop {
        rest.skip_blanks();
        let value_at = rest.at;
        let value = value(rest)?;
        values.push(wanted(fact, &value).map_err(|fault| fault_at(rest.text, value_at, fault))?);
        rest.skip_blanks();
        let bar_at = rest.at;
        if !rest.take("|") {
            break;
        }
        if begins_term(rest) {
            rest.at = bar_at;
            break;
        }
        if comparison.is_ordered() {
            let fault = format!("`{}` compares with one size only", comparison.symbol());
            return Err(fault_at(rest.text, bar_at, fault));
        }
    }
    Ok(Condition {
        fact,
        comparison,
        wanted: values,
    })
}

/// Whether a further term follows, and not a further value.
fn begins_term(rest: &Rest<'_>) -> bool {
    let (word, next) = rest.peek_word();
    match next {
        Some('=' | '<' | '>' | '!') => !word.is_empty(),
        Some('(') => word.is_empty() || word.eq_ignore_ascii_case("not"),
        _ => false,
    }
}

fn key(rest: &mut Rest<'_>) -> Result<Fact, RuleError> {
    let at = rest.at;
    let word = rest.take_while(is_of_word);
    Fact::named(word).ok_or_else(|| {
        let keys = Fact::ALL.map(Fact::key).join(", ");
        let fault = if word.is_empty() {
            format!("expected one of {keys}")
        } else if word.eq_ignore_ascii_case("name") {
            format!("the kernel's names change from boot to boot; use one of {keys}")
        } else {
            format!("`{word}` is not something a disk is chosen by; use one of {keys}")
        };
        fault_at(rest.text, at, fault)
    })
}

fn operator(rest: &mut Rest<'_>) -> Result<Comparison, RuleError> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let operators = [
        ("!=", NotEqual),
        ("<=", LessOrEqual),
        (">=", GreaterOrEqual),
        ("=", Equal),
        ("<", Less),
        (">", Greater),
    ];
    let found = operators.into_iter().find(|(symbol, _)| rest.take(symbol));
    found
        .map(|(_, comparison)| comparison)
        .ok_or_else(|| rest.fault("expected one of =, !=, <, <=, >, >="))
}

fn value(rest: &mut Rest<'_>) -> Result<String, RuleError> {
    if rest.take("\"") {
        let at = rest.at;
        let value = rest.take_while(|c| c != '"').to_owned();
        if !rest.take("\"") {
            return Err(fault_at(rest.text, at - 1, "the closing `\"` is missing"));
        }
        if value.trim().is_empty() {
            return Err(fault_at(rest.text, at - 1, EMPTY));
        }
        return Ok(value);
    }
    let at = rest.at;
    let value = rest.take_while(|c| !SPECIAL.contains(&c)).trim();
    if value.is_empty() {
        return Err(fault_at(rest.text, at, EMPTY));
    }
    Ok(value.to_owned())
}

pub(super) fn wanted(fact: Fact, value: &str) -> Result<Wanted, String> {
    match fact {
        Fact::Size | Fact::Sector => size::read(value).map(Wanted::Bytes),
        Fact::Rotational if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") => {
            Err(format!("`rotational` is `true` or `false`, not `{value}`"))
        }
        Fact::Transport
            if !value.contains('*') && !TRANSPORTS.iter().any(|t| t.eq_ignore_ascii_case(value)) =>
        {
            Err(format!(
                "`{value}` is not a transport; use one of {}",
                TRANSPORTS.join(", ")
            ))
        }
        Fact::Path if value.starts_with("/dev/") && !value.starts_with("/dev/disk/by-path/") => Err(format!(
            "`{value}` is not a path that stays; use a name below /dev/disk/by-path"
        )),
        _ if value.trim_matches('*').contains('*') => {
            Err("`*` can stand only at the beginning and at the end of a value".to_owned())
        }
        Fact::Transport | Fact::Rotational => Ok(Wanted::Text(value.to_ascii_lowercase())),
        _ => Ok(Wanted::Text(value.to_owned())),
    }
}
