//! Power of a system.

use serde_json::{Value, json};

use super::{
    Redfish,
    answer::{link, texts},
};
use crate::power::{
    BmcError,
    bmc::{PowerState, Switch},
};

/// What resets are called, the best first.
fn names(switch: Switch) -> &'static [&'static str] {
    match switch {
        // Pushed only when the server is off.
        Switch::On => &["On", "ForceOn", "PushPowerButton"],
        Switch::Off => &["ForceOff"],
        Switch::ShutDown => &["GracefulShutdown", "PushPowerButton"],
    }
}

/// Which one this service takes; the first one where it does not say.
fn choose(switch: Switch, allowed: &[String]) -> Option<&'static str> {
    let names = names(switch);
    if allowed.is_empty() {
        return names.first().copied();
    }
    names
        .iter()
        .copied()
        .find(|name| allowed.iter().any(|word| word == name))
}

pub(super) fn state(system: &Value) -> PowerState {
    match system["PowerState"].as_str() {
        Some("On" | "Paused") => PowerState::On,
        Some("Off") => PowerState::Off,
        Some("PoweringOn" | "PoweringOff") => PowerState::Changing,
        _ => PowerState::Unknown,
    }
}

fn reached(switch: Switch, state: PowerState) -> bool {
    match switch {
        Switch::On => state == PowerState::On,
        Switch::Off | Switch::ShutDown => state == PowerState::Off,
    }
}

impl Redfish {
    pub(super) async fn do_switch(&self, switch: Switch) -> Result<(), BmcError> {
        let system = self.system().await?;
        if reached(switch, state(&system.body)) {
            return Ok(());
        }
        let action = &system.body["Actions"]["#ComputerSystem.Reset"];
        let lacks = BmcError::Lacks {
            address: self.client.address().to_owned(),
            what: "reset action",
        };
        let target = action["target"].as_str().ok_or(lacks)?;
        let allowed = self.allowed_resets(action).await?;
        let Some(name) = choose(switch, &allowed) else {
            return Err(BmcError::Switch {
                address: self.client.address().to_owned(),
                switch,
                allowed,
            });
        };
        let answer = self.client.post(target, &json!({ "ResetType": name })).await?;
        match self.client.completed(answer, self.patience).await {
            Ok(_) => Ok(()),
            // Some refuse what has happened already.
            Err(refused @ BmcError::Refused { .. }) => {
                let now = self.system().await?;
                if reached(switch, state(&now.body)) {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// As the action tells it, or what describes the action; empty: nothing is told.
    async fn allowed_resets(&self, action: &Value) -> Result<Vec<String>, BmcError> {
        let told = texts(&action["ResetType@Redfish.AllowableValues"]);
        if !told.is_empty() {
            return Ok(told);
        }
        let Some(info) = action["@Redfish.ActionInfo"].as_str().map(str::to_owned) else {
            return Ok(Vec::new());
        };
        let info = self.client.get(&info).await?;
        let parameters = info.body["Parameters"].as_array().into_iter().flatten();
        let of_type = parameters.filter(|one| one["Name"] == "ResetType");
        Ok(of_type.flat_map(|one| texts(&one["AllowableValues"])).collect())
    }

    /// Paths of the chassis of the system.
    pub(super) fn chassis(system: &Value) -> Option<String> {
        system["Links"]["Chassis"].as_array()?.first().and_then(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_best_of_what_there_is_is_taken() {
        for (switch, allowed, expected) in [
            (Switch::On, &[][..], Some("On")),
            (Switch::On, &["ForceOn", "ForceOff"], Some("ForceOn")),
            (Switch::On, &["PushPowerButton"], Some("PushPowerButton")),
            (Switch::Off, &["ForceOff", "On"], Some("ForceOff")),
            (Switch::Off, &["On", "GracefulShutdown"], None),
            (Switch::ShutDown, &["GracefulShutdown"], Some("GracefulShutdown")),
            (Switch::ShutDown, &["ForceOff"], None),
        ] {
            assert_eq!(
                choose(switch, &words(allowed)),
                expected,
                "{switch} of {allowed:?}"
            );
        }
    }

    #[test]
    fn states_that_are_none_are_unknown() {
        for (told, expected) in [
            (json!("On"), PowerState::On),
            (json!("PoweringOff"), PowerState::Changing),
            (json!("Half"), PowerState::Unknown),
            (json!(null), PowerState::Unknown),
        ] {
            assert_eq!(state(&json!({ "PowerState": told })), expected);
        }
    }
}
