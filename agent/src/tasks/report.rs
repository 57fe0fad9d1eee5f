//! Steps as they are reported: into the durable outbox and onto the machine's console.

use std::{sync::Arc, time::Duration};

use imprint_proto::agent::v1::{RescueReport, Step, StepEvent, StepKind};
use jiff::Timestamp;

use crate::session::outbox::Outbox;

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Which.
    pub step: Step,
    /// The whole chain of causes.
    pub cause: String,
    /// What the operator can do.
    pub remedy: String,
    /// The disk was touched and can't boot.
    pub head_cleared: bool,
    /// A later attempt can succeed without a change.
    pub retryable: bool,
    /// It is no failure: somebody asked for it.
    pub cancelled: bool,
    /// The disk does not answer, and may still take what was sent to it.
    pub hung: bool,
}

impl StepFailure {
    /// Somebody asked for it, and it has left nothing that boots.
    #[must_use]
    pub fn is_clean_cancel(&self, touched: bool) -> bool {
        self.cancelled && (!touched || self.head_cleared)
    }
}

/// Reports steps of the task that the outbox has begun.
#[derive(Debug, Clone)]
pub struct Reporter {
    outbox: Arc<Outbox>,
}

impl Reporter {
    /// Into an outbox.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox }
    }

    fn push(&self, step: Step, kind: StepKind, fill: impl FnOnce(&mut StepEvent)) {
        let mut event = StepEvent {
            step: step as i32,
            kind: kind as i32,
            at: Some(now()),
            ..StepEvent::default()
        };
        fill(&mut event);
        self.outbox.push_step(event);
    }

    /// A step begins.
    pub fn started(&self, step: Step, detail: &str) {
        tracing::info!(step = name(step), detail, "step started");
        self.push(step, StepKind::Started, |event| {
            detail.clone_into(&mut event.detail);
        });
    }

    /// A step is done.
    pub fn finished(&self, step: Step, detail: &str) {
        tracing::info!(step = name(step), detail, "step finished");
        self.push(step, StepKind::Finished, |event| {
            detail.clone_into(&mut event.detail);
        });
    }

    /// Something worth keeping.
    pub fn note(&self, step: Step, detail: &str) {
        tracing::info!(step = name(step), detail, "note");
        self.push(step, StepKind::Note, |event| detail.clone_into(&mut event.detail));
    }

    /// How to get into a machine that is rescued, and what has happened.
    pub fn rescue(&self, detail: &str, report: RescueReport) {
        tracing::info!(step = name(Step::Rescue), detail, "note");
        self.push(Step::Rescue, StepKind::Note, |event| {
            detail.clone_into(&mut event.detail);
            event.rescue = Some(report);
        });
    }

    /// A step goes on after a fault.
    pub fn retrying(&self, step: Step, detail: &str, cause: &str, delay: Duration) {
        tracing::warn!(
            step = name(step),
            detail,
            cause,
            delay_ms = millis(delay),
            "retrying"
        );
        self.push(step, StepKind::Retrying, |event| {
            detail.clone_into(&mut event.detail);
            cause.clone_into(&mut event.cause);
            event.retry_in_ms = millis(delay);
        });
    }

    /// A step has failed.
    pub fn failed(&self, failure: &StepFailure) {
        tracing::error!(
            step = name(failure.step),
            cause = failure.cause,
            remedy = failure.remedy,
            "step failed"
        );
        self.push(failure.step, StepKind::Failed, |event| {
            failure.cause.clone_into(&mut event.cause);
            failure.remedy.clone_into(&mut event.remedy);
        });
    }
}

/// The name of a step, for people.
#[must_use]
pub fn name(step: Step) -> &'static str {
    match step {
        Step::Unspecified => "unspecified",
        Step::Power => "power",
        Step::Boot => "boot",
        Step::ClaimDisk => "claim_disk",
        Step::AttachVolume => "attach_volume",
        Step::Write => "write",
        Step::Partitions => "partitions",
        Step::Seed => "seed",
        Step::Guest => "guest",
        Step::BootEntry => "boot_entry",
        Step::Reboot => "reboot",
        Step::FirstBootReport => "first_boot_report",
        Step::Wipe => "wipe",
        Step::Rescue => "rescue",
    }
}

/// Milliseconds, for the wire.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now() -> prost_types::Timestamp {
    let now = Timestamp::now();
    prost_types::Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    }
}
