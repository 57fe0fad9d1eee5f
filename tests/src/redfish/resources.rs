//! The documents of the BMC.

use serde_json::{Value, json};

use super::oddities::{Etags, Oddities, Overrides};
use super::service::{Boot, Identity};

pub(super) const SYSTEM: &str = "/redfish/v1/Systems/1";
pub(super) const SETTINGS: &str = "/redfish/v1/Systems/1/SD";
pub(super) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub(super) const CD: &str = "/redfish/v1/Managers/1/VirtualMedia/Cd";
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const TARGETS: [&str; 6] = ["None", "Pxe", "UefiHttp", "Hdd", "Cd", "BiosSetup"];
const RESETS: [&str; 5] = [
    "On",
    "ForceOff",
    "GracefulShutdown",
    "ForceRestart",
    "PushPowerButton",
];

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn list(paths: &[&str]) -> Value {
    let members: Vec<Value> = paths.iter().map(|path| link(path)).collect();
    json!({ "Members": members, "Members@odata.count": paths.len() })
}

fn targets(oddities: &Oddities) -> Vec<&'static str> {
    oddities.targets.clone().unwrap_or_else(|| TARGETS.to_vec())
}

fn resets(oddities: &Oddities) -> Vec<&'static str> {
    oddities.resets.clone().unwrap_or_else(|| RESETS.to_vec())
}

pub(super) struct Shown<'a> {
    pub identity: &'a Identity,
    pub oddities: &'a Oddities,
    pub boot: &'a Boot,
    pub media: Option<&'a str>,
    /// As Redfish calls it.
    pub power: &'static str,
    pub version: u64,
}

