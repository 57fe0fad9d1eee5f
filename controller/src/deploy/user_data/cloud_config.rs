//! A cloud-config: YAML, the keys that cloud-init knows, and what they take.

use serde_norway::Value as Document;

use super::{
    Findings,
    keys::{ANY, BOOL, KEYS, Key, LIST, MAP, NULL, NUMBER, TEXT},
    yaml::{self, Node, Value, yaml_fault},
};
use crate::catalog::edit_distance;

/// Letters that a mistyped key may be away from the right one.
const NEAR: usize = 2;
/// Longest key that is repeated in an answer.
const MAX_SHOWN: usize = 40;

pub(super) fn look(text: &str, at: &str, found: &mut Findings) {
    match serde_norway::from_str::<Document>(text) {
        Ok(Document::Mapping(_)) => {}
        Ok(Document::Null) => return found.fault(at, "the #cloud-config says nothing"),
        Ok(_) => return found.fault(at, "the #cloud-config is not a mapping of keys to values"),
        Err(error) => return found.fault(at, yaml_fault(&error)),
    }
    let Some(Node {
        value: Value::Map(entries),
        ..
    }) = yaml::read(text)
    else {
        return;
    };
    for (key, value) in &entries {
        let line = key.line;
        match key.text() {
            // What another place says is merged in.
            Some("<<") => {}
            Some(name) => match KEYS.iter().find(|known| known.name == name) {
                Some(known) => check(known, line, value, at, found),
                None => found.warning(at, unknown(line, name)),
            },
            None if key.value == Value::Any => {}
            None => found.fault(
                at,
                format_args!("line {line}: a key is {}, not a text", name_of(&key.value)),
            ),
        }
    }
}

fn unknown(line: usize, name: &str) -> String {
    let near = KEYS
        .iter()
        .map(|key| (edit_distance(name, key.name), key.name))
        .filter(|(distance, _)| *distance <= NEAR)
        .min();
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    let hint = near
        .map(|(_, name)| format!(" (`{name}` is one)"))
        .unwrap_or_default();
    format!("line {line}: `{shown}` is not a key that cloud-init knows{hint}; it is ignored")
}

fn check(key: &Key, line: usize, value: &Node, at: &str, found: &mut Findings) {
    let name = key.name;
    if value.value == Value::Null && key.takes & NULL == 0 {
        return found.warning(
            at,
            format_args!("line {line}: `{name}` has no value; it does nothing"),
        );
    }
    if !takes(key.takes, &value.value) {
        let (is, wanted) = (name_of(&value.value), names(key.takes));
        let hint = quotes(key.takes, &value.value);
        return found.fault(
            at,
            format_args!(
                "line {}: `{name}` is {is}, and cloud-init takes {wanted}{hint}",
                value.line
            ),
        );
    }
    let Value::List(entries) = &value.value else {
        return;
    };
    for entry in entries {
        let line = entry.line;
        if !takes(key.entries, &entry.value) {
            let (is, wanted) = (name_of(&entry.value), names(key.entries));
            let hint = quotes(key.entries, &entry.value);
            found.fault(
                at,
                format_args!(
                    "line {line}: an entry of `{name}` is {is}, and cloud-init takes {wanted}{hint}"
                ),
            );
        }
        if let Value::Map(pairs) = &entry.value
            && !key.needs.is_empty()
            && !pairs.iter().any(|(one, _)| {
                one.text()
                    .is_none_or(|one| one == "<<" || key.needs.contains(&one))
            })
        {
            let needs = key.needs.join("` or `");
            found.fault(
                at,
                format_args!("line {line}: an entry of `{name}` has no `{needs}`"),
            );
        }
    }
}

fn takes(allowed: u8, value: &Value) -> bool {
    allowed == ANY || *value == Value::Any || allowed & kind(value) != 0
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool => BOOL,
        Value::Number => NUMBER,
        Value::Text(_) => TEXT,
        Value::List(_) => LIST,
        Value::Map(_) => MAP,
        Value::Any => ANY,
    }
}

const NAMES: [(u8, &str); 6] = [
    (TEXT, "a text"),
    (BOOL, "true or false"),
    (NUMBER, "a number"),
    (LIST, "a list"),
    (MAP, "a mapping"),
    (NULL, "nothing"),
];

fn name_of(value: &Value) -> &'static str {
    let kind = kind(value);
    NAMES
        .iter()
        .find(|(one, _)| *one == kind)
        .map_or("something else", |(_, name)| name)
}

fn names(allowed: u8) -> String {
    let list: Vec<&str> = NAMES
        .iter()
        .filter(|(one, _)| allowed & one != 0)
        .map(|(_, name)| *name)
        .collect();
    list.join(", or ")
}

/// A number or a yes that was meant as text.
fn quotes(allowed: u8, value: &Value) -> &'static str {
    match value {
        Value::Number | Value::Bool if allowed & TEXT != 0 => "; put it in quotes",
        _ => "",
    }
}
