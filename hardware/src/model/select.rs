//! Which model a server is of.

use std::cmp::Reverse;

use super::HardwareModel;
use crate::facts::Inventory;

/// How a model stands to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The model.
    pub model: &'a HardwareModel,
    /// Conditions that do not hold, with what the server has instead; empty when it matches.
    pub against: Vec<String>,
}

/// Why a model is or is not that of a server.
#[must_use]
pub fn judge<'a>(model: &'a HardwareModel, inventory: &Inventory) -> Choice<'a> {
    let failed = model
        .conditions
        .iter()
        .filter(|condition| !condition.holds(inventory));
    let against = failed.map(|condition| format!("wants {condition}, found {}", condition.found(inventory)));
    Choice {
        model,
        against: against.collect(),
    }
}

/// The model of a server: of those whose conditions all hold the one with the most conditions, and of equals the first
/// by name.
#[must_use]
pub fn choose<'a>(
    models: impl IntoIterator<Item = &'a HardwareModel>,
    inventory: &Inventory,
) -> Option<&'a HardwareModel> {
    models
        .into_iter()
        .filter(|model| {
            model
                .conditions
                .iter()
                .all(|condition| condition.holds(inventory))
        })
        .min_by_key(|model| (Reverse(model.conditions.len()), model.name.clone()))
}