impl Shown<'_> {
    /// The document at a path; none: there is none.
    pub fn at(&self, path: &str) -> Option<Value> {
        let document = match path {
            "/redfish/v1" => self.root(),
            "/redfish/v1/Systems" if self.oddities.second_system => list(&["/redfish/v1/Systems/0", SYSTEM]),
            "/redfish/v1/Systems" => list(&[SYSTEM]),
            "/redfish/v1/Systems/0" => json!({
                "@odata.id": path, "Id": "0", "UUID": "99999999-8888-7777-6666-555555555555", "PowerState": "On",
            }),
            SYSTEM => self.system(),
            SETTINGS => json!({ "@odata.id": path, "Id": "SD", "Boot": {} }),
            "/redfish/v1/Systems/1/ResetActionInfo" => json!({
                "@odata.id": path, "Id": "ResetActionInfo",
                "Parameters": [{ "Name": "ResetType", "Required": true, "AllowableValues": resets(self.oddities) }],
            }),
            "/redfish/v1/Managers/1" => json!({
                "@odata.id": path, "Id": "1", "FirmwareVersion": "1.2.3",
                "VirtualMedia": link("/redfish/v1/Managers/1/VirtualMedia"),
            }),
            "/redfish/v1/Managers/1/VirtualMedia" => {
                list(&["/redfish/v1/Managers/1/VirtualMedia/Floppy", CD])
            }
            "/redfish/v1/Managers/1/VirtualMedia/Floppy" => json!({
                "@odata.id": path, "Id": "Floppy", "MediaTypes": ["Floppy", "USBStick"], "Image": null,
            }),
            CD => json!({
                "@odata.id": path, "Id": "Cd", "MediaTypes": ["CD", "DVD"], "Image": self.media,
                "Inserted": self.media.is_some(),
                "Actions": {
                    "#VirtualMedia.InsertMedia": { "target": format!("{CD}/Actions/VirtualMedia.InsertMedia") },
                    "#VirtualMedia.EjectMedia": { "target": format!("{CD}/Actions/VirtualMedia.EjectMedia") },
                },
            }),
            "/redfish/v1/Chassis/1" if self.oddities.no_sensors => json!({ "@odata.id": path, "Id": "1" }),
            "/redfish/v1/Chassis/1" => json!({
                "@odata.id": path, "Id": "1", "Thermal": link("/redfish/v1/Chassis/1/Thermal"),
                "Power": link("/redfish/v1/Chassis/1/Power"),
            }),
            "/redfish/v1/Chassis/1/Thermal" => json!({
                "@odata.id": path,
                "Temperatures": [
                    { "Name": "CPU1 Temp", "ReadingCelsius": 41, "Status": { "State": "Enabled", "Health": "OK" } },
                    { "Name": "Inlet", "ReadingCelsius": 22.5, "Status": { "State": "Enabled", "Health": "OK" } },
                ],
                "Fans": [{ "Name": "Fan1", "Reading": 4200, "ReadingUnits": "RPM",
                           "Status": { "State": "Enabled", "Health": "Warning" } }],
            }),
            "/redfish/v1/Chassis/1/Power" => json!({
                "@odata.id": path, "PowerControl": [{ "Name": "System", "PowerConsumedWatts": 214 }],
            }),
            _ => return None,
        };
        Some(document)
    }

    /// The version of the system, as it is told; none: it is not.
    pub fn etag(&self) -> Option<String> {
        match self.oddities.etags {
            Etags::None | Etags::Secret => None,
            Etags::Needed | Etags::Never => Some(format!("\"{}\"", self.version)),
            Etags::Weak => Some(format!("W/\"{}\"", self.version)),
        }
    }

    fn root(&self) -> Value {
        let mut root = json!({
            "@odata.id": "/redfish/v1/", "RedfishVersion": "1.6.0", "Systems": link("/redfish/v1/Systems"),
            "Managers": link("/redfish/v1/Managers"), "Chassis": link("/redfish/v1/Chassis"),
        });
        if !self.oddities.no_sessions {
            root["Links"] = json!({ "Sessions": link(SESSIONS) });
        }
        root
    }

    fn system(&self) -> Value {
        let oddities = self.oddities;
        let mut reset = json!({ "target": RESET });
        if oddities.action_info {
            reset["@Redfish.ActionInfo"] = json!("/redfish/v1/Systems/1/ResetActionInfo");
        } else {
            reset["ResetType@Redfish.AllowableValues"] = json!(resets(oddities));
        }
        let mut boot = json!({
            "BootSourceOverrideEnabled": self.boot.enabled, "BootSourceOverrideTarget": self.boot.target,
            "BootSourceOverrideMode": self.boot.mode, "BootSourceOverrideTarget@Redfish.AllowableValues": targets(oddities),
        });
        match oddities.overrides {
            Overrides::ContinuousOnly => {
                boot["BootSourceOverrideEnabled@Redfish.AllowableValues"] = json!(["Disabled", "Continuous"]);
            }
            Overrides::None => boot = json!({}),
            _ => {}
        }
        let mut system = json!({
            "@odata.id": SYSTEM, "Id": "1", "Manufacturer": self.identity.vendor, "Model": self.identity.model,
            "SerialNumber": self.identity.serial, "UUID": self.identity.uuid, "BiosVersion": "2.0",
            "PowerState": self.power, "Status": { "State": "Enabled", "Health": "OK", "HealthRollup": "Warning" },
            "ProcessorSummary": { "Count": 2 }, "MemorySummary": { "TotalSystemMemoryGiB": 64 },
            "Boot": boot, "Actions": { "#ComputerSystem.Reset": reset },
            "Links": { "ManagedBy": [link("/redfish/v1/Managers/1")], "Chassis": [link("/redfish/v1/Chassis/1")] },
        });
        if oddities.overrides == Overrides::AtSettings {
            system["@Redfish.Settings"] = json!({ "SettingsObject": link(SETTINGS) });
        }
        system
    }
}

/// Whether a target, or a reset, is among those that are listed.
pub(super) fn is_listed(oddities: &Oddities, target: &str) -> bool {
    targets(oddities).contains(&target)
}

pub(super) fn is_reset(oddities: &Oddities, reset: &str) -> bool {
    resets(oddities).contains(&reset)
}
