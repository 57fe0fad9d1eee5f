//! How far cloud-init is, by its own status files. Running `cloud-init status` would start a Python interpreter and,
//! with `--wait`, could wait for a unit that waits for us.

use std::path::Path;

use imprint_proto::agent::v1::{CloudInit, CloudInitState};
use serde_json::Value;

use super::bounded;
use crate::file;

/// Cloud-init's files are a few kilobytes long.
const MAX_BYTES: u64 = 1 << 20;
/// Errors, and warnings, that are told.
const MAX_FINDINGS: usize = 16;
/// cloud-init's stages in their order; newer versions call the third one otherwise in their units only.
const STAGES: [&str; 4] = ["init-local", "init", "modules-config", "modules-final"];

/// A stage of cloud-init, by the clock.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub name: &'static str,
    /// Seconds since 1970.
    pub start: f64,
    pub finished: f64,
}

/// What is read of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Read {
    pub told: CloudInit,
    /// The stage that it is in.
    pub running: String,
    pub stages: Vec<Stage>,
}

impl Read {
    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let first = |findings: &[String]| findings.first().cloned().unwrap_or_default();
        match self.told.state() {
            CloudInitState::Ended if !self.told.errors.is_empty() => {
                format!("error: {}", first(&self.told.errors))
            }
            CloudInitState::Ended if !self.told.warnings.is_empty() => {
                format!("degraded: {}", first(&self.told.warnings))
            }
            CloudInitState::Ended => "done".into(),
            CloudInitState::Running if self.running.is_empty() => "running".into(),
            CloudInitState::Running => format!("running: {}", self.running),
            CloudInitState::Disabled => "disabled".into(),
            CloudInitState::NotStarted => "not started".into(),
            CloudInitState::Absent | CloudInitState::Unspecified => "absent".into(),
        }
    }

    /// What there is to wait for, while it is to be waited.
    pub(super) fn waiting_for(&self) -> Option<String> {
        match self.told.state() {
            CloudInitState::Running if self.running.is_empty() => Some("cloud-init to end".into()),
            CloudInitState::Running => Some(format!("cloud-init to end (stage {})", self.running)),
            _ => None,
        }
    }

    /// A service of cloud-init has failed and left no result: there will be none.
    pub(super) fn died(&mut self, unit: &str) {
        if self.told.state() == CloudInitState::Running {
            self.told.set_state(CloudInitState::Ended);
            let stage = match self.running.as_str() {
                "" => String::new(),
                stage => format!(" in stage {stage}"),
            };
            self.told
                .errors
                .insert(0, format!("{unit} failed{stage} and left no result"));
        }
    }
}

/// Reads the files below `root`.
pub(super) fn read(root: &Path) -> Read {
    let result = json(&root.join("run/cloud-init/result.json"));
    let status = json(&root.join("run/cloud-init/status.json"));
    if let Some(read) = describe(result.as_ref(), status.as_ref()) {
        return read;
    }
    let any = |paths: &[&str]| paths.iter().any(|path| root.join(path).exists());
    let state = if any(&["run/cloud-init/disabled", "etc/cloud/cloud-init.disabled"]) {
        CloudInitState::Disabled
    } else if any(&["usr/bin/cloud-init"]) {
        CloudInitState::NotStarted
    } else {
        CloudInitState::Absent
    };
    Read {
        told: CloudInit {
            state: state.into(),
            ..CloudInit::default()
        },
        ..Read::default()
    }
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&file::read_bounded(path, MAX_BYTES).ok()?).ok()
}

/// `result.json` is there when it has ended, `status.json` from its beginning on.
fn describe(result: Option<&Value>, status: Option<&Value>) -> Option<Read> {
    let result = result.map(|file| &file["v1"]);
    let status = status.map(|file| &file["v1"]);
    if result.is_none() && status.is_none() {
        return None;
    }
    let state = match result {
        Some(_) => CloudInitState::Ended,
        None => CloudInitState::Running,
    };
    let mut read = Read {
        told: CloudInit {
            state: state.into(),
            datasource: [result, status]
                .into_iter()
                .flatten()
                .find_map(|file| file["datasource"].as_str())
                .map(bounded)
                .unwrap_or_default(),
            ..CloudInit::default()
        },
        ..Read::default()
    };
    let mut warnings = Vec::new();
    for stage in STAGES {
        let Some(kept) = status
            .map(|status| &status[stage])
            .filter(|kept| kept.is_object())
        else {
            continue;
        };
        let named = |text: String| format!("{stage}: {text}");
        read.told.errors.extend(texts(&kept["errors"]).map(named));
        warnings.extend(recoverable(kept).map(named));
        if let (Some(start), Some(finished)) = (kept["start"].as_f64(), kept["finished"].as_f64())
            && finished >= start
        {
            read.stages.push(Stage {
                name: stage,
                start,
                finished,
            });
        }
    }
    if let Some(result) = result {
        // The same errors without their stages, where the stages have not told them.
        if read.told.errors.is_empty() {
            read.told.errors.extend(texts(&result["errors"]));
        }
        if warnings.is_empty() {
            warnings.extend(recoverable(result));
        }
    } else if let Some(stage) = status.and_then(|status| status["stage"].as_str()) {
        read.running = bounded(stage);
    }
    read.told.warnings = warnings;
    read.told.errors.truncate(MAX_FINDINGS);
    read.told.warnings.truncate(MAX_FINDINGS);
    Some(read)
}

