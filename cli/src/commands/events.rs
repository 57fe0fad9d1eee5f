//! `imprint events`

use serde_json::Value;

use super::names;
use crate::{
    answer::read,
    client::Client,
    fault::Fault,
    output::{self, Output},
    stream::{Follower, Message},
    table,
};

const LAST_WHEN_FOLLOWING: usize = 10;
const LARGEST_PAGE: usize = 1000;

pub async fn run(
    client: &Client,
    node: Option<String>,
    last: Option<usize>,
    follow: bool,
    output: &Output,
) -> Result<(), Fault> {
    let node = match node {
        Some(node) => Some(names::node_id(client, &node).await?),
        None => None,
    };
    let events = match last.or(follow.then_some(LAST_WHEN_FOLLOWING)) {
        Some(last) => newest(client, node.as_deref(), last).await?,
        None => client.list(&["v1", "events"], &of(node.as_deref())).await?,
    };
    let line = |event: &Value| table::event(&read(event), &output.moment());
    if !follow {
        let lines = events.iter().map(|event| format!("{}\n", line(event))).collect();
        return output.result(&Value::Array(events), || lines);
    }
    for event in &events {
        output.line(event, || line(event))?;
    }
    let cursor = match events.last() {
        Some(event) => event["id"].as_i64().unwrap_or(0),
        // Asked for none of the old ones, or there are none: the live ones begin where the log ends now.
        None => cursor(client).await?,
    };
    let mut follower = Follower::start(client.clone(), node, Some(cursor));
    loop {
        let message = tokio::select! {
            message = follower.next() => message,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match message {
            Some(Message::Event(event)) => output.line(&event, || line(&event))?,
            Some(Message::Lost(cause)) => output::say(&format!("connection lost, trying again: {cause}\n")),
            Some(Message::Refused(fault)) => return Err(fault),
            Some(Message::Connected | Message::Progress(_)) => {}
            None => return Ok(()),
        }
    }
}

fn of(node: Option<&str>) -> Vec<(&'static str, &str)> {
    node.map(|node| ("node", node)).into_iter().collect()
}

/// The newest events, the oldest of them first. The log is long: it is read from its end.
async fn newest(client: &Client, node: Option<&str>, last: usize) -> Result<Vec<Value>, Fault> {
    let mut events: Vec<Value> = Vec::new();
    let mut token: Option<String> = None;
    while events.len() < last {
        let size = (last - events.len()).min(LARGEST_PAGE).to_string();
        let mut query = of(node);
        query.extend([("order", "desc"), ("page_size", size.as_str())]);
        query.extend(token.as_deref().map(|token| ("page_token", token)));
        let mut page = client.get(&["v1", "events"], &query).await?;
        match page["items"].take() {
            Value::Array(more) if !more.is_empty() => events.extend(more),
            _ => break,
        }
        match page["next_page_token"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    events.truncate(last);
    events.reverse();
    Ok(events)
}

/// The id of the newest event of all, 0 when there is none.
async fn cursor(client: &Client) -> Result<i64, Fault> {
    let newest = newest(client, None, 1).await?;
    Ok(newest.last().and_then(|event| event["id"].as_i64()).unwrap_or(0))
}
