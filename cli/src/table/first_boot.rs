//! What the installed system said of itself, as facts of its deployment.

use super::Facts;
use crate::answer::FirstBoot;

pub(super) fn add(facts: &mut Facts, first: &FirstBoot) {
    facts.add("hostname", first.hostname.as_str());
    facts.add("system", first.os_name.as_str());
    facts.add("kernel", first.kernel_release.as_str());
    facts.add("booted", booted(first));
    facts.add("root", first.root_device.as_str());
    facts.add("addresses", first.addresses.join(" "));
    facts.add("cloud-init", first.cloud_init_status.as_str());
    // The first one is in the line above.
    for error in first.cloud_init_errors.iter().skip(1) {
        facts.add("cloud-init", format!("error: {error}"));
    }
    facts.add("waits for", first.waiting_for.as_str());
    for warning in &first.warnings {
        facts.add("warning", warning.as_str());
    }
    for phase in &first.boot_phases {
        facts.add(
            "boot phase",
            format!(
                "{:>8.2} s  {:>+8.2} s  {}",
                seconds(phase.duration_ms.try_into().unwrap_or(i64::MAX)),
                seconds(phase.start_ms),
                phase.name
            ),
        );
    }
}

fn booted(first: &FirstBoot) -> String {
    match (first.boot_mode.as_str(), first.boot_entry.as_str()) {
        ("", entry) => entry.to_owned(),
        ("bios", "") => "bios (no boot entries)".to_owned(),
        (mode, "") => mode.to_owned(),
        (mode, entry) => format!("{mode}, by {entry}"),
    }
}

/// For people: hundredths are enough.
fn seconds(ms: i64) -> f64 {
    // Exact for 285,000 years.
    ms as f64 / 1000.0
}
