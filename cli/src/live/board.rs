//! A line for each deployment, kept up to date: a model without a terminal.

use crate::{
    answer::{Deployment, Progress},
    measure,
};

const BAR: usize = 24;

/// All lines.
#[derive(Debug, Default)]
pub struct Board {
    rows: Vec<Row>,
}

/// One deployment.
#[derive(Debug)]
pub struct Row {
    label: String,
    deployment: Deployment,
    retrying: Option<String>,
}

impl Board {
    /// Adds a line.
    pub fn add(&mut self, label: &str, deployment: Deployment) {
        self.rows.push(Row {
            label: label.to_owned(),
            deployment,
            retrying: None,
        });
    }

    /// Whether a deployment has a line.
    pub fn has(&self, deployment: &str) -> bool {
        self.rows.iter().any(|row| row.deployment.id == deployment)
    }

    /// Ids of all deployments that have a line.
    pub fn ids(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.deployment.id.clone()).collect()
    }

    /// Takes the newest state of a deployment. Returns what changed in it, to be said once, if anything did.
    pub fn update(&mut self, newest: Deployment) -> Option<String> {
        let row = self.rows.iter_mut().find(|row| row.deployment.id == newest.id)?;
        let before = (
            row.deployment.state.clone(),
            row.deployment.step.clone(),
            row.retrying.clone(),
        );
        // Figures that came by the stream may be newer than those of the answer.
        let progress = newest.progress.clone().or(row.deployment.progress.take());
        row.retrying = newest
            .steps
            .iter()
            .rfind(|step| step.state == "retrying")
            .map(|step| step.cause.clone().or(step.detail.clone()).unwrap_or_default());
        row.deployment = Deployment { progress, ..newest };
        let after = (
            row.deployment.state.clone(),
            row.deployment.step.clone(),
            row.retrying.clone(),
        );
        (before != after).then(|| row.change())
    }

    /// Takes figures of the stream.
    pub fn progress(&mut self, progress: Progress) {
        if let Some(row) = self
            .rows
            .iter_mut()
            .find(|row| row.deployment.id == progress.deployment_id)
            && row.deployment.state == "running"
        {
            row.deployment.progress = Some(progress);
        }
    }

    /// Forgets lines of deployments that have ended.
    pub fn retain_running(&mut self) {
        self.rows.retain(|row| row.deployment.state == "running");
    }

    /// All lines as text, labels aligned.
    pub fn lines(&self) -> Vec<String> {
        let width = self
            .rows
            .iter()
            .map(|row| row.label.chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        self.rows.iter().map(|row| row.line(width)).collect()
    }
}

impl Row {
    fn line(&self, width: usize) -> String {
        format!("{:width$}  {}", self.label, self.status())
    }

    fn status(&self) -> String {
        let deployment = &self.deployment;
        if deployment.state != "running" {
            return outcome(deployment);
        }
        let step = step_name(deployment);
        match (&self.retrying, &deployment.progress) {
            (Some(cause), _) => format!("{step:<17}  retrying: {cause}"),
            // Old figures of another step say nothing about this one.
            (None, Some(progress)) if progress.bytes_total > 0 && same_step(&progress.step, &step) => {
                format!("{step:<17}  {}", figures(progress))
            }
            (None, _) => format!(
                "{step:<17}  {}",
                deployment.explanation.as_deref().unwrap_or_default()
            ),
        }
        .trim_end()
        .to_owned()
    }

    /// The same for a log: without a bar, which would be out of date at once.
    fn change(&self) -> String {
        let deployment = &self.deployment;
        let text = if deployment.state != "running" {
            outcome(deployment)
        } else {
            let step = step_name(deployment);
            match (&self.retrying, &deployment.explanation) {
                (Some(cause), _) => format!("{step}: retrying: {cause}"),
                (None, Some(explanation)) if !explanation.is_empty() => format!("{step}: {explanation}"),
                (None, _) => step,
            }
        };
        format!("{}: {text}", self.label)
    }
}

/// How a deployment ended, for one line.
fn outcome(deployment: &Deployment) -> String {
    let took = deployment
        .finished_at
        .zip(deployment.created_at)
        .and_then(|(end, start)| u64::try_from(end.duration_since(start).as_secs()).ok())
        .map(|seconds| format!(" after {}", measure::duration(seconds)))
        .unwrap_or_default();
    match (deployment.state.as_str(), &deployment.problem) {
        ("succeeded", _) => {
            let addresses = deployment
                .first_boot
                .as_ref()
                .map(|first| first.addresses.join(" "))
                .unwrap_or_default();
            format!("succeeded{took} {addresses}").trim_end().to_owned()
        }
        ("failed", Some(problem)) => {
            format!(
                "failed{took} at {}: {}; remedy: {}",
                problem.step, problem.cause, problem.remedy
            )
        }
        (state, _) => format!("{state}{took}"),
    }
}

