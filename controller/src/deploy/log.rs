//! The logs of agents and consoles: which deployment a line belongs to, and who may read it.

use imprint_proto::agent::v1 as wire;

use super::{Deployments, advance::message, error::DeployError, intake::find_task, record::running_of};
use crate::{
    events::doing,
    identity::Viewer,
    logs::{Excerpt, Part},
};

impl Deployments {
    /// Takes lines of an agent's log and confirms them. Those that belong to no deployment are wanted by nobody: an agent
    /// without work says nothing that is kept.
    pub async fn take_log(&self, node_id: &str, batch: &wire::LogBatch) -> Result<(), DeployError> {
        let ack = wire::LogAck {
            number: (batch.first.saturating_sub(1)).saturating_add(batch.lines.len() as u64),
            run: batch.run.clone(),
        };
        if let Some(deployment_id) = self.log_of(node_id, &batch.task_id).await? {
            self.logs.take(&deployment_id, batch);
        }
        self.hub
            .send(node_id, message(wire::controller_message::Message::Log(ack)));
        Ok(())
    }

    /// The deployment that a task belongs to; without a task, the one that waits for the agent.
    async fn log_of(&self, node_id: &str, task_id: &str) -> Result<Option<String>, DeployError> {
        if let Some(subject) = self.hub.subject(node_id, task_id, self.clock.now()) {
            return Ok(Some(subject.deployment_id));
        }
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the deployment of a log"))?;
        if task_id.is_empty() {
            let running = running_of(&mut connection, node_id).await?;
            return Ok(running.map(|deployment| deployment.id));
        }
        let task = find_task(&mut connection, task_id).await?;
        Ok(task
            .filter(|task| task.node_id == node_id)
            .map(|task| task.deployment_id))
    }

    /// Takes lines of a server's serial console.
    pub fn take_console(&self, deployment_id: &str, lines: &[String]) {
        self.logs.take_console(deployment_id, lines);
    }

    /// Part of a deployment's log, and whether there may be more to come.
    ///
    /// # Errors
    /// When there is no such deployment, or its log cannot be read.
    pub async fn read_log(&self, viewer: &Viewer, id: &str, part: Part) -> Result<Excerpt, DeployError> {
        let deployment = self.get(viewer, id).await?;
        let logs = self.logs.clone();
        let read = tokio::task::spawn_blocking(move || logs.read(&deployment.id, part));
        let read = read.await.map_err(|error| DeployError::Log(error.into()))?;
        read.map_err(|error| DeployError::Log(Box::new(error)))
    }
}
