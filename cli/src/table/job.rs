//! Tables of jobs.

use super::*;
use crate::answer::{Job, JobProgress};

/// All jobs.
pub fn jobs(jobs: &[Job], moment: &Moment) -> Table {
    let mut table = columns(&["ID", "KIND", "STATE", "PROGRESS", "BY", "STARTED", "TOOK"]);
    for job in jobs {
        table.add_row([
            plain(&job.id),
            plain(&job.kind),
            plain(&job.state),
            or_dash(Some(&progress(&job.progress))),
            plain(&job.requested_by),
            job.started_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            took(job.started_at, job.ended_at).unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

/// One job.
pub fn job(job: &Job, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("id", job.id.as_str());
    facts.add("kind", job.kind.as_str());
    facts.add("state", job.state.as_str());
    facts.add("image", job.image_id.as_deref().unwrap_or_default());
    facts.add("progress", progress(&job.progress));
    facts.add("asked by", job.requested_by.as_str());
    facts.time("asked", job.created_at, moment);
    facts.time("started", job.started_at, moment);
    if !job.has_ended() {
        facts.time("to be stopped", job.cancel_requested_at, moment);
    }
    facts.add("took", took(job.started_at, job.ended_at).unwrap_or_default());
    for (name, key) in [("cause", "detail"), ("remedy", "remedy")] {
        facts.add(name, job.problem[key].as_str().unwrap_or_default());
    }
    facts.add("request", compact(&job.request));
    facts.add("result", compact(&job.result));
    facts
}

/// How far it is, in a line.
pub fn progress(progress: &JobProgress) -> String {
    let JobProgress {
        step,
        bytes_done,
        bytes_total,
    } = progress;
    match (*bytes_done, *bytes_total) {
        (0, 0) => step.clone(),
        (done, 0) => format!("{step} {}", measure::bytes(done)),
        (done, total) => {
            let percent = u128::from(done.min(total)) * 100 / u128::from(total);
            format!("{step} {percent} % of {}", measure::bytes(total))
        }
    }
}

fn compact(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_with_what_is_known() {
        for (done, total, said) in [
            (0, 0, "reads"),
            (3 << 20, 0, "reads 3.0 MiB"),
            (1 << 30, 4 << 30, "reads 25 % of 4.0 GiB"),
            (u64::MAX, 1, "reads 100 % of 1 B"),
        ] {
            let progress_of = JobProgress {
                step: "reads".to_owned(),
                bytes_done: done,
                bytes_total: total,
            };
            assert_eq!(progress(&progress_of), said);
        }
    }
}
