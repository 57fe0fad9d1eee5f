//! Which system of a service the node is.

use serde_json::Value;

use super::{
    Redfish,
    answer::{Answer, link, links, text},
    client::ROOT,
};
use crate::{
    boot::facts::same_uuid,
    inventory::{own_serial, own_uuid},
    power::BmcError,
};

/// What is known of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::power) struct WantedSystem {
    /// Id or path, as an operator names it.
    pub named: Option<String>,
    /// SMBIOS UUID of the node.
    pub uuid: Option<String>,
    /// Serial number of the node.
    pub serial: Option<String>,
    /// What the BMC calls the server tells nothing.
    pub any: bool,
}

/// Whether a system is the node; `None`: nothing can be compared.
fn is_node(wanted: &WantedSystem, system: &Value) -> Option<bool> {
    if wanted.any {
        return None;
    }
    let theirs = system["UUID"].as_str().and_then(own_uuid);
    let uuid = wanted.uuid.as_deref().zip(theirs.as_deref());
    let uuid = uuid.map(|(ours, theirs)| same_uuid(ours, theirs));
    let theirs = system["SerialNumber"].as_str().and_then(own_serial);
    let serial = wanted.serial.as_deref().zip(theirs.as_deref());
    let serial = serial.map(|(ours, theirs)| ours.trim().eq_ignore_ascii_case(theirs.trim()));
    match (uuid, serial) {
        (None, None) => None,
        // Vendors differ in which serial number they tell, and in how they write the UUID: one that is the same will do.
        (uuid, serial) => Some(uuid == Some(true) || serial == Some(true)),
    }
}

fn shown(uuid: &str, serial: &str) -> String {
    let or_none = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    format!("UUID {}, serial number {}", or_none(uuid), or_none(serial))
}

impl Redfish {
    /// The system as it is now.
    pub(super) async fn system(&self) -> Result<Answer, BmcError> {
        if let Some(path) = self.system_path.get() {
            return self.client.get(path).await;
        }
        let (path, system) = self.find_system().await?;
        if is_node(&self.wanted, &system.body) == Some(false) {
            return Err(BmcError::OtherServer {
                address: self.client.address().to_owned(),
                theirs: shown(&text(&system.body["UUID"]), &text(&system.body["SerialNumber"])),
                ours: shown(
                    self.wanted.uuid.as_deref().unwrap_or_default(),
                    self.wanted.serial.as_deref().unwrap_or_default(),
                ),
            });
        }
        // Somebody else may have been as fast; it is the same one.
        self.system_path.get_or_init(|| path);
        Ok(system)
    }

    async fn find_system(&self) -> Result<(String, Answer), BmcError> {
        let root = self.client.get(ROOT).await?;
        let systems =
            link(&root.body["Systems"]).ok_or_else(|| self.client.strange(&root.call, "no systems"))?;
        let members = links(&self.client.get(&systems).await?.body["Members"]);
        let none_of_these = |found: Vec<String>| BmcError::Systems {
            address: self.client.address().to_owned(),
            found,
        };
        if let Some(named) = &self.wanted.named {
            let is_named = |path: &&String| {
                let path = path.trim_end_matches('/');
                path == named.trim_end_matches('/') || path.rsplit('/').next() == Some(named.as_str())
            };
            let Some(path) = members.iter().find(is_named) else {
                return Err(none_of_these(members));
            };
            return Ok((path.clone(), self.client.get(path).await?));
        }
        if let [only] = members.as_slice() {
            return Ok((only.clone(), self.client.get(only).await?));
        }
        let mut same = Vec::new();
        for path in &members {
            let system = self.client.get(path).await?;
            if is_node(&self.wanted, &system.body) == Some(true) {
                same.push((path.clone(), system));
            }
        }
        match (same.pop(), same.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(none_of_these(members)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UUID: &str = "4c4c4544-0051-3610-8034-b7c04f4d3233";
    /// The same bytes, read the other way.
    const SWAPPED: &str = "44454c4c-5100-1036-8034-b7c04f4d3233";

    #[test]
    fn one_fact_that_is_the_same_is_enough_and_none_is_a_stranger() {
        let wanted = WantedSystem {
            uuid: Some(UUID.to_owned()),
            serial: Some("7X2M3".to_owned()),
            ..WantedSystem::default()
        };
        for (system, expected) in [
            (json!({"UUID": UUID, "SerialNumber": "7X2M3"}), Some(true)),
            (json!({"UUID": SWAPPED}), Some(true)),
            (json!({"UUID": UUID, "SerialNumber": "board-1"}), Some(true)),
            (
                json!({"UUID": "11111111-2222-3333-4444-555555555555", "SerialNumber": "7x2m3 "}),
                Some(true),
            ),
            (
                json!({"UUID": "11111111-2222-3333-4444-555555555555", "SerialNumber": "board-1"}),
                Some(false),
            ),
            (json!({"SerialNumber": "board-1"}), Some(false)),
            // Placeholders tell nothing.
            (
                json!({"UUID": "00000000-0000-0000-0000-000000000000", "SerialNumber": "To be filled by O.E.M."}),
                None,
            ),
            (json!({"UUID": 7, "SerialNumber": null}), None),
            (json!({}), None),
        ] {
            assert_eq!(is_node(&wanted, &system), expected, "{system}");
        }
        let stranger = json!({"SerialNumber": "board-1"});
        let any = WantedSystem { any: true, ..wanted };
        assert_eq!(is_node(&any, &stranger), None);
        assert_eq!(is_node(&WantedSystem::default(), &stranger), None);
    }
}
