//! Nodes on hold since a backup was restored: what their agents say is looked at before anything is sent to them.

use imprint_proto::agent::v1 as wire;
use serde_json::json;

use super::{error::DeployError, intake::clip, record::Deployment};
use crate::{
    backup::{Hold, hold_of, release},
    events::{Change, NewEvent},
};

/// Whether the node of a new session stays on hold. An agent that holds just what the database says ends it.
pub(super) async fn stays_on_hold(
    change: &mut Change,
    node_id: &str,
    hello: &wire::Hello,
    deployment: Option<&Deployment>,
) -> Result<bool, DeployError> {
    let Some(hold) = hold_of(change.connection(), node_id).await? else {
        return Ok(false);
    };
    let expected = deployment.map_or("", |deployment| deployment.task_id.as_str());
    if hello.task_id == expected {
        let reason = match deployment {
            Some(_) => "The agent has called and holds the task that the database knows",
            None => "The agent has called and holds no task, as the database says",
        };
        release(change, node_id, reason).await?;
        return Ok(false);
    }
    let holds = match hello.task_id.as_str() {
        "" => "holds no task, though a deployment was running".to_owned(),
        task => format!("holds the task {}, which the database does not know", clip(task)),
    };
    change
        .append(NewEvent {
            kind: "alarm.restored-mismatch",
            node_id: Some(node_id),
            deployment_id: deployment.map(|deployment| deployment.id.as_str()),
            message: format!("The agent has called and {holds}. The node {}.", hold.sentence()),
            details: json!({ "task_id": clip(&hello.task_id), "remedy": Hold::REMEDY }),
        })
        .await?;
    Ok(true)
}
