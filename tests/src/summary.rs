//! What the demo prints at its end, from what the controller knows.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::node::Node;

/// One line for an imported image.
pub fn image(image: &Value) -> String {
    let mib = |key: &str| image[key].as_u64().unwrap_or(0) >> 20;
    format!(
        "image imported: disk of {} MiB, {} MiB of data, {} MiB stored",
        mib("disk_size_bytes"),
        mib("data_bytes"),
        mib("stored_bytes")
    )
}

/// One line for a discovered server.
pub fn hardware(facts: &Value) -> String {
    let serial = format!("serial number {}", text(&facts["serial"]));
    // The inventory follows the first call.
    match text(&facts["hardware"]).as_str() {
        "" => serial,
        hardware => format!("{hardware}, {serial}"),
    }
}

/// What became of one server.
pub fn deployment(node: &Node, facts: &Value, deployment: &Value, events: &Value) -> String {
    let first_boot = &deployment["first_boot"];
    let mut out = format!("\n{} is {}\n", node.name, text(&facts["state"]));
    let mut line = |name: &str, value: &str| {
        writeln!(out, "  {name:<11} {value}").expect("writing to a String cannot fail");
    };
    line(
        "system",
        &format!(
            "{}, kernel {}",
            text(&first_boot["os_name"]),
            text(&first_boot["kernel_release"])
        ),
    );
    line("host name", &text(&first_boot["hostname"]));
    let addresses = first_boot["addresses"].as_array().map_or(&[][..], Vec::as_slice);
    line(
        "addresses",
        &addresses.iter().map(text).collect::<Vec<_>>().join(", "),
    );
    line("boot mode", &text(&first_boot["boot_mode"]));
    if !text(&deployment["boot_entry"]).is_empty() {
        line("boot entry", &text(&deployment["boot_entry"]));
    }
    line("root", &text(&first_boot["root_device"]));
    line("streamed", &streamed(deployment));
    if let Some(seconds) = agent_seconds(deployment, events) {
        line(
            "agent",
            &format!("{seconds:.1} s from its first message to the restart"),
        );
    }
    line("steps", "");
    for step in deployment["steps"].as_array().map_or(&[][..], Vec::as_slice) {
        let seconds = between(&step["started_at"], &step["finished_at"]);
        let seconds = seconds.map_or("       ".to_owned(), |seconds| format!("{seconds:6.1}s"));
        let detail = text(&step["detail"]);
        writeln!(out, "    {seconds}  {:<14} {detail}", text(&step["step"]))
            .expect("writing to a String cannot fail");
    }
    if let Some(seconds) = between(&deployment["created_at"], &deployment["finished_at"]) {
        writeln!(
            out,
            "    {seconds:6.1}s  from the order to the installed system's report"
        )
        .expect("writing to a String cannot fail");
    }
    out
}

fn streamed(deployment: &Value) -> String {
    let write = &deployment["write"];
    if deployment["content"] == "prepared" {
        return "nothing: the image was on the volume before the server was ordered to run it".to_owned();
    }
    let mib = |key: &str| write[key].as_u64().unwrap_or(0) as f64 / f64::from(1 << 20);
    let seconds = write["duration_ms"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let rate = if seconds > 0.0 {
        mib("bytes_written") / seconds
    } else {
        0.0
    };
    format!(
        "{:.0} MiB over the network, {:.0} MiB written and {:.0} MiB zeroed in {seconds:.1} s: {rate:.0} MiB/s of data, {} retries",
        mib("bytes_fetched"),
        mib("bytes_written"),
        mib("bytes_zeroed"),
        write["retries"].as_u64().unwrap_or(0)
    )
}

/// Seconds between the agent's first message and the restart.
fn agent_seconds(deployment: &Value, events: &Value) -> Option<f64> {
    let first = events["items"]
        .as_array()?
        .iter()
        .map(|event| &event["at"])
        .find_map(time)?;
    let steps = deployment["steps"].as_array()?;
    let reboot = steps
        .iter()
        .find(|step| text(&step["step"]).eq_ignore_ascii_case("reboot"))?;
    let restart = time(&reboot["started_at"])?;
    Some(restart.duration_since(first).as_secs_f64())
}

fn between(start: &Value, end: &Value) -> Option<f64> {
    Some(time(end)?.duration_since(time(start)?).as_secs_f64())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(String::new, str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seconds_of_the_agent_end_with_the_reboot_step() {
        let events = json!({ "items": [{ "at": "2026-01-01T00:00:00Z" }, { "at": "2026-01-01T00:00:09Z" }] });
        let deployment = json!({ "steps": [
            { "step": "write", "started_at": "2026-01-01T00:00:05Z" },
            { "step": "reboot", "started_at": "2026-01-01T00:00:17.5Z" },
        ]});
        assert_eq!(agent_seconds(&deployment, &events), Some(17.5));
        assert_eq!(agent_seconds(&json!({ "steps": [] }), &events), None);
    }

    #[test]
    fn rate_is_of_data_written() {
        let write = json!({ "bytes_fetched": 132_120_576, "bytes_written": 419_430_400, "bytes_zeroed": 0,
            "duration_ms": 8000, "retries": 2 });
        let told = streamed(&json!({ "content": "streamed", "write": write }));
        assert!(told.contains("in 8.0 s: 50 MiB/s of data, 2 retries"), "{told}");
        let told = streamed(&json!({ "content": "prepared", "write": null }));
        assert!(told.starts_with("nothing"), "{told}");
    }
}
