//! Overrides of the boot order.
//!
//! Services differ here more than anywhere else. Target and Enabled are always sent together. The mode goes along only
//! where it has to: some forget it otherwise, others refuse it. If-Match is sent where the resource has a version; a service
//! that does not find its own version again gets the other form of it, and in the end none.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Redfish,
    answer::{Answer, link, texts},
};
use crate::power::{
    BmcError,
    bmc::{BootTarget, Override},
};

const ENABLED: &str = "BootSourceOverrideEnabled";
const TARGET: &str = "BootSourceOverrideTarget";
const MODE: &str = "BootSourceOverrideMode";
const ALLOWED: &str = "@Redfish.AllowableValues";

fn allowed(boot: &Value, of: &str) -> Vec<String> {
    texts(&boot[format!("{of}{ALLOWED}")])
}

/// The forms of a version, in the order in which they are tried; `None`: without.
fn versions(etag: Option<String>) -> Vec<Option<String>> {
    let Some(etag) = etag else { return vec![None] };
    let other = match etag.strip_prefix("W/") {
        Some(strong) => strong.to_owned(),
        None => format!("W/{etag}"),
    };
    vec![Some(etag), Some(other), None]
}

/// What a service calls a target.
fn name_of(target: BootTarget, cd_target: Option<&str>) -> &str {
    match target {
        BootTarget::Pxe => "Pxe",
        BootTarget::UefiHttp => "UefiHttp",
        BootTarget::Cd => cd_target.unwrap_or("Cd"),
        BootTarget::Disk => "Hdd",
    }
}

/// Whether what is read is what was written.
fn confirmed(boot: &Value, name: &str) -> Option<Override> {
    if boot[TARGET].as_str() != Some(name) {
        return None;
    }
    match boot[ENABLED].as_str() {
        Some("Once") => Some(Override::Once),
        Some("Continuous") => Some(Override::Stays),
        _ => None,
    }
}

impl Redfish {
    pub(super) async fn override_boot(&self, target: BootTarget) -> Result<Override, BmcError> {
        let system = self.system().await?;
        let (boot, quirks) = (&system.body["Boot"], self.quirks(&system.body));
        let name = name_of(target, quirks.cd_target.as_deref());
        let targets = allowed(boot, TARGET);
        let refused = |allowed| BmcError::Target {
            address: self.client.address().to_owned(),
            target,
            allowed,
        };
        if quirks.no_boot_override == Some(true) || boot[TARGET].is_null() && targets.is_empty() {
            return Err(refused(Vec::new()));
        }
        if !targets.is_empty() && !targets.iter().any(|word| word == name) {
            return Err(refused(targets));
        }
        let times = allowed(boot, ENABLED);
        let has = |word: &str| times.is_empty() || times.iter().any(|time| time == word);
        let enabled = match quirks.boot_continuous {
            Some(true) => "Continuous",
            _ if has("Once") => "Once",
            _ if has("Continuous") => "Continuous",
            _ => return Err(refused(times)),
        };
        self.write_boot(&system, json!({ ENABLED: enabled, TARGET: name }))
            .await?;
        let now = self.system().await?.body;
        Ok(confirmed(&now["Boot"], name).unwrap_or(Override::Unconfirmed))
    }

    pub(super) async fn clear_boot(&self) -> Result<(), BmcError> {
        let system = self.system().await?;
        let boot = &system.body["Boot"];
        if matches!(boot[ENABLED].as_str(), None | Some("Disabled")) {
            return Ok(());
        }
        let targets = allowed(boot, TARGET);
        let mut wish = json!({ ENABLED: "Disabled" });
        if targets.is_empty() || targets.iter().any(|word| word == "None") {
            wish[TARGET] = json!("None");
        }
        match self.write_boot(&system, wish).await {
            // Who cannot disable an override gets the one that does no harm.
            Err(BmcError::Refused {
                status: 400..=499, ..
            }) => {
                let disk = json!({ ENABLED: "Continuous", TARGET: "Hdd" });
                self.write_boot(&self.system().await?, disk).await
            }
            written => written,
        }
    }

    /// Writes to the system, or to where its wishes are kept.
    async fn write_boot(&self, system: &Answer, mut boot: Value) -> Result<(), BmcError> {
        let mode = &system.body["Boot"][MODE];
        if self.quirks(&system.body).boot_mode == Some(true) && mode.is_string() {
            boot[MODE] = mode.clone();
        }
        let path = self.system_path.get().cloned().unwrap_or_default();
        let wishes = link(&system.body["@Redfish.Settings"]["SettingsObject"]);
        let refused = match self.patch(&path, system.etag(), &boot).await {
            Err(
                refused @ BmcError::Refused {
                    status: 400..=499, ..
                },
            ) => refused,
            written => return written,
        };
        if let Some(wishes) = wishes {
            let there = self.client.get(&wishes).await?;
            return self.patch(&wishes, there.etag(), &boot).await;
        }
        if boot[MODE].is_null() && mode.is_string() {
            boot[MODE] = mode.clone();
            return match self.patch(&path, system.etag(), &boot).await {
                // The first reason is the better one.
                Err(BmcError::Refused { .. }) => Err(refused),
                written => written,
            };
        }
        Err(refused)
    }

    async fn patch(&self, path: &str, etag: Option<String>, boot: &Value) -> Result<(), BmcError> {
        let body = json!({ "Boot": boot });
        let known = etag.filter(|_| self.said.no_if_match != Some(true));
        let mut ways = versions(known);
        if ways == [None] {
            // Any version, for who insists on one.
            ways.push(Some("*".to_owned()));
        }
        let mut refused = None;
        for etag in &ways {
            let answer = self
                .client
                .ask(Method::PATCH, path, Some(&body), etag.as_deref())
                .await?;
            if !matches!(
                answer.status,
                StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED
            ) {
                self.client.completed(answer, self.patience).await?;
                return Ok(());
            }
            refused = Some(answer);
        }
        match refused {
            Some(answer) => answer.done(self.client.address()).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_version_are_tried_and_none_at_last() {
        let forms = |etag: &str| versions(Some(etag.to_owned()));
        assert_eq!(
            forms("W/\"1\""),
            [Some("W/\"1\"".to_owned()), Some("\"1\"".to_owned()), None]
        );
        assert_eq!(
            forms("\"1\""),
            [Some("\"1\"".to_owned()), Some("W/\"1\"".to_owned()), None]
        );
        assert_eq!(versions(None), [None]);
    }

    #[test]
    fn what_is_read_back_says_how_long_it_holds() {
        let boot = |enabled: &str, target: &str| json!({ ENABLED: enabled, TARGET: target });
        assert_eq!(confirmed(&boot("Once", "Pxe"), "Pxe"), Some(Override::Once));
        assert_eq!(
            confirmed(&boot("Continuous", "Pxe"), "Pxe"),
            Some(Override::Stays)
        );
        assert_eq!(confirmed(&boot("Disabled", "Pxe"), "Pxe"), None);
        assert_eq!(confirmed(&boot("Once", "Hdd"), "Pxe"), None);
        assert_eq!(confirmed(&Value::Null, "Pxe"), None);
    }
}
