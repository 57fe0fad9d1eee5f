//! What the hardware model of a node says about its deployments. Pure.

use imprint_hardware::{disk::DiskRule, model::HardwareModel};

use super::request::Refusal;

/// A rule, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleOf {
    pub rule: DiskRule,
    /// Name of the hardware model whose rule it is; unset when the request or nobody says which disk.
    pub model: Option<String>,
}

/// The rule by which the disk is chosen. A request that says nothing of the disk means, for a system, one that servers of
/// this model can be started from; which of several, it may say.
pub(super) fn disk_rule(asked: DiskRule, model: Option<&HardwareModel>, has_system: bool) -> RuleOf {
    let boot = model.and_then(|model| Some((model, model.boot.as_ref()?)));
    match boot {
        Some((model, boot)) if has_system && asked.terms.is_empty() => {
            let mut rule = DiskRule {
                pick: asked.pick,
                ..boot.clone()
            };
            rule.text = rule.to_string();
            RuleOf {
                rule,
                model: Some(model.name.clone()),
            }
        }
        _ => RuleOf {
            rule: asked,
            model: None,
        },
    }
}

/// The order of boot entries, and what is to be known of it.
pub(super) fn boot_order(
    asked: Option<&str>,
    model: Option<&HardwareModel>,
) -> Result<(&'static str, Option<String>), Refusal> {
    let order = match asked.unwrap_or_default() {
        "" | "network-first" => return Ok(("network-first", None)),
        // What lasts for one boot needs no entry that lasts.
        "next-boot-only" => return Ok(("next-boot-only", None)),
        "disk-first" => "disk-first",
        other => return Err(Refusal::BootOrder(other.chars().take(40).collect())),
    };
    let quirk = model.and_then(|model| Some((model, model.quirks.boot_order?)));
    match quirk {
        // The order would be another one after some boots; what the controller answers to the network boot lasts.
        Some((model, quirk)) if !quirk.lasts() => Ok((
            "network-first",
            Some(format!(
                "Servers of the hardware model {} do not keep boot entries ({quirk}): the network stays first, and the controller sends the server to its disk.",
                model.name
            )),
        )),
        _ => Ok((order, None)),
    }
}

/// Seconds that such a server takes longer than others from power to its first request.
pub(super) fn boot_seconds(model: Option<&HardwareModel>) -> u32 {
    model.and_then(|model| model.quirks.boot_seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> HardwareModel {
        let text = format!("schema = 1\nname = \"rack-1\"\nversion = 1\n[match]\nvendor = \"A\"\n{text}");
        HardwareModel::read(&text).unwrap()
    }

    #[test]
    fn the_rule_of_a_model_stands_in_for_none() {
        let with = model("[disks]\nboot = \"transport=nvme\"\n");
        let without = model("");
        let rows = [
            ("", Some(&with), true, "transport=nvme", true),
            ("smallest", Some(&with), true, "transport=nvme,smallest", true),
            ("serial=A", Some(&with), true, "serial=A", false),
            ("", Some(&with), false, "", false),
            ("", Some(&without), true, "", false),
            ("", None, true, "", false),
        ];
        for (asked, model, has_system, text, is_model) in rows {
            let found = disk_rule(asked.parse().unwrap(), model, has_system);
            assert_eq!(
                (found.rule.text.as_str(), found.model.is_some()),
                (text, is_model),
                "{asked}"
            );
            assert_eq!(found.rule, text.parse().unwrap(), "the agent reads it the same");
        }
    }

    #[test]
    fn an_order_that_would_not_last_is_not_written() {
        let rows = [
            ("kept", "disk-first", false),
            ("reset-by-firmware", "network-first", true),
            ("entries-dropped", "network-first", true),
        ];
        for (quirk, order, warned) in rows {
            let model = model(&format!("[quirks]\nboot_order = \"{quirk}\"\n"));
            let (given, warning) = boot_order(Some("disk-first"), Some(&model)).unwrap();
            assert_eq!((given, warning.is_some()), (order, warned), "{quirk}");
            assert_eq!(boot_order(None, Some(&model)).unwrap(), ("network-first", None));
        }
        assert_eq!(
            boot_order(Some("disk-first"), None).unwrap(),
            ("disk-first", None)
        );
        assert!(boot_order(Some("sideways"), None).is_err());
        assert_eq!(
            boot_order(Some("next-boot-only"), None).unwrap(),
            ("next-boot-only", None)
        );
        assert_eq!(boot_seconds(Some(&model("[quirks]\nboot_seconds = 240\n"))), 240);
        assert_eq!(boot_seconds(None), 0);
    }
}
