//! What an installed system says of itself, and whether it works. Pure.

use imprint_proto::agent::v1::{CloudInitState, FirstBootReport};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::Step;
use crate::inventory::NodeProblem;

#[cfg(test)]
mod tests;

/// Longest word of a report that is kept, in characters.
const MAX_WORD: usize = 256;
/// Longest sentence.
const MAX_TEXT: usize = 512;
/// Most entries of a list.
const MAX_LIST: usize = 64;

/// What the installed system said about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirstBoot {
    /// Host name.
    pub hostname: String,
    /// /etc/machine-id.
    pub machine_id: String,
    /// PRETTY_NAME of /etc/os-release.
    pub os_name: String,
    /// Kernel.
    pub kernel_release: String,
    /// `bios` or `uefi`.
    pub boot_mode: String,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Device that / is mounted from, and its file system.
    pub root_device: String,
    /// The kernel's random boot id.
    pub boot_id: String,
    /// Seconds since the kernel started.
    pub uptime_seconds: u64,
    /// What cloud-init says, in one line: `done`, `degraded: …`, `error: …`, `running: …`, `absent`.
    pub cloud_init_status: String,
    /// Version of the guest plugin.
    pub guest_version: String,
    /// When the report came in.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// What the firmware started: `Boot0003 debian`; empty: a BIOS, or a firmware that does not say.
    #[serde(default)]
    pub boot_entry: String,
    /// What cloud-init could not do.
    #[serde(default)]
    pub cloud_init_errors: Vec<String>,
    /// What is to be known of the system though it works: what cloud-init went on after, differences of the network, units
    /// that have failed.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The parts of the boot, in the order in which they began.
    #[serde(default)]
    pub boot_phases: Vec<BootPhase>,
    /// Not empty: the system is up, and waits for this before it makes the report that ends the deployment.
    #[serde(default)]
    pub waiting_for: String,
    /// Seconds that it has waited.
    #[serde(default)]
    pub waited_seconds: u64,
}

/// A part of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootPhase {
    /// `firmware`, `loader`, `kernel`, `initrd`, `userspace`, a unit of systemd, or `cloud-init: init-local`.
    pub name: String,
    /// From the kernel's start; less than 0 before it.
    pub start_ms: i64,
    /// How long it took.
    pub duration_ms: u64,
}

impl FirstBoot {
    /// Of a report; `written` is the boot entry that was written, if one was.
    pub(super) fn of(report: &FirstBootReport, written: Option<&str>, received_at: Timestamp) -> Self {
        let list = |texts: &[String]| -> Vec<String> {
            texts
                .iter()
                .take(MAX_LIST)
                .map(|text| clip(text, MAX_TEXT))
                .collect()
        };
        let phases = report.boot_phases.iter().take(MAX_LIST);
        Self {
            hostname: clip(&report.hostname, MAX_WORD),
            machine_id: clip(&report.machine_id, MAX_WORD),
            os_name: clip(&report.os_name, MAX_WORD),
            kernel_release: clip(&report.kernel_release, MAX_WORD),
            boot_mode: clip(&report.boot_mode, MAX_WORD),
            addresses: list(&report.addresses),
            root_device: clip(&report.root_device, MAX_WORD),
            boot_id: boot_id(report),
            uptime_seconds: report.uptime_seconds,
            cloud_init_status: clip(&report.cloud_init_status, MAX_TEXT),
            guest_version: clip(&report.guest_version, MAX_WORD),
            received_at,
            boot_entry: clip(&report.boot_entry, MAX_WORD),
            cloud_init_errors: report
                .cloud_init
                .as_ref()
                .map(|told| list(&told.errors))
                .unwrap_or_default(),
            warnings: list(&warnings(report, written)),
            boot_phases: phases
                .map(|phase| BootPhase {
                    name: clip(&phase.name, MAX_WORD),
                    start_ms: phase.start_ms,
                    duration_ms: phase.duration_ms,
                })
                .collect(),
            waiting_for: clip(&report.waiting_for, MAX_WORD),
            waited_seconds: report.waited_seconds,
        }
    }

    /// Whether it is the report that ends a deployment.
    pub(super) fn is_final(&self) -> bool {
        self.waiting_for.is_empty()
    }
}

/// The boot that a report is of.
pub(super) fn boot_id(report: &FirstBootReport) -> String {
    clip(&report.boot_id, MAX_WORD)
}

/// Why a system that is up does not work; `deployment` is the deployment's id. Plugins that do not look at cloud-init as a
/// whole said only how it began.
pub(super) fn fault(report: &FirstBootReport, deployment: &str) -> Option<NodeProblem> {
    let cause = match &report.cloud_init {
        Some(told) if told.state() == CloudInitState::Running => format!(
            "cloud-init has not ended on the installed system, which waited {} s for it ({}).",
            report.waited_seconds,
            clip(&report.cloud_init_status, MAX_WORD),
        ),
        Some(told) if !told.errors.is_empty() => {
            let more = match told.errors.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            format!(
                "cloud-init failed on the installed system: {}{more}.",
                clip(&told.errors[0], MAX_TEXT).trim_end_matches('.')
            )
        }
        Some(told) if told.datasource.starts_with("DataSourceNone") => {
            "cloud-init has not found the data of this deployment (DataSourceNone): user-data was not applied.".to_owned()
        }
        _ => return None,
    };
    Some(NodeProblem {
        step: Step::FirstBootReport.to_string(),
        cause,
        remedy: format!(
            "The system is up: look at its /var/log/cloud-init.log and cloud-init-output.log. Then deploy again with user-data that \
             works, or take the system as it is with `imprint deployment accept {deployment}` (API: POST \
             /v1/deployments/{{id}}/accept)."
        ),
    })
}

fn warnings(report: &FirstBootReport, written: Option<&str>) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(told) = &report.cloud_init {
        match told.state() {
            CloudInitState::Disabled => {
                all.push("cloud-init is turned off in this system: user-data was not applied".to_owned());
            }
            CloudInitState::NotStarted => {
                all.push(
                    "nothing has started this system's cloud-init: user-data was not applied".to_owned(),
                );
            }
            _ => {}
        }
        all.extend(told.warnings.iter().map(|text| format!("cloud-init: {text}")));
    }
    let number = |entry: &str| entry.split(' ').next().unwrap_or_default().to_owned();
    if let Some(written) = written.filter(|written| !written.is_empty())
        && !report.boot_entry.is_empty()
        && number(written) != number(&report.boot_entry)
    {
        all.push(format!(
            "the firmware started {}, and not the entry that was written: {written}",
            report.boot_entry
        ));
    }
    all.extend(
        report
            .network_differences
            .iter()
            .map(|text| format!("network: {text}")),
    );
    all.extend(
        report
            .failed_units
            .iter()
            .map(|unit| format!("{unit} has failed")),
    );
    all
}

fn clip(text: &str, characters: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(characters)
        .collect()
}
