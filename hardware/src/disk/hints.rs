//! Root device hints of Ironic and of Metal3, read into the rule that gives the same answers.
//!
//! What both have in common: text is compared without regard to case, and a size counts GiB exactly, so that `size: 447`
//! is a disk of 447 GiB to the byte and `>= 447` what people mean. What differs: Ironic takes the first disk that matches,
//! here two that match are an error.

use serde_norway::Value;

use super::{
    fact::Fact,
    parse::{MAX_RULE, wanted},
    rule::{Comparison, Condition, DiskRule, Term, Wanted},
};

/// Longest text that is read.
const MAX_HINTS: usize = 4096;
const GIB: u64 = 1 << 30;
const BY_PATH: &str = "/dev/disk/by-path/";

/// Operators that both specs and people use, longest first where one begins another.
const OPERATORS: [&str; 17] = [
    "<all-in>",
    "<range-in>",
    "<in>",
    "<or>",
    "s==",
    "s!=",
    "s<=",
    "s>=",
    "s<",
    "s>",
    "==",
    "!=",
    "<=",
    ">=",
    "=",
    "<",
    ">",
];

/// Hints that cannot be read; every fault is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the root device hints cannot be used: {}", faults.join("; "))]
pub struct HintError {
    /// What is wrong, and what would be right.
    pub faults: Vec<String>,
}

/// Whether a text is hints (JSON or YAML) and not a rule: in a rule no word is followed by a colon.
#[must_use]
pub fn are_hints(text: &str) -> bool {
    let text = text.trim_start();
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.starts_with('{') || word.is_some_and(|end| end > 0 && text[end..].starts_with(':'))
}

/// Reads hints into a rule.
///
/// # Errors
/// When they are not hints, mean different things in Ironic and Metal3, or name a disk by what does not last.
pub fn read_hints(text: &str) -> Result<DiskRule, HintError> {
    let whole = |fault: String| HintError { faults: vec![fault] };
    if text.len() > MAX_HINTS {
        return Err(whole(format!("they are longer than {MAX_HINTS} bytes")));
    }
    let value: Value = serde_norway::from_str(text)
        .map_err(|error| whole(format!("they are neither JSON nor YAML: {error}")))?;
    let (value, dialect) = unwrapped(value);
    let Value::Mapping(map) = value else {
        return Err(whole("expected names of hints with their values".to_owned()));
    };
    let mut hints = Vec::new();
    for (key, value) in map {
        match key {
            Value::String(key) => hints.push((key, value)),
            other => return Err(whole(format!("{other:?} is not the name of a hint"))),
        }
    }
    let dialect = match dialect {
        Some(dialect) => dialect,
        None => dialect_of(&hints).map_err(whole)?,
    };
    let mut terms = Vec::new();
    let mut faults = Vec::new();
    for (key, value) in &hints {
        match dialect.term(key, value) {
            Ok(term) => terms.extend(term),
            Err(fault) => faults.push(format!("`{key}`: {fault}")),
        }
    }
    if terms.is_empty() && faults.is_empty() {
        faults.push(
            "no hint is set; name the disk, or write a rule such as `smallest` if any disk will do"
                .to_owned(),
        );
    }
    if !faults.is_empty() {
        return Err(HintError { faults });
    }
    let mut rule = DiskRule {
        text: String::new(),
        terms,
        pick: None,
    };
    rule.text = rule.to_string();
    if rule.text.len() > MAX_RULE {
        return Err(whole(format!("as a rule they are longer than {MAX_RULE} bytes")));
    }
    Ok(rule)
}

/// The same keys mean different things in the two systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Ironic,
    Metal3,
}

/// `rootDeviceHints: {…}` and `root_device: {…}` say whose hints they are.
fn unwrapped(value: Value) -> (Value, Option<Dialect>) {
    for (key, dialect) in [
        ("rootDeviceHints", Dialect::Metal3),
        ("root_device", Dialect::Ironic),
    ] {
        if let Value::Mapping(map) = &value
            && map.len() == 1
            && let Some(inner) = map.get(key)
        {
            return (inner.clone(), Some(dialect));
        }
    }
    (value, None)
}

