//! `imprint release`: one request for each server, then, if asked, the wait for all.

use serde_json::Map;

use super::deploy::begin_all;
use crate::{arguments::ReleaseArguments, client::Client, fault::Fault, output::Output};

pub async fn run(client: &Client, arguments: ReleaseArguments, output: &Output) -> Result<(), Fault> {
    let mut body = Map::new();
    body.insert("wipe".into(), arguments.wipe.as_str().into());
    body.insert("leave".into(), arguments.leave.clone().into());
    let begin = async |node: &str| client.post(&["v1", "nodes", node, "release"], &body, None).await;
    let begun = begin_all(&arguments.nodes, "release", begin, output).await?;
    begun
        .finish(client, arguments.wait, arguments.timeout, output)
        .await
}