fn step_name(deployment: &Deployment) -> String {
    match deployment.step.as_deref() {
        Some(step) if !step.is_empty() => step.to_owned(),
        _ => "starting".into(),
    }
}

fn same_step(one: &str, other: &str) -> bool {
    let name = |step: &str| step.to_ascii_lowercase().replace('-', "_");
    one.is_empty() || name(one) == name(other)
}

fn figures(progress: &Progress) -> String {
    let total = progress.bytes_total.max(1);
    let done = progress.bytes_done.min(total);
    let filled = usize::try_from(u128::from(done) * BAR as u128 / u128::from(total)).unwrap_or(BAR);
    let percent = u128::from(done) * 100 / u128::from(total);
    let mut text = format!(
        "[{}{}] {percent:>3} %  {} of {}",
        "#".repeat(filled),
        ".".repeat(BAR - filled),
        measure::bytes(done),
        measure::bytes(progress.bytes_total)
    );
    if progress.data_bytes_per_second > 0 {
        text.push_str(&format!("  {}", measure::rate(progress.data_bytes_per_second)));
    }
    if let Some(eta) = progress.eta_seconds {
        text.push_str(&format!("  {} left", measure::duration(eta)));
    }
    if !progress.stalled.is_empty() {
        text.push_str(&format!("  {}", progress.stalled));
    } else if !progress.limiting.is_empty() {
        text.push_str(&format!("  limited by {}", progress.limiting));
    }
    match progress.retries {
        0 => {}
        1 => text.push_str("  1 retry"),
        more => text.push_str(&format!("  {more} retries")),
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::read;

    fn running(step: &str, explanation: &str) -> Deployment {
        read(
            &json!({"id": "d1", "state": "running", "step": step, "explanation": explanation,
            "created_at": "2026-03-01T12:00:00Z"}),
        )
    }

    #[test]
    fn a_line_follows_its_deployment_to_the_end() {
        let mut board = Board::default();
        board.add("web-07", running("boot", "waits for the agent"));
        board.add(
            "db-1",
            Deployment {
                id: "d2".into(),
                ..running("boot", "")
            },
        );
        assert_eq!(
            board.lines(),
            ["web-07  boot               waits for the agent", "db-1    boot"]
        );

        assert_eq!(board.update(running("boot", "waits for the agent")), None);
        assert_eq!(
            board.update(running("write", "streams")).as_deref(),
            Some("web-07: write: streams")
        );

        board.progress(read(
            &json!({"deployment_id": "d1", "step": "write", "bytes_done": 512 << 20,
            "bytes_total": 2_u64 << 30, "data_bytes_per_second": 100 << 20, "eta_seconds": 15, "retries": 1,
            "limiting": "network 940 Mbit/s"}),
        ));
        // An answer without figures keeps those of the stream.
        assert_eq!(board.update(running("write", "streams")), None);
        assert_eq!(
            board.lines()[0],
            "web-07  write              [######..................]  25 %  512.0 MiB of 2.0 GiB  100.0 MiB/s  \
             15 s left  limited by network 940 Mbit/s  1 retry"
        );
        // The bar of the write is not shown for the next step.
        board.update(running("seed", ""));
        assert_eq!(board.lines()[0], "web-07  seed");

        let mut retrying = running("write", "");
        retrying.steps = vec![read(
            &json!({"step": "write", "state": "retrying", "cause": "connection reset"}),
        )];
        assert_eq!(
            board.update(retrying).as_deref(),
            Some("web-07: write: retrying: connection reset")
        );

        let failed: Deployment = read(
            &json!({"id": "d1", "state": "failed", "created_at": "2026-03-01T12:00:00Z",
            "finished_at": "2026-03-01T12:01:05Z",
            "problem": {"step": "write", "cause": "disk full", "remedy": "larger disk"}}),
        );
        let said = board.update(failed).unwrap();
        assert_eq!(
            said,
            "web-07: failed after 1 min 5 s at write: disk full; remedy: larger disk"
        );
        board.retain_running();
        assert!(!board.has("d1") && board.has("d2"));
    }

    #[test]
    fn figures_that_make_no_sense_are_shown_without_a_panic() {
        for (done, total) in [(0, 1), (5, 3), (u64::MAX, u64::MAX), (u64::MAX, 1)] {
            let progress = Progress {
                bytes_done: done,
                bytes_total: total,
                ..Progress::default()
            };
            assert!(figures(&progress).contains('%'));
        }
    }
}
