//! The course of a task, whatever it does: steps that are recorded before they are reported, and failures that know whether
//! somebody has asked for them.

use std::time::Instant;

use imprint_proto::agent::v1::Step;
use tokio_util::sync::CancellationToken;

use super::{
    Tasks,
    disk::Trouble,
    record::{FinishedStep, Record},
    report::{Reporter, StepFailure},
};

/// A task on its way.
#[derive(Debug)]
pub(super) struct Course<'a> {
    pub tasks: &'a Tasks,
    pub cancel: &'a CancellationToken,
    pub reporter: Reporter,
    cancelled: &'static str,
    again: &'static str,
}

impl<'a> Course<'a> {
    /// `cancelled` and `again`: cause and remedy of one that somebody stops.
    pub fn new(
        tasks: &'a Tasks,
        cancel: &'a CancellationToken,
        cancelled: &'static str,
        again: &'static str,
    ) -> Self {
        Self {
            tasks,
            cancel,
            reporter: tasks.reporter(),
            cancelled,
            again,
        }
    }

    /// First the record, then the report: a step that is reported as done is not done again.
    pub fn finished(&self, record: &mut Record, step: Step, began: Instant, detail: &str) {
        record.finished.push(FinishedStep {
            step: step.into(),
            seconds: began.elapsed().as_secs_f64(),
        });
        self.tasks.save(record);
        self.reporter.finished(step, detail);
    }

    pub fn check_cancelled(&self, step: Step) -> Result<(), StepFailure> {
        if self.cancel.is_cancelled() {
            return Err(self.failure(step, self.cancelled.to_owned(), self.again));
        }
        Ok(())
    }

    pub fn failure(&self, step: Step, cause: String, remedy: &str) -> StepFailure {
        StepFailure {
            step,
            cause,
            remedy: remedy.to_owned(),
            head_cleared: false,
            retryable: false,
            cancelled: self.cancel.is_cancelled(),
            hung: false,
        }
    }

    pub fn trouble(&self, step: Step, trouble: Trouble) -> StepFailure {
        StepFailure {
            hung: trouble.hung,
            ..self.failure(step, trouble.cause, &trouble.remedy)
        }
    }
}
