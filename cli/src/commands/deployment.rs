//! `imprint deployment …`

use serde_json::{Map, Value};

use super::{deployment_log, names};
use crate::{
    answer::{Deployment, read},
    arguments::DeploymentCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: DeploymentCommand, output: &Output) -> Result<(), Fault> {
    match command {
        DeploymentCommand::List { node } => {
            let node = match node {
                Some(node) => Some(names::node_id(client, &node).await?),
                None => None,
            };
            let query: Vec<_> = node.as_deref().map(|node| ("node", node)).into_iter().collect();
            let deployments = client.list(&["v1", "deployments"], &query).await?;
            let mut rows: Vec<Deployment> = deployments.iter().map(read).collect();
            if !output.is_json() {
                names::put_names(client, &mut rows).await;
            }
            output.result(&Value::Array(deployments), || {
                output::render(&mut table::deployments(&rows, &output.moment()))
            })
        }
        DeploymentCommand::Show { deployment } => {
            let deployment = client.get(&["v1", "deployments", &deployment], &[]).await?;
            show(client, &deployment, output).await
        }
        DeploymentCommand::Log {
            deployment,
            tail,
            follow,
        } => deployment_log::run(client, &deployment, tail, follow, output).await,
        DeploymentCommand::Cancel { deployment } => {
            let path = ["v1", "deployments", deployment.as_str(), "cancel"];
            let deployment = client.post(&path, &Map::new(), None).await?;
            show(client, &deployment, output).await
        }
        DeploymentCommand::Accept { deployment } => {
            let path = ["v1", "deployments", deployment.as_str(), "accept"];
            let deployment = client.post(&path, &Map::new(), None).await?;
            show(client, &deployment, output).await
        }
    }
}

async fn show(client: &Client, deployment: &Value, output: &Output) -> Result<(), Fault> {
    let mut shown = [read::<Deployment>(deployment)];
    if !output.is_json() {
        names::put_names(client, &mut shown).await;
    }
    output.result(deployment, || {
        let (facts, mut steps) = table::deployment(&shown[0], &output.moment());
        format!("{}\n{}", facts.render(), output::render(&mut steps))
    })
}
