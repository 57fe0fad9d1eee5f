//! Tables: pure functions from answers to text.

mod batch;
mod contents;
mod first_boot;
mod guest;
mod image;
mod inventory;
mod job;
mod matching;
mod power;
mod sharing;
mod store;
pub mod tenants;
mod volume;
mod webhook;
mod wipe;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::{
    answer::{Deployment, Event, Node, Problem, Step, Why},
    measure,
};

pub use batch::{batch, batches};
pub use contents::{image_facts, lint};
pub use guest::{guest, password_resets};
pub use image::{families, image, images, price};
pub use job::{job, jobs, progress as job_progress};
pub use matching::{models, of_image, of_node};
pub use power::{bmc, bmc_hardware, power};
pub use sharing::{conditions, entitlements, invitations, members, quota, usage, usage_records};
pub use store::{collection, store, verification};
pub use volume::{orphans, volume, volumes};
pub use webhook::{webhook, webhooks};
pub use wipe::wipes;

/// What tables need to know about the moment and the place.
#[derive(Debug, Clone)]
pub struct Moment {
    /// "Now", for ages.
    pub now: Timestamp,
    /// The time zone of whoever looks.
    pub zone: TimeZone,
}

fn columns(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    tighten(&mut table);
    table
}

fn tighten(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

fn align_right(table: &mut Table, from: usize, to: usize) {
    for index in from..to {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Control characters in what a server or an image says could drive the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| "-".into(), plain)
}

/// All servers.
pub fn nodes(nodes: &[Node], moment: &Moment) -> Table {
    let mut table = columns(&[
        "NAME", "STATE", "AGENT", "MAC", "SERIAL", "HARDWARE", "SEEN", "ID",
    ]);
    for node in nodes {
        table.add_row([
            or_dash(node.name.as_deref()),
            plain(&node.state),
            if node.agent_connected { "online" } else { "-" }.into(),
            or_dash(node.macs.first().map(String::as_str)),
            or_dash(node.serial.as_deref()),
            or_dash(node.hardware.as_deref()),
            node.last_seen_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            plain(&node.id),
        ]);
    }
    table
}

/// All deployments.
pub fn deployments(deployments: &[Deployment], moment: &Moment) -> Table {
    let mut table = columns(&["ID", "NODE", "IMAGE", "STATE", "STEP", "STARTED", "TOOK"]);
    for deployment in deployments {
        table.add_row([
            plain(&deployment.id),
            plain(&deployment.node_id),
            plain(subject(deployment)),
            plain(&deployment.state),
            or_dash(deployment.step.as_deref()),
            deployment
                .created_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            took(deployment.created_at, deployment.finished_at).unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

/// The image, or what else has taken the node.
fn subject(deployment: &Deployment) -> &str {
    match deployment.purpose.as_str() {
        "release" => "(release)",
        "rescue" => "(rescue)",
        _ => &deployment.image_id,
    }
}

/// One event as one line.
pub fn event(event: &Event, moment: &Moment) -> String {
    let at = event
        .at
        .map_or_else(|| "-".into(), |at| measure::time(at, &moment.zone));
    format!(
        "{at}  {:<28}  {:<26}  {}",
        plain(&event.kind),
        or_dash(event.node_id.as_deref()),
        plain(&event.message)
    )
}

/// Facts with their names, one under the other; empty ones are left out.
#[derive(Debug, Default)]
pub struct Facts(Vec<(String, String)>);

impl Facts {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name.into(), plain(&value)));
        }
    }

    fn time(&mut self, name: &str, at: Option<Timestamp>, moment: &Moment) {
        if let Some(at) = at {
            self.add(
                name,
                format!(
                    "{} ({})",
                    measure::time(at, &moment.zone),
                    measure::age(at, moment.now)
                ),
            );
        }
    }

    fn problem(&mut self, problem: Option<&Problem>) {
        if let Some(problem) = problem {
            self.add("failed step", problem.step.as_str());
            self.add("cause", problem.cause.as_str());
            self.add("remedy", problem.remedy.as_str());
        }
    }

    /// As text.
    pub fn render(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let indent = format!("\n{:width$}  ", "");
        self.0
            .iter()
            .map(|(name, value)| format!("{name:width$}  {}\n", value.replace('\n', &indent)))
            .collect()
    }
}

/// One server.
pub fn node(node: &Node, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", node.name.as_deref().unwrap_or_default());
    facts.add("id", node.id.as_str());
    facts.add("state", node.state.as_str());
    facts.add("agent", if node.agent_connected { "online" } else { "offline" });
    facts.add("hardware", node.hardware.as_deref().unwrap_or_default());
    facts.add("model", node.model.as_deref().unwrap_or_default());
    facts.add("serial", node.serial.as_deref().unwrap_or_default());
    facts.add("uuid", node.smbios_uuid.as_deref().unwrap_or_default());
    facts.add("macs", node.macs.join(" "));
    facts.add("deployment", node.deployment_id.as_deref().unwrap_or_default());
    facts.time("last seen", node.last_seen_at, moment);
    facts.problem(node.problem.as_ref());
    if let Some(maintenance) = &node.maintenance {
        let since = maintenance.since.map_or_else(String::new, |at| {
            format!(", since {}", measure::time(at, &moment.zone))
        });
        facts.add(
            "maintenance",
            format!("{} (by {}{since})", maintenance.reason, maintenance.by),
        );
    }
    inventory::add(&mut facts, &node.inventory);
    facts
}

/// Why a server is as it is.
pub fn why(why: &Why, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("state", why.state.as_str());
    facts.add("now", why.summary.as_str());
    if let Some(waiting) = why
        .waiting_for
        .as_deref()
        .filter(|waiting| !why.summary.contains(*waiting))
    {
        facts.add("waits for", waiting);
    }
    if let Some(deadline) = why.deadline {
        let left = u64::try_from(deadline.duration_since(moment.now).as_secs()).unwrap_or(0);
        facts.add(
            "until",
            format!(
                "{} (in {})",
                measure::time(deadline, &moment.zone),
                measure::duration(left)
            ),
        );
    }
    facts.problem(why.problem.as_ref());
    matching::add_fit(&mut facts, why.fit.as_ref());
    facts
}

/// One deployment: facts, then its steps.
pub fn deployment(deployment: &Deployment, moment: &Moment) -> (Facts, Table) {
    let mut facts = Facts::default();
    facts.add("id", deployment.id.as_str());
    facts.add("node", deployment.node_id.as_str());
    facts.add("image", subject(deployment));
    facts.add("state", deployment.state.as_str());
    facts.add("now", deployment.explanation.as_deref().unwrap_or_default());
    facts.time("started", deployment.created_at, moment);
    facts.add(
        "took",
        took(deployment.created_at, deployment.finished_at).unwrap_or_default(),
    );
    facts.problem(deployment.problem.as_ref());
    if let Some(write) = &deployment.write {
        let seconds = write.duration_ms / 1000;
        let speed = (write.bytes_written * 1000)
            .checked_div(write.duration_ms)
            .map(measure::rate)
            .unwrap_or_default();
        facts.add(
            "written",
            format!(
                "{} in {} ({speed}), {} received, {} zeroed, {} retries",
                measure::bytes(write.bytes_written),
                measure::duration(seconds),
                measure::bytes(write.bytes_fetched),
                measure::bytes(write.bytes_zeroed),
                write.retries
            ),
        );
        if write.chunks_kept > 0 {
            let saved = measure::bytes(write.bytes_saved);
            let kept = format!(
                "{} chunks that the disk held already ({saved} not fetched)",
                write.chunks_kept
            );
            facts.add("kept", kept);
        }
        facts.add("limited by", write.limiting.as_str());
    }
    facts.add("boot entry", deployment.boot_entry.as_deref().unwrap_or_default());
    if let Some(first) = &deployment.first_boot {
        first_boot::add(&mut facts, first);
    }
    let mut table = columns(&["STEP", "STATE", "TOOK", "WHAT"]);
    for step in &deployment.steps {
        table.add_row([
            plain(&step.step),
            plain(&step.state),
            took(step.started_at, step.finished_at).unwrap_or_else(|| "-".into()),
            plain(&told(step)),
        ]);
    }
    (facts, table)
}

fn told(step: &Step) -> String {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (given(&step.cause), given(&step.remedy)) {
        (Some(cause), Some(remedy)) => format!("{cause}\nremedy: {remedy}"),
        (Some(cause), None) => cause,
        (None, _) => given(&step.detail).unwrap_or_default(),
    }
}

fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    let seconds = to?.duration_since(from?).as_secs();
    Some(measure::duration(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
