//! What the command tells: a bar for people, lines of JSON for programs.

use std::io::Write;

use imprint_hardware::facts;
use imprint_proto::agent::v1::{WipeCertificate, WipeMethod};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::WipeCommandError;
use crate::{
    source::whole_cause,
    wipe::{certificate, control::DiskProgress, firmware::name},
};

/// Shows progress and outcome.
#[derive(Debug, Clone)]
pub(super) struct Show {
    json: bool,
    bar: ProgressBar,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        // Hidden by the library itself when stderr is no terminal.
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        let style = "{wide_bar} {bytes}/{total_bytes} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is sound"));
        Show { json, bar }
    }

    /// Shows all that comes until the channel is closed.
    pub(super) fn follow(&self, mut newest: watch::Receiver<Vec<DiskProgress>>) -> JoinHandle<()> {
        let show = self.clone();
        tokio::spawn(async move {
            while newest.changed().await.is_ok() {
                let disks = newest.borrow_and_update().clone();
                show.progress(&disks);
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        })
    }

    fn progress(&self, disks: &[DiskProgress]) {
        if self.json {
            for disk in disks {
                line(&json!({
                    "event": "progress",
                    "disk": disk.disk,
                    "doing": disk.doing,
                    "bytes_done": disk.done,
                    "bytes_total": disk.total,
                    "by_itself": disk.by_itself,
                }));
            }
            return;
        }
        self.bar.set_length(disks.iter().map(|disk| disk.total).sum());
        self.bar.set_position(disks.iter().map(|disk| disk.done).sum());
        let doing: Vec<String> = disks
            .iter()
            .map(|disk| format!("{}: {}", disk.disk, disk.doing))
            .collect();
        self.bar.set_message(doing.join(", "));
    }

    /// The end of each disk.
    pub(super) fn certificates(&self, certificates: &[WipeCertificate]) {
        self.bar.finish_and_clear();
        for certificate in certificates {
            if self.json {
                line(&to_json(certificate));
            } else {
                let text = format!("{}\n  {}", certificate::line(certificate), certificate.statement);
                writeln!(std::io::stderr().lock(), "{text}").ok();
            }
        }
    }

    /// The command has failed before it came to a disk. People read the cause from the program's own error message.
    pub(super) fn failed(&self, error: &WipeCommandError) {
        self.bar.abandon();
        if self.json {
            line(&json!({ "event": "failed", "cause": whole_cause(error), "remedy": error.remedy() }));
        }
    }
}

/// A certificate for programs, with the names of docs/wipe.md.
pub(super) fn to_json(certificate: &WipeCertificate) -> Value {
    let disk = facts::Disk::from(certificate.disk.clone().unwrap_or_default());
    let samples = certificate.samples.as_ref().map(|samples| {
        json!({
            "seed": hex::encode(&samples.seed),
            "count": samples.count,
            "bytes": samples.bytes,
            "places_sha256": hex::encode(&samples.places_digest),
            "expected": word(samples.expected().as_str_name(), "WIPE_EXPECTATION_"),
            "as_expected": samples.as_expected,
            "planted": samples.planted,
            "wrong_at_bytes": samples.wrong_at_bytes,
        })
    });
    let passed_over: Vec<Value> = certificate
        .passed_over
        .iter()
        .map(|passed| json!({ "method": method(passed.method()), "reason": passed.reason }))
        .collect();
    let commands: Vec<Value> = certificate
        .commands
        .iter()
        .map(|command| {
            json!({
                "name": command.name,
                "code": command.code,
                "answer": command.answer,
                "duration_ms": command.duration_ms,
            })
        })
        .collect();
    json!({
        "event": "certificate",
        "disk": disk,
        "policy": word(certificate.policy().as_str_name(), "WIPE_POLICY_"),
        "method": method(certificate.method()),
        "method_name": name(certificate.method()),
        "wiped": certificate.wiped,
        "passed_over": passed_over,
        "started_at": time(certificate.started_at),
        "ended_at": time(certificate.ended_at),
        "bytes_overwritten": certificate.bytes_overwritten,
        "bytes_zeroed": certificate.bytes_zeroed,
        "samples": samples,
        "commands": commands,
        "released": certificate.released,
        "statement": certificate.statement,
        "cause": certificate.cause,
        "remedy": certificate.remedy,
        "agent_version": certificate.agent_version,
    })
}

fn method(method: WipeMethod) -> String {
    word(method.as_str_name(), "WIPE_METHOD_")
}

/// `WIPE_METHOD_NVME_FORMAT` as `nvme-format`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_lowercase()
        .replace('_', "-")
}

fn time(at: Option<prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    Timestamp::new(at.seconds, at.nanos).ok().map(|at| at.to_string())
}

/// A line on stdout. Whoever closed it doesn't want to know; the wipe goes on.
fn line(value: &Value) {
    writeln!(std::io::stdout().lock(), "{value}").ok();
}
