//! Ids of the API as names for people.

use std::collections::HashMap;

use crate::{
    answer::{Deployment, Node, read},
    client::Client,
    fault::Fault,
};

/// The id of a server that was named by whatever an operator has at hand.
pub async fn node_id(client: &Client, node: &str) -> Result<String, Fault> {
    let node: Node = read(&client.get(&["v1", "nodes", node], &[]).await?);
    Ok(node.id)
}

/// Puts names in the place of ids. Without an answer, or without a name, the id stays.
pub async fn put_names(client: &Client, deployments: &mut [Deployment]) {
    let nodes = node_names(client, deployments.iter().map(|deployment| &deployment.node_id)).await;
    for deployment in deployments {
        if let Some(name) = nodes.get(&deployment.node_id) {
            deployment.node_id.clone_from(name);
        }
        if !deployment.image_name.is_empty() {
            deployment.image_id.clone_from(&deployment.image_name);
        }
    }
}

async fn node_names(client: &Client, ids: impl Iterator<Item = &String>) -> HashMap<String, String> {
    let mut wanted: Vec<_> = ids.filter(|id| !id.is_empty()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let found = match wanted.as_slice() {
        [] => Vec::new(),
        [id] => client
            .get(&["v1", "nodes", id.as_str()], &[])
            .await
            .into_iter()
            .collect(),
        _ => client.list(&["v1", "nodes"], &[]).await.unwrap_or_default(),
    };
    found
        .iter()
        .filter_map(|item| Some((item["id"].as_str()?.to_owned(), item["name"].as_str()?.to_owned())))
        .filter(|(_, name)| !name.is_empty())
        .collect()
}
