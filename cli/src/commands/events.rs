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
    let mut events = list(client, node.as_deref()).await?;
    let newest = events.last().and_then(|event| event["id"].as_i64()).unwrap_or(0);
    if let Some(last) = last.or(follow.then_some(LAST_WHEN_FOLLOWING)) {
        events.drain(..events.len().saturating_sub(last));
    }
    let line = |event: &Value| table::event(&read(event), &output.moment());
    if !follow {
        let lines = events.iter().map(|event| format!("{}\n", line(event))).collect();
        return output.result(&Value::Array(events), || lines);
    }
    for event in &events {
        output.line(event, || line(event))?;
    }
    let mut follower = Follower::start(client.clone(), node, Some(newest));
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

/// Events are paged by `after`, the id of the last one seen.
async fn list(client: &Client, node: Option<&str>) -> Result<Vec<Value>, Fault> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let after = events
            .last()
            .and_then(|event| event["id"].as_i64())
            .unwrap_or(0)
            .to_string();
        let mut query = vec![("after", after.as_str()), ("page_size", "1000")];
        query.extend(node.map(|node| ("node", node)));
        let mut page = client.get(&["v1", "events"], &query).await?;
        match page["items"].take() {
            Value::Array(more) if !more.is_empty() => events.extend(more),
            _ => return Ok(events),
        }
        if page["next_page_token"].is_null() {
            return Ok(events);
        }
    }
}
