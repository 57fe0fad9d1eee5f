//! An operator takes a system as it is.

use serde_json::json;

use super::{
    Deployments,
    ending::Manner,
    error::DeployError,
    record::{Deployment, load, save},
    report::is_awaited,
    state::DeploymentState,
};
use crate::{events::NewEvent, identity::Caller};

impl Deployments {
    /// Ends a failed deployment well after all: its system is up and has reported, but not all of it went well. One that
    /// has succeeded stays as it is.
    pub async fn accept(&self, by: &Caller, id: &str) -> Result<Deployment, DeployError> {
        let wanted = self.get(&by.viewer(), id).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let mut deployment = load(change.connection(), &wanted.id).await?.unwrap_or(wanted);
        let refused = |why| DeployError::NotAcceptable {
            id: deployment.id.clone(),
            why,
        };
        match deployment.state {
            DeploymentState::Succeeded => return Ok(deployment),
            DeploymentState::Failed => {}
            DeploymentState::Running => return Err(refused("still runs")),
            DeploymentState::Cancelled => return Err(refused("was cancelled")),
        }
        if deployment.first_boot.is_none() {
            return Err(refused("has no system that ever called"));
        }
        if !is_awaited(change.connection(), &deployment).await? {
            return Err(refused("is not what its node has now"));
        }
        let problem = deployment.problem.clone();
        change
            .append(NewEvent {
                kind: "deployment.accepted",
                node_id: Some(&deployment.node_id),
                deployment_id: Some(&deployment.id),
                message: format!("{} accepted the system as it is.", by.name),
                details: json!({ "problem": problem }),
            })
            .await?;
        self.succeed(&mut change, &mut deployment, Manner::Accepted, self.clock.now())
            .await?;
        save(change.connection(), &mut deployment).await?;
        change.commit().await?;
        Ok(deployment)
    }
}