/// From 23.4 on, by level of the log; what is merely old-fashioned is no warning of this system.
fn recoverable(of: &Value) -> impl Iterator<Item = String> {
    ["WARNING", "ERROR", "CRITICAL"]
        .into_iter()
        .flat_map(|level| texts(&of["recoverable_errors"][level]))
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    list.as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .take(MAX_FINDINGS)
        .map(|text| bounded(&text.as_str().map_or_else(|| text.to_string(), str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn said(result: Option<&str>, status: Option<&str>) -> Option<Read> {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        describe(result.map(parse).as_ref(), status.map(parse).as_ref())
    }

    #[test]
    fn every_state_of_the_files_has_a_word() {
        for (result, status, expected) in [
            (Some(r#"{"v1":{"errors":[]}}"#), None, "done"),
            (
                Some(r#"{"v1":{"errors":["('ssh', boom)"]}}"#),
                None,
                "error: ('ssh', boom)",
            ),
            (
                Some(r#"{"v1":{"errors":["two\nlines"]}}"#),
                None,
                "error: two lines",
            ),
            (
                None,
                Some(r#"{"v1":{"stage":"modules-config"}}"#),
                "running: modules-config",
            ),
            (None, Some(r#"{"v1":{"stage":null}}"#), "running"),
            // What is wrong so far is not the end.
            (
                None,
                Some(r#"{"v1":{"stage":"init","init":{"errors":["bad network"]}}}"#),
                "running: init",
            ),
            // cloud-init 22.4 keeps the errors in both.
            (
                Some(r#"{"v1":{"errors":["boom"]}}"#),
                Some(r#"{"v1":{"modules-final":{"errors":["boom"]}}}"#),
                "error: modules-final: boom",
            ),
            // cloud-init 23.4 and later.
            (
                Some(r#"{"v1":{"errors":[],"recoverable_errors":{"WARNING":["no such key"]}}}"#),
                Some(
                    r#"{"v1":{"init":{"errors":[],"recoverable_errors":{"WARNING":["no such key"],"DEPRECATED":["old"]}}}}"#,
                ),
                "degraded: init: no such key",
            ),
            (
                Some(r#"{"v1":{"errors":[],"recoverable_errors":{"DEPRECATED":["old"]}}}"#),
                None,
                "done",
            ),
        ] {
            let read = said(result, status).unwrap();
            assert_eq!(read.summary(), expected, "{result:?} {status:?}");
            assert_eq!(read.waiting_for().is_some(), result.is_none(), "{status:?}");
        }
        assert_eq!(said(None, None), None);
    }

    #[test]
    fn data_source_and_stages_are_told_and_all_is_bounded() {
        let read = said(
            Some(r#"{"v1":{"datasource":"DataSourceNoCloud [seed=x]","errors":[]}}"#),
            Some(
                r#"{"v1":{"stage":null,"init-local":{"start":10.5,"finished":11.0},"init":{"start":11.5,"finished":null},
                   "modules-final":{"start":20.0,"finished":19.0}}}"#,
            ),
        )
        .unwrap();
        assert_eq!(read.told.datasource, "DataSourceNoCloud [seed=x]");
        assert_eq!(
            read.stages,
            [Stage {
                name: "init-local",
                start: 10.5,
                finished: 11.0
            }]
        );
        let many = serde_json::json!({ "v1": { "errors": vec!["e".repeat(9999); 99] } }).to_string();
        let read = said(Some(&many), None).unwrap();
        assert_eq!(read.told.errors.len(), MAX_FINDINGS);
        assert!(read.told.errors[0].len() < 1000);
    }

    #[test]
    fn a_service_that_died_is_not_waited_for() {
        let mut read = said(None, Some(r#"{"v1":{"stage":"modules-final"}}"#)).unwrap();
        assert_eq!(
            read.waiting_for().as_deref(),
            Some("cloud-init to end (stage modules-final)")
        );
        read.died("cloud-final.service");
        assert_eq!(read.waiting_for(), None);
        assert_eq!(
            read.summary(),
            "error: cloud-final.service failed in stage modules-final and left no result"
        );
        // It fails as well when it has left one, which says more.
        let mut ended = said(Some(r#"{"v1":{"errors":["boom"]}}"#), None).unwrap();
        ended.died("cloud-final.service");
        assert_eq!(ended.summary(), "error: boom");
    }

    #[test]
    fn without_status_files_the_tree_decides() {
        let root = tempfile::tempdir().unwrap();
        let summary = || read(root.path()).summary();
        assert_eq!(summary(), "absent");
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/cloud-init"), "").unwrap();
        assert_eq!(summary(), "not started");
        fs::create_dir_all(root.path().join("run/cloud-init")).unwrap();
        fs::write(root.path().join("run/cloud-init/disabled"), "").unwrap();
        assert_eq!(summary(), "disabled");
        fs::write(
            root.path().join("run/cloud-init/status.json"),
            "{\"v1\":{\"stage\":\"init\"}}",
        )
        .unwrap();
        assert_eq!(summary(), "running: init");
    }
}