fn dialect_of(hints: &[(String, Value)]) -> Result<Dialect, String> {
    let of = |keys: &[&str]| {
        hints
            .iter()
            .find(|(key, _)| keys.contains(&key.as_str()))
            .map(|(key, _)| key.as_str())
    };
    let metal3 = of(&[
        "deviceName",
        "serialNumber",
        "minSizeGigabytes",
        "wwnWithExtension",
        "wwnVendorExtension",
    ]);
    let ironic = of(&[
        "size",
        "serial",
        "name",
        "by_path",
        "tran",
        "wwn_with_extension",
        "wwn_vendor_extension",
    ]);
    match (ironic, metal3) {
        (Some(ironic), Some(metal3)) => {
            return Err(format!(
                "`{ironic}` is a hint of Ironic, `{metal3}` one of Metal3; use one of both"
            ));
        }
        (Some(_), None) => return Ok(Dialect::Ironic),
        (None, Some(_)) => return Ok(Dialect::Metal3),
        (None, None) => {}
    }
    let differs = |(key, value): &&(String, Value)| {
        let plain = value.as_str().is_some_and(|text| operator(text).0.is_none());
        matches!(key.as_str(), "model" | "vendor") && plain
    };
    match hints.iter().find(differs) {
        Some((key, _)) => Err(format!(
            "`{key}` is the whole name in Ironic and a part of it in Metal3; say which with {{\"root_device\": {{…}}}} or {{\"rootDeviceHints\": {{…}}}}"
        )),
        None => Ok(Dialect::Ironic),
    }
}

impl Dialect {
    /// The term of a hint; none when it says nothing.
    fn term(self, key: &str, value: &Value) -> Result<Option<Term>, String> {
        match self {
            Self::Ironic => ironic(key, value).map(Some),
            Self::Metal3 => metal3(key, value),
        }
    }
}

fn ironic(key: &str, value: &Value) -> Result<Term, String> {
    let fact = match key {
        "size" => return size(&number_or_text(value)?),
        "rotational" => return rotational(value),
        "name" => return device_name(text(value)?),
        "model" => Fact::Model,
        "vendor" => Fact::Vendor,
        "serial" => Fact::Serial,
        "wwn" => Fact::WwnBase,
        "wwn_with_extension" => Fact::Wwn,
        "wwn_vendor_extension" => Fact::WwnExtension,
        "hctl" => Fact::Hctl,
        "by_path" => Fact::Path,
        "tran" => Fact::Transport,
        _ => {
            return Err(
                "is not a hint of Ironic; those are size, model, vendor, serial, wwn, wwn_with_extension, \
                 wwn_vendor_extension, rotational, hctl, by_path, tran, name"
                    .to_owned(),
            );
        }
    };
    expression(fact, text(value)?)
}

fn metal3(key: &str, value: &Value) -> Result<Option<Term>, String> {
    // In Kubernetes what is empty is not there.
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    };
    if empty {
        return Ok(None);
    }
    let exactly = |fact| same(fact, &[text(value)?.trim()]);
    let term = match key {
        "deviceName" => device_name(text(value)?),
        "hctl" => exactly(Fact::Hctl),
        "model" => part(Fact::Model, text(value)?.trim()),
        "vendor" => part(Fact::Vendor, text(value)?.trim()),
        "serialNumber" => exactly(Fact::Serial),
        "wwn" => exactly(Fact::WwnBase),
        "wwnWithExtension" => exactly(Fact::Wwn),
        "wwnVendorExtension" => exactly(Fact::WwnExtension),
        "rotational" => rotational(value),
        "minSizeGigabytes" => match value.as_u64() {
            Some(gibibytes) => size(&format!(">= {gibibytes}")),
            None => Err("is a whole number of GiB".to_owned()),
        },
        _ => Err(
            "is not a hint of Metal3; those are deviceName, hctl, model, vendor, serialNumber, minSizeGigabytes, wwn, \
             wwnWithExtension, wwnVendorExtension, rotational"
                .to_owned(),
        ),
    };
    term.map(Some)
}

fn text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| "is text; put it in quotes".to_owned())
}

fn number_or_text(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("is a number of GiB, with or without an operator: 100, \">= 100\"".to_owned()),
    }
}

