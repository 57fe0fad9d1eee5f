//! `imprint deployment log`

use std::time::Duration;

use serde_json::json;

use crate::{
    answer::{Deployment, read},
    client::Client,
    fault::Fault,
    output::{self, Output},
};

/// How often is looked for new lines.
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(
    client: &Client,
    deployment: &str,
    tail: Option<u32>,
    follow: bool,
    output: &Output,
) -> Result<(), Fault> {
    let tail = tail.map(|lines| ("tail", lines.to_string()));
    let mut next = print(client, deployment, tail, output).await?;
    if !follow {
        return Ok(());
    }
    loop {
        match once(client, deployment, next, output).await {
            Ok((place, true)) => next = place,
            Ok((_, false)) => return Ok(()),
            Err(fault) if fault.is_transient() => output::say("connection lost, trying again\n"),
            Err(fault) => return Err(fault),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Prints what is new; gives the place behind it, and whether more may come.
async fn once(client: &Client, deployment: &str, from: u64, output: &Output) -> Result<(u64, bool), Fault> {
    // Asked before the log is: hardly anything comes after the last lines of one that has ended.
    let running = is_running(client, deployment).await?;
    let next = print(client, deployment, Some(("from", from.to_string())), output).await?;
    Ok((next, running))
}

/// Prints a part; gives the place behind it.
async fn print(
    client: &Client,
    deployment: &str,
    part: Option<(&str, String)>,
    output: &Output,
) -> Result<u64, Fault> {
    let path = ["v1", "deployments", deployment, "log"];
    let query: Vec<_> = part.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let (text, next) = client.text(&path, &query, "log-next").await?;
    if output.is_json() {
        for line in text.lines() {
            output.line(&json!({ "line": line }), String::new)?;
        }
    } else {
        Output::text(&text)?;
    }
    Ok(next.unwrap_or(0))
}

async fn is_running(client: &Client, deployment: &str) -> Result<bool, Fault> {
    let deployment = client.get(&["v1", "deployments", deployment], &[]).await?;
    Ok(read::<Deployment>(&deployment).state == "running")
}
