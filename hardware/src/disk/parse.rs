//! `transport=nvme,size>=400GB`: conditions joined by commas, each `key op value`.

use std::str::FromStr;

use super::rule::{Comparison, Condition, DiskRule, Fact, Wanted};

const EMPTY: &str = "expected a value; an unknown fact equals nothing";

/// Longest rule that is read.
const MAX_RULE: usize = 1024;

const TRANSPORTS: [&str; 9] = [
    "nvme", "sata", "sas", "scsi", "virtio", "usb", "raid", "iscsi", "mmc",
];

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("kib", 1 << 10),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
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
        let mut conditions = Vec::new();
        if !text.trim().is_empty() {
            let mut rest = Rest { text, at: 0 };
            loop {
                conditions.push(condition(&mut rest)?);
                rest.skip_blanks();
                if rest.is_empty() {
                    break;
                }
                if !rest.take(",") {
                    return Err(rest.fault("expected `,` between two conditions"));
                }
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            conditions,
        })
    }
}

struct Rest<'a> {
    text: &'a str,
    at: usize,
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

    fn fault(&self, fault: impl Into<String>) -> RuleError {
        fault_at(self.text, self.at, fault)
    }
}

fn fault_at(text: &str, at: usize, fault: impl Into<String>) -> RuleError {
    RuleError {
        position: text[..at].chars().count() + 1,
        fault: fault.into(),
    }
}

fn condition(rest: &mut Rest<'_>) -> Result<Condition, RuleError> {
    rest.skip_blanks();
    let fact = key(rest)?;
    rest.skip_blanks();
    let operator_at = rest.at;
    let comparison = operator(rest)?;
    let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    if ordered && fact != Fact::Size {
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
    rest.skip_blanks();
    let value_at = rest.at;
    let value = value(rest)?;
    let wanted = wanted(fact, &value).map_err(|fault| fault_at(rest.text, value_at, fault))?;
    Ok(Condition {
        fact,
        comparison,
        wanted,
    })
}

fn key(rest: &mut Rest<'_>) -> Result<Fact, RuleError> {
    let at = rest.at;
    let word = rest.take_while(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let found = Fact::ALL
        .into_iter()
        .find(|fact| fact.key().eq_ignore_ascii_case(word));
    found.ok_or_else(|| {
        let keys = Fact::ALL.map(Fact::key).join(", ");
        let fault = if word.is_empty() {
            format!("expected one of {keys}")
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
    let value = rest.take_while(|c| c != ',').trim();
    if value.is_empty() {
        return Err(rest.fault(EMPTY));
    }
    Ok(value.to_owned())
}

fn wanted(fact: Fact, value: &str) -> Result<Wanted, String> {
    match fact {
        Fact::Size => size(value).map(Wanted::Bytes),
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
        Fact::Transport | Fact::Rotational => Ok(Wanted::Text(value.to_ascii_lowercase())),
        _ if value.trim_matches('*').contains('*') => {
            Err("`*` can stand only at the beginning and at the end of a value".to_owned())
        }
        _ => Ok(Wanted::Text(value.to_owned())),
    }
}

fn size(value: &str) -> Result<u64, String> {
    let fault =
        || format!("`{value}` is not a size; write a number with KB, MB, GB, TB, KiB, MiB, GiB or TiB");
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') || number.ends_with('.') {
        return Err(fault());
    }
    let too_large = || format!("`{value}` is larger than any disk");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = u128::from(whole) * u128::from(factor);
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().map_err(|_| fault())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| fault())?);
        bytes += digits * u128::from(factor) / scale;
    }
    u64::try_from(bytes).map_err(|_| too_large())
}
