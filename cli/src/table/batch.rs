//! Batches of deployments.

use comfy_table::Table;

use super::{Facts, Moment, columns, or_dash, plain};
use crate::{answer::Batch, measure};

pub fn batches(batches: &[Batch], moment: &Moment) -> Table {
    let mut table = columns(&["ID", "IMAGE", "STARTED", "STANDS"]);
    for batch in batches {
        table.add_row([
            plain(&batch.id),
            plain(&batch.image_name),
            batch
                .created_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            stands(batch),
        ]);
    }
    table
}

/// "3 running, 12 queued, 5 succeeded".
fn stands(batch: &Batch) -> String {
    let counts = &batch.counts;
    let parts: Vec<String> = [
        (counts.running, "running"),
        (counts.queued, "queued"),
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.refused, "refused"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    parts.join(", ")
}

pub fn batch(batch: &Batch, moment: &Moment) -> (Facts, Table) {
    let mut facts = Facts::default();
    facts.add("id", batch.id.as_str());
    facts.add("image", batch.image_name.as_str());
    facts.add("asked by", batch.requested_by.as_str());
    facts.time("started", batch.created_at, moment);
    facts.add("at once", batch.at_once.to_string());
    if let Some(limit) = batch.stop_after {
        facts.add("stops after", format!("{limit} failures"));
    }
    facts.add("stands", stands(batch));
    facts.add("stopped", batch.stop_reason.as_str());
    let mut table = columns(&["NODE", "DEPLOYMENT", "STATE", "STEP", "WHY"]);
    for node in &batch.nodes {
        let state = if node.queued { "queued" } else { &node.state };
        let why = node
            .problem
            .as_ref()
            .map(|problem| format!("{} {}", problem.cause, problem.remedy));
        table.add_row([
            plain(if node.node.is_empty() {
                &node.node_id
            } else {
                &node.node
            }),
            plain(&node.deployment_id),
            plain(state),
            plain(&node.step),
            or_dash(why.as_deref()),
        ]);
    }
    for refused in &batch.refused {
        let why = format!("{} {}", refused.detail, refused.remedy);
        table.add_row([
            plain(&refused.node),
            "-".into(),
            "refused".into(),
            "-".into(),
            plain(&why),
        ]);
    }
    (facts, table)
}
