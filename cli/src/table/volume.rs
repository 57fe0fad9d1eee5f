//! Volumes.

use comfy_table::Table;
use serde_json::Value;

use super::{Facts, columns, or_dash, plain};
use crate::{measure, output};

fn size(volume: &Value) -> String {
    volume["size_bytes"]
        .as_u64()
        .map_or_else(|| "-".to_owned(), measure::bytes)
}

/// Where a volume is, in a few words.
fn place(volume: &Value) -> String {
    let there = &volume["attachment"];
    if there.is_null() {
        return String::new();
    }
    let node = there["node_id"].as_str().unwrap_or("?");
    let function = &there["function"];
    if function.is_null() {
        return format!("node {node}");
    }
    format!(
        "node {node}, {} at port {} function {}.{}",
        there["kind"].as_str().unwrap_or("?"),
        function["port"],
        function["physical"],
        function["virtual"]
    )
}

fn backing(volume: &Value) -> String {
    let backing = &volume["backing"];
    match backing["type"].as_str() {
        Some("nvme-tcp") => {
            let addresses = backing["addresses"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let addresses: Vec<&str> = addresses.iter().filter_map(Value::as_str).collect();
            format!(
                "namespace {} of {} at {}",
                backing["namespace"],
                backing["subsystem"].as_str().unwrap_or("?"),
                addresses.join(", ")
            )
        }
        Some("static") => {
            let known = |key: &str, what: &str| backing[key].as_str().map(|text| format!("{what} {text}"));
            let known: Vec<String> = [known("serial", "serial"), known("wwn", "WWN")]
                .into_iter()
                .flatten()
                .collect();
            format!("presented already: {}", known.join(", "))
        }
        Some("named") if volume["backend"].is_string() => format!(
            "{} of the controller's {}",
            backing["name"].as_str().unwrap_or("?"),
            volume["backend"].as_str().unwrap_or("?")
        ),
        Some("named") => format!("{} on the card", backing["name"].as_str().unwrap_or("?")),
        _ => String::new(),
    }
}

/// The image that it holds, or is to hold.
fn image(volume: &Value) -> String {
    let prepared = &volume["prepared"];
    let Some(name) = prepared["image"].as_str() else {
        return String::new();
    };
    match (prepared["prepared_at"].as_str(), volume["state"].as_str()) {
        (Some(at), _) => format!("{name}, as it was prepared at {at}"),
        (None, Some("preparing" | "error")) => format!("{name}, not yet"),
        (None, _) => format!("{name}, and what was written since"),
    }
}

fn progress(volume: &Value) -> Option<String> {
    let progress = &volume["progress"];
    let done = measure::bytes(progress["done_bytes"].as_u64()?);
    let total = measure::bytes(progress["total_bytes"].as_u64()?);
    Some(format!("{done} of {total}"))
}

/// All volumes.
pub fn volumes(volumes: &[Value]) -> Table {
    let mut table = columns(&["NAME", "STATE", "SIZE", "WHERE", "WHY", "ID"]);
    for volume in volumes {
        table.add_row([
            or_dash(volume["name"].as_str()),
            or_dash(volume["state"].as_str()),
            size(volume),
            or_dash(Some(&place(volume))),
            or_dash(progress(volume).as_deref().or(volume["why"].as_str())),
            or_dash(volume["id"].as_str()),
        ]);
    }
    table
}

/// One volume.
pub fn volume(volume: &Value) -> Facts {
    let text = |key: &str| volume[key].as_str().unwrap_or_default();
    let mut facts = Facts::default();
    facts.add("name", text("name"));
    facts.add("id", text("id"));
    facts.add("state", text("state"));
    facts.add("why", text("why"));
    facts.add("remedy", text("remedy"));
    facts.add("until", text("deadline"));
    facts.add("size", size(volume));
    facts.add("backing", backing(volume));
    facts.add("image", image(volume));
    facts.add("written", progress(volume).unwrap_or_default());
    facts.add("where", place(volume));
    let there = &volume["attachment"];
    facts.add("serial", there["serial"].as_str().unwrap_or_default());
    facts.add("on the card", there["card_name"].as_str().unwrap_or_default());
    for (key, unit) in [("kiops", "thousand requests/s"), ("mb_per_s", "MB/s")] {
        if let Some(limit) = volume["limits"][key].as_u64() {
            facts.add("at most", format!("{limit} {unit}"));
        }
    }
    facts
}

/// What cards have that nobody knows of.
pub fn orphans(orphans: &Value) -> String {
    let list = |key: &str| orphans[key].as_array().cloned().unwrap_or_default();
    let mut told = String::new();
    let items = list("items");
    let stored = list("stored");
    if items.is_empty() && stored.is_empty() {
        told.push_str("no orphans\n");
    }
    if !items.is_empty() {
        let mut table = columns(&["NODE", "ON THE CARD", "MADE FOR VOLUME"]);
        for orphan in &items {
            table.add_row([
                or_dash(orphan["node"].as_str()),
                or_dash(orphan["name"].as_str()),
                or_dash(orphan["volume_id"].as_str()),
            ]);
        }
        told.push_str(&output::render(&mut table));
    }
    if !stored.is_empty() {
        let mut table = columns(&["BACK-END", "NAME THERE", "MADE FOR VOLUME"]);
        for orphan in &stored {
            table.add_row([
                or_dash(orphan["backend"].as_str()),
                or_dash(orphan["name"].as_str()),
                or_dash(orphan["volume_id"].as_str()),
            ]);
        }
        told.push_str(&output::render(&mut table));
    }
    for silent in list("unanswered") {
        told.push_str(&format!(
            "not asked: {}\n",
            plain(silent.as_str().unwrap_or_default())
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_tells_where_it_is_and_what_it_waits_for() {
        let answer = json!({
            "name": "web-data", "id": "01K9", "state": "attaching", "size_bytes": 1u64 << 30,
            "why": "the card does not answer", "remedy": "Look.", "deadline": "2026-11-22T03:00:00Z",
            "backing": {"type": "nvme-tcp", "subsystem": "nqn.x", "namespace": 3, "addresses": ["192.0.2.7:4420"]},
            "limits": {"kiops": 20, "mb_per_s": null},
            "attachment": {"node_id": "N", "kind": "nvme", "function": {"port": 0, "physical": 2, "virtual": 0},
                           "serial": "v01k9", "card_name": ""},
        });
        let shown = volume(&answer).render();
        for part in [
            "node N, nvme at port 0 function 2.0",
            "namespace 3 of nqn.x at 192.0.2.7:4420",
            "20 thousand requests/s",
            "the card does not answer",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(
            !shown.contains("MB/s") && !shown.contains("on the card"),
            "{shown}"
        );
        let listed = output::render(&mut volumes(&[answer, json!({})]));
        assert!(
            listed.contains("web-data") && listed.lines().count() == 3,
            "{listed}"
        );
    }

    #[test]
    fn a_disk_that_is_presented_already_has_no_function() {
        let shown = volume(&json!({
            "name": "lun-7", "state": "attached", "size_bytes": 512, "backing": {"type": "static", "wwn": "0x6001"},
            "attachment": {"node_id": "N", "kind": null, "function": null, "serial": "", "card_name": ""},
        }))
        .render();
        for part in ["node N\n", "presented already: WWN 0x6001"] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(!shown.contains("serial"), "{shown}");
    }

    #[test]
    fn orphans_and_silent_cards_are_told() {
        assert_eq!(orphans(&json!({"items": [], "unanswered": []})), "no orphans\n");
        let told = orphans(&json!({
            "items": [{"node": "web-1", "name": "virtioBlks/x", "volume_id": null}], "unanswered": ["web-2: gone"],
        }));
        assert!(
            told.contains("virtioBlks/x") && told.ends_with("not asked: web-2: gone\n"),
            "{told}"
        );
        assert!(!told.contains("BACK-END"), "{told}");
        let told = orphans(&json!({
            "items": [], "unanswered": [], "stored": [{"backend": "files", "name": "v01x", "volume_id": null}],
        }));
        assert!(told.contains("v01x") && !told.contains("no orphans"), "{told}");
    }

    #[test]
    fn a_volume_tells_its_image_and_how_far_it_is() {
        let answer = |state: &str, at: serde_json::Value, progress: serde_json::Value| {
            json!({
                "name": "root", "state": state, "why": "the back-end makes the volume", "progress": progress,
                "prepared": {"image": "debian-12", "prepared_at": at},
            })
        };
        let writing = answer(
            "preparing",
            json!(null),
            json!({"done_bytes": 1u64 << 30, "total_bytes": 3u64 << 30}),
        );
        let far = format!("{} of {}", measure::bytes(1 << 30), measure::bytes(3 << 30));
        assert!(volume(&writing).render().contains("debian-12, not yet"));
        assert!(output::render(&mut volumes(&[writing])).contains(&far));
        let holds = volume(&answer("available", json!("2026-11-22T03:00:00Z"), json!(null))).render();
        assert!(
            holds.contains("as it was prepared") && !holds.contains("written"),
            "{holds}"
        );
        let used = volume(&answer("attached", json!(null), json!(null))).render();
        assert!(used.contains("what was written since"), "{used}");
    }

    #[test]
    fn what_the_controller_makes_is_told_apart() {
        let answer = |backend: serde_json::Value| {
            volume(&json!({
                "name": "scratch", "backing": {"type": "named", "name": "v01k9"}, "backend": backend,
            }))
            .render()
        };
        assert!(answer(json!("files")).contains("v01k9 of the controller's files"));
        assert!(answer(json!(null)).contains("v01k9 on the card"));
    }
}