/// The operator at the beginning, and what follows.
fn operator(expression: &str) -> (Option<&'static str>, &str) {
    let expression = expression.trim();
    let found = OPERATORS
        .into_iter()
        .find_map(|operator| Some((operator, expression.strip_prefix(operator)?)));
    match found {
        Some((operator, rest)) => (Some(operator), rest.trim()),
        None => (None, expression),
    }
}

fn expression(fact: Fact, expression: &str) -> Result<Term, String> {
    let (operator, value) = operator(expression);
    match operator {
        None | Some("s==") => same(fact, &[value]),
        // Ironic's answer for a disk that does not tell the fact is yes, as `not(…)` answers here.
        Some("s!=") => same(fact, &[value]).map(|term| Term::Not(vec![term])),
        Some("<in>") => part(fact, value),
        Some("<or>") => same(fact, &value.split("<or>").map(str::trim).collect::<Vec<_>>()),
        Some(operator) => Err(format!(
            "text is not compared with `{operator}`; use s==, s!=, <in>, <or> or the plain value"
        )),
    }
}

fn condition(fact: Fact, wanted: Vec<Wanted>) -> Term {
    Term::Condition(Condition {
        fact,
        comparison: Comparison::Equal,
        wanted,
    })
}

fn same(fact: Fact, values: &[&str]) -> Result<Term, String> {
    // udev has 64 bits of a longer name in ID_WWN; manuals that say to give all of it mean all of it.
    let fact = match fact {
        Fact::WwnBase if values.iter().any(|value| is_long(value)) => Fact::Wwn,
        fact => fact,
    };
    let wanted = values.iter().map(|value| literal(fact, value, value));
    Ok(condition(fact, wanted.collect::<Result<_, _>>()?))
}

fn is_long(wwn: &str) -> bool {
    wwn.strip_prefix("0x").is_some_and(|digits| digits.len() > 16)
}

fn part(fact: Fact, value: &str) -> Result<Term, String> {
    let pattern = format!("*{value}*");
    Ok(condition(fact, vec![literal(fact, value, &pattern)?]))
}

/// A value as it stands, which a rule must be able to say.
fn literal(fact: Fact, value: &str, pattern: &str) -> Result<Wanted, String> {
    if value.is_empty() {
        return Err("has no value".to_owned());
    }
    if let Some(letter) = value.chars().find(|c| matches!(c, '*' | '"') || c.is_control()) {
        return Err(format!("a value with {letter:?} in it cannot be compared"));
    }
    wanted(fact, pattern)
}

fn device_name(name: &str) -> Result<Term, String> {
    let (operator, value) = operator(name);
    if matches!(operator, None | Some("s==")) && value.starts_with(BY_PATH) {
        return same(Fact::Path, &[value]);
    }
    Err(format!(
        "`{value}` is a name that the kernel gives anew at each boot, so it may be another disk next time; name the disk \
         by its serial number, WWN or a path below {BY_PATH} (imprint node show NODE lists them)"
    ))
}

fn rotational(value: &Value) -> Result<Term, String> {
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
            "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let flag = flag.ok_or("is true or false")?;
    Ok(condition(Fact::Rotational, vec![Wanted::Text(flag.to_string())]))
}

fn size(expression: &str) -> Result<Term, String> {
    let (operator, number) = operator(expression);
    let comparison = match operator {
        None | Some("==") => Comparison::Equal,
        // In Ironic `=` has always meant "at least".
        Some("=" | ">=") => Comparison::GreaterOrEqual,
        Some("<=") => Comparison::LessOrEqual,
        Some("<") => Comparison::Less,
        Some(">") => Comparison::Greater,
        Some("!=") => Comparison::NotEqual,
        Some(operator) => {
            return Err(format!(
                "a size is not compared with `{operator}`; use ==, !=, <, <=, >, >="
            ));
        }
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .filter(|gibibytes| *gibibytes > 0)
        .and_then(|gibibytes| gibibytes.checked_mul(GIB))
        .ok_or_else(|| format!("`{number}` is not a whole number of GiB above 0"))?;
    Ok(Term::Condition(Condition {
        fact: Fact::Size,
        comparison,
        wanted: vec![Wanted::Bytes(bytes)],
    }))
}
