//! Facts and lint reports of images.

use super::*;

/// The facts that people look for; the whole is JSON.
pub fn image_facts(facts: &Value) -> String {
    let disks = facts["disks"].as_array().map_or(&[][..], Vec::as_slice);
    let parts: Vec<_> = disks.iter().map(|disk| disk_facts(disk).render()).collect();
    parts.join("\n")
}

fn disk_facts(disk: &Value) -> Facts {
    let known = &disk["facts"];
    let mut facts = Facts::default();
    facts.add("disk", text(&disk["role"]));
    facts.add(
        "system",
        fact(&known["distribution"], |found| text(&found["pretty_name"])),
    );
    facts.add("architecture", fact(&known["architecture"], text));
    facts.add("uefi", fact(&known["firmware"]["uefi"], loaders));
    facts.add(
        "bios",
        fact(&known["firmware"]["bios"], |found| yes(&found["boot_code"])),
    );
    facts.add(
        "kernels",
        fact(&known["kernels"], |found| names(found, "version")),
    );
    facts.add("volumes", names(&known["volumes"], "kind"));
    for plugin in disk["plugins"].as_array().into_iter().flatten() {
        let parts = [
            text(&plugin["state"]),
            text(&plugin["version"]),
            text(&plugin["note"]),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        facts.add(&text(&plugin["name"]), parts.join(", "));
    }
    facts.add("packages", disk["package_count"].to_string());
    if known.is_null() {
        facts.add("facts", "nobody has looked");
    }
    facts
}

/// A fact, or why it is not known.
fn fact(value: &Value, show: impl FnOnce(&Value) -> String) -> String {
    match (value.get("known"), value["unknown"].as_str()) {
        (Some(Value::Null), _) => "none".to_owned(),
        (Some(known), _) => show(known),
        (None, Some(why)) => format!("unknown: {why}"),
        (None, None) => String::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn yes(value: &Value) -> String {
    if value.as_bool() == Some(true) {
        "boot code"
    } else {
        "none"
    }
    .to_owned()
}

fn loaders(found: &Value) -> String {
    match names(&found["loaders"], "path") {
        none if none.is_empty() => "no loader".to_owned(),
        names => names,
    }
}

fn names(list: &Value, field: &str) -> String {
    let names = list.as_array().into_iter().flatten();
    let names: Vec<_> = names.filter_map(|one| one[field].as_str()).collect();
    names.join(", ")
}

/// All findings of all disks.
pub fn lint(lint: &Value) -> Table {
    let mut table = columns(&["SEVERITY", "DISK", "CODE", "FINDING", "REMEDY"]);
    for disk in lint["disks"].as_array().into_iter().flatten() {
        for finding in disk["findings"].as_array().into_iter().flatten() {
            let part = |name: &str| plain(finding[name].as_str().unwrap_or_default());
            table.add_row([
                part("severity"),
                plain(disk["role"].as_str().unwrap_or_default()),
                part("code"),
                part("what"),
                part("remedy"),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_told_and_what_is_not_says_why() {
        let facts = json!({"disks": [{"role": "system", "package_count": 3, "plugins": [
                {"name": "cloud-init", "state": "present", "version": "22.4", "note": ""}],
            "facts": {"distribution": {"known": {"pretty_name": "Debian 12"}}, "architecture": {"unknown": "no root"},
                "firmware": {"uefi": {"known": null}, "bios": {"known": {"boot_code": true}}},
                "kernels": {"known": [{"version": "6.1"}, {"version": "6.2"}]}, "volumes": [{"kind": "ext4"}, {"kind": null}]}}]});
        let told = image_facts(&facts);
        for part in [
            "Debian 12",
            "unknown: no root",
            "none",
            "boot code",
            "6.1, 6.2",
            "ext4",
            "present, 22.4",
            "3",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(
            image_facts(&json!({"disks": [{"role": "data", "facts": null}]})).contains("nobody has looked")
        );
    }
}
