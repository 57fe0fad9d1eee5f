//! Figures of agents that write: they live in memory only.

use imprint_proto::agent::v1 as wire;
use jiff::Timestamp;

use super::{Deployments, error::DeployError, figures::loads, hub::Subject, intake::clip, state::Step};
use crate::events::{NodeProgress, Progress};

impl Deployments {
    /// Takes figures; they live in memory only.
    pub async fn take_progress(&self, node_id: &str, progress: wire::Progress) -> Result<(), DeployError> {
        let now = self.clock.now();
        let Some(subject) = self.subject_of(node_id, &progress.task_id, now).await? else {
            return Ok(());
        };
        self.hub.note_progress(
            node_id,
            &progress.task_id,
            progress.bytes_done,
            progress.bytes_fetched,
            now,
        );
        let limited_by = match progress.limited_by() {
            wire::Limit::Unspecified => "",
            wire::Limit::Network => "network",
            wire::Limit::Cpu => "cpu",
            wire::Limit::Disk => "disk",
        };
        let step = Step::of_wire(progress.step()).unwrap_or(Step::Write);
        self.events.progress(NodeProgress {
            node_id: node_id.to_owned(),
            deployment_id: subject.deployment_id,
            project_id: subject.project_id,
            progress: Progress {
                step: step.to_string(),
                bytes_done: progress.bytes_done,
                bytes_total: progress.bytes_total,
                bytes_fetched: progress.bytes_fetched,
                bytes_to_fetch: progress.bytes_to_fetch,
                bytes_written: progress.bytes_written,
                data_bytes_per_second: progress.data_bytes_per_second,
                eta_seconds: progress.eta_seconds,
                retries: progress.retries,
                limited_by: limited_by.to_owned(),
                limiting: clip(&progress.limiting),
                stalled: clip(&progress.stalled),
                loads: progress.loads.map(loads).unwrap_or_default(),
                chunks_kept: progress.chunks_kept,
            },
        });
        Ok(())
    }

    /// What the figures of a task are about, while it is the present one of its node. They come twice a second from each
    /// node that writes: the table is asked once in a while.
    async fn subject_of(
        &self,
        node_id: &str,
        task_id: &str,
        now: Timestamp,
    ) -> Result<Option<Subject>, DeployError> {
        if let Some(subject) = self.hub.subject(node_id, task_id, now) {
            return Ok(Some(subject));
        }
        let running = self.running_on(node_id).await?;
        Ok(running
            .filter(|deployment| deployment.task_id == task_id)
            .map(|deployment| {
                let subject = Subject {
                    task_id: deployment.task_id,
                    deployment_id: deployment.id,
                    project_id: deployment.project_id,
                    asked_at: now,
                };
                self.hub.set_subject(node_id, subject.clone());
                subject
            }))
    }
}
