//! How far cloud-init is, by its own status files. Running `cloud-init status` would start a Python interpreter and,
//! with `--wait`, could wait for a unit that waits for us.

use std::{fs, path::Path};

use serde_json::Value;

/// Cloud-init's files are a few kilobytes long.
const MAX_BYTES: u64 = 1 << 20;
/// How much of the image's own words goes into the report.
const MAX_TEXT: usize = 512;

/// "done", "running…", "error: …", "disabled", "not started", or "absent" without cloud-init.
pub(super) fn read(root: &Path) -> String {
    let result = json(&root.join("run/cloud-init/result.json"));
    let status = json(&root.join("run/cloud-init/status.json"));
    if let Some(text) = describe(result.as_ref(), status.as_ref()) {
        return text;
    }
    if root.join("run/cloud-init/disabled").exists() || root.join("etc/cloud/cloud-init.disabled").exists() {
        return "disabled".into();
    }
    if root.join("usr/bin/cloud-init").exists() {
        "not started"
    } else {
        "absent"
    }
    .into()
}

fn json(path: &Path) -> Option<Value> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn describe(result: Option<&Value>, status: Option<&Value>) -> Option<String> {
    if let Some(result) = result.map(|file| &file["v1"]) {
        return Some(match first_text(&result["errors"]) {
            Some(error) => format!("error: {error}"),
            None => "done".into(),
        });
    }
    let status = &status?["v1"];
    // Each stage keeps its own errors.
    let stages = ["init-local", "init", "modules-config", "modules-final"];
    if let Some((stage, error)) = stages
        .iter()
        .find_map(|stage| first_text(&status[*stage]["errors"]).map(|error| (stage, error)))
    {
        return Some(format!("error: {stage}: {error}"));
    }
    Some(match status["stage"].as_str() {
        Some(stage) => format!("running: {}", bounded(stage)),
        None => "running".into(),
    })
}

fn first_text(errors: &Value) -> Option<String> {
    let first = errors.as_array()?.first()?;
    Some(bounded(
        first
            .as_str()
            .map_or_else(|| first.to_string(), str::to_owned)
            .as_str(),
    ))
}

fn bounded(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_the_files_has_a_word() {
        for (result, status, expected) in [
            (Some(r#"{"v1":{"errors":[]}}"#), None, Some("done")),
            (
                Some(r#"{"v1":{"errors":["('ssh', boom)"]}}"#),
                None,
                Some("error: ('ssh', boom)"),
            ),
            (
                Some(r#"{"v1":{"errors":["two\nlines"]}}"#),
                None,
                Some("error: two lines"),
            ),
            (
                None,
                Some(r#"{"v1":{"stage":"modules-config"}}"#),
                Some("running: modules-config"),
            ),
            (None, Some(r#"{"v1":{"stage":null}}"#), Some("running")),
            (
                None,
                Some(r#"{"v1":{"stage":"init","init":{"errors":["bad network"]}}}"#),
                Some("error: init: bad network"),
            ),
            // The stage's errors are there, but the result says more.
            (
                Some(r#"{"v1":{}}"#),
                Some(r#"{"v1":{"init":{"errors":["x"]}}}"#),
                Some("done"),
            ),
            (None, None, None),
        ] {
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let said = describe(result.map(parse).as_ref(), status.map(parse).as_ref());
            assert_eq!(said.as_deref(), expected, "{result:?} {status:?}");
        }
    }

    #[test]
    fn without_status_files_the_tree_decides() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), "absent");
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/cloud-init"), "").unwrap();
        assert_eq!(read(root.path()), "not started");
        fs::create_dir_all(root.path().join("run/cloud-init")).unwrap();
        fs::write(root.path().join("run/cloud-init/disabled"), "").unwrap();
        assert_eq!(read(root.path()), "disabled");
        fs::write(
            root.path().join("run/cloud-init/status.json"),
            "{\"v1\":{\"stage\":\"init\"}}",
        )
        .unwrap();
        assert_eq!(read(root.path()), "running: init");
    }
}
