//! `imprint watch`: events as they happen, and below them a line for each running deployment.

use std::time::Duration;

use serde_json::Value;

use super::names;
use crate::{
    answer::{Deployment, Event, Node, read},
    client::Client,
    fault::Fault,
    live::{Board, Screen},
    output::{self, Output},
    stream::{Follower, Message},
    table,
};

/// For what the stream does not tell: a connection that is lost, a deadline that changes an explanation.
const REFRESH: Duration = Duration::from_secs(5);

pub async fn run(client: &Client, node: Option<String>, output: &Output) -> Result<(), Fault> {
    let node = match node {
        Some(node) => Some(names::node_id(client, &node).await?),
        None => None,
    };
    let mut follower = Follower::start(client.clone(), node.clone(), None);
    let mut screen = if output.is_json() {
        Screen::hidden()
    } else {
        Screen::new(output.live)
    };
    let mut board = Board::default();
    if !output.is_json() {
        for id in running(client, node.as_deref()).await? {
            refresh(client, &id, &mut board).await;
        }
        if !output.live {
            for line in board.lines() {
                screen.say(&line);
            }
        }
        screen.draw(&board);
    }
    let mut tick = tokio::time::interval(REFRESH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = follower.next() => message,
            _ = tick.tick() => {
                if output.live && !output.is_json() {
                    for id in board.ids() {
                        refresh(client, &id, &mut board).await;
                    }
                    board.retain_running();
                    screen.draw(&board);
                }
                continue;
            }
            _ = tokio::signal::ctrl_c() => {
                screen.clear();
                return Ok(());
            }
        };
        match message {
            Some(Message::Event(event)) => {
                screen.around(|| output.line(&event, || table::event(&read(&event), &output.moment())))?;
                let event: Event = read(&event);
                if let Some(id) = event.deployment_id.filter(|_| !output.is_json()) {
                    refresh(client, &id, &mut board).await;
                    board.retain_running();
                }
            }
            Some(Message::Progress(progress)) if output.is_json() => output.line(&progress, String::new)?,
            Some(Message::Progress(progress)) => board.progress(read(&progress)),
            Some(Message::Lost(cause)) if output.is_json() => {
                output::say(&format!("connection lost, trying again: {cause}\n"));
            }
            Some(Message::Lost(cause)) => screen.say(&format!("connection lost, trying again: {cause}")),
            Some(Message::Refused(fault)) => {
                screen.clear();
                return Err(fault);
            }
            Some(Message::Connected) => {}
            None => return Ok(()),
        }
        screen.draw(&board);
    }
}

/// Ids of the deployments that run now.
async fn running(client: &Client, node: Option<&str>) -> Result<Vec<String>, Fault> {
    let nodes: Vec<Value> = match node {
        Some(node) => vec![client.get(&["v1", "nodes", node], &[]).await?],
        None => client.list(&["v1", "nodes"], &[("state", "deploying")]).await?,
    };
    Ok(nodes
        .iter()
        .filter_map(|node| read::<Node>(node).deployment_id)
        .filter(|id| !id.is_empty())
        .collect())
}

/// Brings the line of a deployment up to date; one that cannot be read keeps its line for the next time.
async fn refresh(client: &Client, id: &str, board: &mut Board) {
    let Ok(answer) = client.get(&["v1", "deployments", id], &[]).await else {
        return;
    };
    let newest: Deployment = read(&answer);
    if board.has(id) {
        // The change is told by its event.
        board.update(newest);
    } else if newest.state == "running" {
        let mut named = [newest.clone()];
        names::put_names(client, &mut named).await;
        board.add(&named[0].node_id, newest);
    }
}
