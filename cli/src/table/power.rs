//! BMCs and the power of servers.

use serde_json::Value;

use super::{Facts, columns, or_dash, plain};
use crate::{measure, output};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What is known of a BMC.
pub fn bmc(bmc: &Value) -> Facts {
    let mut facts = Facts::default();
    facts.add("kind", text(bmc, "kind"));
    facts.add("address", text(bmc, "address"));
    facts.add("user", text(bmc, "user"));
    facts.add("system", text(bmc, "system"));
    let trusted = match (bmc["fingerprint"].as_str(), bmc["ca_pem"].as_str()) {
        _ if bmc["plain_http"] == true => "nobody: it is asked without TLS".to_owned(),
        (Some(fingerprint), _) => format!("its certificate {fingerprint}"),
        (None, Some(_)) => "CAs of its own".to_owned(),
        (None, None) if bmc["kind"] == "redfish" => "the CAs of the controller's host".to_owned(),
        (None, None) => String::new(),
    };
    facts.add("trusted by", trusted);
    facts.add("network boot", text(bmc, "boot"));
    if bmc["serial_over_lan"] == true {
        facts.add("serial console", "read by IPMI while deployments run");
    }
    facts.add("by hand", text(bmc, "instructions"));
    let quirks: Vec<String> = bmc["quirks"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            format!(
                "{key} {}",
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            )
        })
        .collect();
    facts.add("quirks", quirks.join(", "));
    let server = format!("{} {}", text(bmc, "vendor"), text(bmc, "model"));
    facts.add("server", server.trim().to_owned());
    facts.add("set by", text(bmc, "set_by"));
    facts
}

/// How the power of a server is.
pub fn power(power: &Value) -> Facts {
    let mut facts = Facts::default();
    facts.add("power", text(power, "state"));
    facts.add("why", text(power, "why"));
    facts.add("remedy", text(power, "remedy"));
    facts.add("by hand", text(power, "instructions"));
    let action = &power["action"];
    if !action.is_null() {
        let boot = action["boot"].as_str().map(|boot| format!(", boots {boot} once"));
        let force = if action["force"] == true { " by force" } else { "" };
        facts.add(
            "last change",
            format!(
                "{}{force}{}: {}",
                text(action, "action"),
                boot.unwrap_or_default(),
                text(action, "state")
            ),
        );
        facts.add("it says", text(action, "why"));
        facts.add("what to do", text(action, "remedy"));
    }
    facts
}

/// What a BMC says of its server.
pub fn bmc_hardware(found: &Value) -> String {
    let mut facts = Facts::default();
    let server = format!("{} {}", text(found, "vendor"), text(found, "model"));
    facts.add("server", server.trim().to_owned());
    facts.add("serial", text(found, "serial"));
    facts.add("uuid", text(found, "uuid"));
    facts.add("firmware", text(found, "firmware_version"));
    facts.add("BMC", text(found, "bmc_version"));
    if let Some(count) = found["processors"].as_u64().filter(|count| *count > 0) {
        facts.add("processors", count.to_string());
    }
    if let Some(bytes) = found["memory_bytes"].as_u64().filter(|bytes| *bytes > 0) {
        facts.add("memory", measure::bytes(bytes));
    }
    facts.add("power", text(found, "power"));
    facts.add("health", text(found, "health"));
    for missing in found["missing"].as_array().into_iter().flatten() {
        facts.add("not told", missing.as_str().unwrap_or_default());
    }
    let mut out = facts.render();
    let sensors = found["sensors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !sensors.is_empty() {
        let mut table = columns(&["SENSOR", "KIND", "READING", "HEALTH"]);
        for sensor in sensors {
            let reading = sensor["reading"]
                .as_f64()
                .map(|reading| format!("{reading} {}", text(sensor, "unit")));
            table.add_row([
                plain(text(sensor, "name")),
                plain(text(sensor, "kind")),
                or_dash(reading.as_deref()),
                plain(text(sensor, "health")),
            ]);
        }
        out.push('\n');
        out.push_str(&output::render(&mut table));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bmc_is_shown_with_what_it_is_trusted_by() {
        let shown = bmc(&json!({
            "kind": "redfish", "address": "https://10.0.0.5", "user": "root", "fingerprint": "ab".repeat(32),
            "boot": "pxe", "quirks": {"power_seconds": 300, "cd_target": "UsbCd", "boot_mode": null}, "vendor": "Dell Inc.",
            "model": "R650", "set_by": "ops", "plain_http": false,
        }))
        .render();
        for part in [
            "its certificate abab",
            "power_seconds 300",
            "cd_target UsbCd",
            "Dell Inc. R650",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("boot_mode"), "{shown}");
        let open =
            bmc(&json!({"kind": "redfish", "address": "http://10.0.0.5", "plain_http": true})).render();
        assert!(open.contains("without TLS"), "{open}");
    }

    #[test]
    fn a_change_of_power_is_shown_with_its_reason() {
        let shown = power(&json!({
            "state": "unknown", "why": "the BMC does not answer", "remedy": "look",
            "action": {"action": "cycle", "boot": "pxe", "force": false, "state": "failed", "why": "no network boot", "remedy": "x"},
        }))
        .render();
        for part in [
            "unknown",
            "does not answer",
            "cycle, boots pxe once: failed",
            "no network boot",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn sensors_are_a_table_and_control_characters_do_nothing() {
        let shown = bmc_hardware(&json!({
            "vendor": "A", "model": "B", "memory_bytes": 68_719_476_736_u64, "health": "warning", "power": "on",
            "sensors": [{"name": "Inlet\u{1b}[31m", "kind": "temperature", "reading": 22.5, "unit": "Cel", "health": "ok"},
                        {"name": "Fan", "kind": "fan", "reading": null, "unit": "RPM", "health": "critical"}],
            "missing": ["the BMC itself: refused"],
        }));
        for part in ["64.0 GiB", "22.5 Cel", "critical", "the BMC itself: refused"] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
