//! What a system brings along for servers, by the facts of its disk.

use imprint_image::facts::{Fact, NetworkStack};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Whether a plugin is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// It is.
    Present,
    /// It is, and something keeps it from running.
    Disabled,
    /// It is not.
    Absent,
    /// Nobody could tell; the note says why.
    Unknown,
}

/// Software in an image that a server depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plugin {
    /// `cloud-init`, `imprint-guest`, `network`.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Whether it is there.
    pub state: PluginState,
    /// Its version; null when it is not known.
    pub version: Option<String>,
    /// What else is to be said of it.
    pub note: String,
}

fn plugin(name: &str, purpose: &str, state: PluginState, note: impl Into<String>) -> Plugin {
    Plugin {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        state,
        version: None,
        note: note.into(),
    }
}

/// All that are looked for.
pub(super) fn of(facts: &Value) -> Vec<Plugin> {
    let Some(facts) = super::typed(facts) else {
        return Vec::new();
    };
    let purpose = "host name, keys and user-data of a new server";
    let cloud_init = match &facts.cloud_init {
        Fact::Unknown(why) => plugin("cloud-init", purpose, PluginState::Unknown, why),
        Fact::Known(None) => plugin("cloud-init", purpose, PluginState::Absent, ""),
        Fact::Known(Some(found)) => {
            let state = if found.disabled_by.is_empty() {
                PluginState::Present
            } else {
                PluginState::Disabled
            };
            Plugin {
                version: found.version.known().cloned(),
                ..plugin("cloud-init", purpose, state, found.disabled_by.join(", "))
            }
        }
    };
    let purpose = "network, report of the first start";
    let guest = match &facts.guest_plugin {
        Fact::Unknown(why) => plugin("imprint-guest", purpose, PluginState::Unknown, why),
        Fact::Known(true) => plugin("imprint-guest", purpose, PluginState::Present, "/opt/imprint"),
        Fact::Known(false) => plugin(
            "imprint-guest",
            purpose,
            PluginState::Absent,
            "a deployment adds it",
        ),
    };
    let purpose = "configures the network";
    let network = match &facts.network {
        Fact::Unknown(why) => plugin("network", purpose, PluginState::Unknown, why),
        Fact::Known(stacks) if stacks.is_empty() => plugin("network", purpose, PluginState::Absent, ""),
        Fact::Known(stacks) => {
            let names: Vec<_> = stacks.iter().map(|stack| name_of(*stack)).collect();
            plugin("network", purpose, PluginState::Present, names.join(", "))
        }
    };
    vec![cloud_init, guest, network]
}

fn name_of(stack: NetworkStack) -> &'static str {
    match stack {
        NetworkStack::Netplan => "netplan",
        NetworkStack::Networkd => "systemd-networkd",
        NetworkStack::NetworkManager => "NetworkManager",
        NetworkStack::Ifupdown => "ifupdown",
        NetworkStack::Wicked => "wicked",
        NetworkStack::Sysconfig => "ifcfg",
    }
}
