//! What an image's owner says of the servers that it is for: the properties `requires` and `forbids`.

use imprint_hardware::{
    matching::ImageRules,
    model::{Condition, TextFact, TextPattern},
};

/// Conditions that are read of one property.
const MOST: usize = 32;

/// Of the properties of an image.
pub(super) fn rules(property: impl Fn(&str) -> Option<String>) -> ImageRules {
    let requires = property("requires").unwrap_or_default();
    let forbids = property("forbids").unwrap_or_default();
    let mut rules = ImageRules::default();
    for text in split(&requires) {
        rules
            .requires
            .push(condition(text).unwrap_or_else(|| unreadable(text)));
    }
    for text in split(&forbids) {
        match condition(text) {
            Some(condition) => rules.forbids.push(condition),
            // What may be meant is not known, so no server can be shown to be free of it.
            None => rules.requires.push(unreadable(text)),
        }
    }
    rules
}

fn unreadable(text: &str) -> Condition {
    Condition::Unreadable(text.chars().take(64).collect())
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .take(MOST)
}

/// `pci=10de:*`, `vendor=Dell*`, `architecture=x86_64`, `nic_driver=mlx5_core`.
fn condition(text: &str) -> Option<Condition> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    if value.is_empty() {
        return None;
    }
    if let Some(fact) = TextFact::ALL.into_iter().find(|fact| fact.key() == key) {
        return Some(Condition::Text(fact, vec![TextPattern::new(value)]));
    }
    match key {
        "pci" => value.parse().ok().map(Condition::Pci),
        "architecture" => Some(Condition::Architecture(value.to_owned())),
        "nic_driver" => Some(Condition::Nics {
            driver: Some(TextPattern::new(value)),
            pci: None,
            count: 1,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_never_fulfilled() {
        let rules = rules(|key| match key {
            "requires" => Some("pci=10de:*, vendor=Dell*".to_owned()),
            _ => Some("nic_driver=bnx2x, colour=red".to_owned()),
        });
        assert_eq!((rules.requires.len(), rules.forbids.len()), (3, 1), "{rules:?}");
        assert_eq!(rules.requires[2], Condition::Unreadable("colour=red".to_owned()));
    }
}
