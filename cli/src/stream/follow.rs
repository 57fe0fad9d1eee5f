//! Following the event stream across lost connections: it goes on after the last event that was seen.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::{sync::mpsc, task::AbortHandle};

use super::sse::{Parser, ServerEvent};
use crate::{client::Client, fault::Fault};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The controller sends something, if only a comment, more often than this.
const SILENCE: Duration = Duration::from_secs(60);

/// What a follower is told.
#[derive(Debug)]
pub enum Message {
    /// The stream is open.
    Connected,
    /// A durable event.
    Event(Value),
    /// The newest figures of a node.
    Progress(Value),
    /// The connection is lost, or could not be made; another try follows.
    Lost(String),
    /// The controller refuses the stream; no other try follows.
    Refused(Fault),
}

/// A running follower; it ends when dropped.
#[derive(Debug)]
pub struct Follower {
    messages: mpsc::Receiver<Message>,
    task: AbortHandle,
}

impl Follower {
    /// Follows all events, or those of one node, from the given id on; without an id from now on.
    pub fn start(client: Client, node: Option<String>, after: Option<i64>) -> Self {
        let (sender, messages) = mpsc::channel(64);
        let task = tokio::spawn(follow(client, node, after, sender)).abort_handle();
        Self { messages, task }
    }

    /// The next message; `None` after a refusal.
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: Client, node: Option<String>, mut after: Option<i64>, sender: mpsc::Sender<Message>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let cursor = after.map(|id| id.to_string());
        let mut query = Vec::new();
        query.extend(cursor.as_deref().map(|id| ("after", id)));
        query.extend(node.as_deref().map(|node| ("node", node)));
        let message = match client.stream(&["v1", "events", "stream"], &query).await {
            Ok(response) => {
                pause = FIRST_PAUSE;
                if sender.send(Message::Connected).await.is_err() {
                    return;
                }
                let Some(cause) = read(response, &mut after, &sender).await else {
                    return;
                };
                Message::Lost(cause)
            }
            Err(fault) if fault.is_transient() => Message::Lost(fault.to_string()),
            Err(fault) => Message::Refused(fault),
        };
        let refused = matches!(message, Message::Refused(_));
        if sender.send(message).await.is_err() || refused {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Reads until the connection is lost and says why; `None` when nobody listens any more.
async fn read(
    response: reqwest::Response,
    after: &mut Option<i64>,
    sender: &mpsc::Sender<Message>,
) -> Option<String> {
    let mut pieces = response.bytes_stream();
    let mut parser = Parser::default();
    loop {
        let piece = match tokio::time::timeout(SILENCE, pieces.next()).await {
            Err(_) => return Some(format!("nothing was heard for {} s", SILENCE.as_secs())),
            Ok(None) => return Some("the controller ended the stream".into()),
            Ok(Some(Err(error))) => return Some(error.to_string()),
            Ok(Some(Ok(piece))) => piece,
        };
        let events = match parser.push(&piece) {
            Ok(events) => events,
            Err(error) => return Some(error.to_string()),
        };
        for event in events {
            if let Some(id) = event.id.as_deref().and_then(|id| id.parse().ok()) {
                *after = Some(id);
            }
            if let Some(message) = message(&event) {
                sender.send(message).await.ok()?;
            }
        }
    }
}

fn message(event: &ServerEvent) -> Option<Message> {
    let data: Value = serde_json::from_str(&event.data).ok()?;
    Some(if event.event == "progress" {
        Message::Progress(data)
    } else {
        Message::Event(data)
    })
}
