//! Waiting for a job of the controller, with live progress. Every command that starts one uses this.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Value;

use crate::{
    answer::{Job, JobProgress, read},
    client::Client,
    fault::Fault,
    live,
    output::{self, Output},
    table,
};

const ASK_EVERY: Duration = Duration::from_millis(500);
/// A controller that restarts, or moves, is back by then.
const UNREACHABLE: Duration = Duration::from_secs(15 * 60);

/// Waits until the job has ended; gives it as it is then. A job that failed, or was cancelled, is a fault.
pub async fn until_ended(
    client: &Client,
    job: Value,
    timeout: Option<Duration>,
    output: &Output,
) -> Result<Value, Fault> {
    let id = read::<Job>(&job).id;
    let mut show = Show::new(output);
    let limit = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = ask(client, job, &mut show) => ended,
        () = limit => Err(Fault::TimedOut),
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    show.clear();
    if matches!(ended, Err(Fault::TimedOut | Fault::Interrupted)) && !output.is_json() {
        output::say(&format!(
            "the job goes on without this command; follow it with `imprint job wait {id}`, stop it with `imprint job cancel {id}`\n"
        ));
    }
    outcome(ended?)
}

/// A job that has ended as what a command makes of it.
fn outcome(job: Value) -> Result<Value, Fault> {
    let ended: Job = read(&job);
    match ended.state.as_str() {
        "succeeded" => Ok(job),
        "failed" => {
            let status = ended.problem["status"]
                .as_u64()
                .and_then(|n| u16::try_from(n).ok());
            let text = ended.problem.to_string();
            Err(Fault::answered(
                status.unwrap_or(500),
                text.as_bytes(),
                &format!("job {}", ended.id),
            ))
        }
        _ => Err(Fault::local(
            "The job was cancelled",
            format!("job {}", ended.id),
            "Start it again when it is wanted after all.",
        )),
    }
}

async fn ask(client: &Client, mut job: Value, show: &mut Show) -> Result<Value, Fault> {
    let mut heard = Instant::now();
    loop {
        let now: Job = read(&job);
        show.progress(&now);
        if now.has_ended() {
            return Ok(job);
        }
        tokio::time::sleep(ASK_EVERY).await;
        match client.get(&["v1", "jobs", &now.id], &[]).await {
            Ok(newer) => {
                heard = Instant::now();
                job = newer;
            }
            Err(fault) if fault.is_transient() && heard.elapsed() < UNREACHABLE => {
                show.say(&format!("{fault}; asking again"));
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// A bar on a terminal, a line for each step in a log, nothing for a program.
struct Show {
    bar: Option<ProgressBar>,
    quiet: bool,
    said: String,
}

impl Show {
    fn new(output: &Output) -> Self {
        Self {
            bar: output
                .live
                .then(|| live::transfer(true, "waits for its turn", None)),
            quiet: output.is_json() || output.live,
            said: String::new(),
        }
    }

    fn progress(&mut self, job: &Job) {
        let JobProgress {
            step,
            bytes_done,
            bytes_total,
        } = &job.progress;
        let step = if job.state == "queued" {
            "waits for its turn"
        } else {
            step.as_str()
        };
        if let Some(bar) = &mut self.bar {
            if (bar.length().unwrap_or(0) == 0) != (*bytes_total == 0) {
                bar.finish_and_clear();
                *bar = live::transfer(true, step, (*bytes_total > 0).then_some(*bytes_total));
            }
            if *bytes_total > 0 {
                bar.set_length(*bytes_total);
            }
            bar.set_position(*bytes_done);
            bar.set_message(step.to_owned());
        }
        if step != self.said {
            step.clone_into(&mut self.said);
            let said = table::job_progress(&job.progress);
            if job.state == "queued" {
                self.say(&format!("{} {step}", job.id));
            } else if !said.is_empty() {
                self.say(&format!("{} {said}", job.id));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) if text.contains("asking again") => bar.suspend(|| output::say(&format!("{text}\n"))),
            _ if self.quiet => {}
            _ => output::say(&format!("{text}\n")),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_success_is_no_fault() {
        assert!(outcome(json!({"id": "j", "state": "succeeded"})).is_ok());
        let failed = outcome(
            json!({"id": "j", "state": "failed", "problem": {"type": "urn:imprint:problem:bad-image",
            "title": "The image file cannot be used", "status": 422, "detail": "it is cut off", "remedy": "upload it again"}}),
        );
        let failed = failed.unwrap_err();
        assert_eq!(failed.json()["type"], "urn:imprint:problem:bad-image");
        assert!(failed.text().contains("upload it again") && failed.exit_code() == 1);
        let cancelled = outcome(json!({"id": "j", "state": "cancelled"})).unwrap_err();
        assert!(cancelled.text().contains("cancelled") && cancelled.exit_code() == 1);
    }
}
