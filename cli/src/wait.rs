//! Waiting for deployments. The answers of the API are the truth; the event stream says when to ask, and carries the
//! figures in between. Without the stream, asking often enough replaces it.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::Value;

use crate::{
    answer::{Deployment, Event, read},
    client::Client,
    fault::Fault,
    live::{Board, Screen},
    output::Output,
    stream::{Follower, Message},
};

/// How often is asked while the stream is there.
const WITH_STREAM: Duration = Duration::from_secs(5);
/// How often is asked while it is not.
const WITHOUT_STREAM: Duration = Duration::from_secs(2);
/// A controller that restarts, or moves, is back by then.
const UNREACHABLE: Duration = Duration::from_secs(15 * 60);
const PARALLEL: usize = 8;

/// A deployment that is waited for.
#[derive(Debug)]
pub struct Awaited {
    /// What the operator calls the server.
    pub label: String,
    /// The newest answer about it.
    pub deployment: Value,
}

/// Waits until all have ended, then prints how. Fails unless all succeeded.
pub async fn for_all(
    client: &Client,
    awaited: Vec<Awaited>,
    timeout: Option<Duration>,
    output: &Output,
) -> Result<(), Fault> {
    let mut wait = Wait::new(client, awaited, output);
    let limit = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = wait.drive() => ended,
        () = limit => Err(Fault::TimedOut),
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    let Wait { awaited, screen, .. } = wait;
    let running: Vec<_> = awaited
        .iter()
        .filter(|one| state(&one.deployment) == "running")
        .collect();
    match &ended {
        Ok(()) => screen.clear(),
        Err(_) => {
            for one in &running {
                let id = read::<Deployment>(&one.deployment).id;
                screen.say(&format!(
                    "{0}: the deployment goes on without this command; follow it with `imprint watch {0}`, stop it with \
                     `imprint deployment cancel {id}`",
                    one.label
                ));
            }
            screen.leave();
        }
    }
    let succeeded = awaited.iter().all(|one| state(&one.deployment) == "succeeded");
    let lines: String = awaited.iter().map(result).collect();
    output.result(&awaited.into_iter().map(|one| one.deployment).collect(), || lines)?;
    ended?;
    if succeeded {
        Ok(())
    } else {
        Err(Fault::NotAllSucceeded)
    }
}

struct Wait<'a> {
    client: &'a Client,
    awaited: Vec<Awaited>,
    board: Board,
    screen: Screen,
}

impl<'a> Wait<'a> {
    fn new(client: &'a Client, awaited: Vec<Awaited>, output: &Output) -> Self {
        let mut board = Board::default();
        for one in &awaited {
            board.add(&one.label, read(&one.deployment));
        }
        // A program that reads the JSON gets no log; its own may go to the same place.
        let mut screen = if output.is_json() && !output.live {
            Screen::hidden()
        } else {
            Screen::new(output.live)
        };
        screen.draw(&board);
        Self {
            client,
            awaited,
            board,
            screen,
        }
    }

    async fn drive(&mut self) -> Result<(), Fault> {
        let only = match self.awaited.as_slice() {
            [one] => Some(read::<Deployment>(&one.deployment).node_id).filter(|node| !node.is_empty()),
            _ => None,
        };
        let mut follower = Some(Follower::start(self.client.clone(), only, None));
        let mut connected = false;
        let mut heard = Instant::now();
        let mut ask_at = tokio::time::Instant::now();
        loop {
            if self.awaited.iter().all(|one| state(&one.deployment) != "running") {
                return Ok(());
            }
            let message = tokio::select! {
                message = next(&mut follower) => message,
                () = tokio::time::sleep_until(ask_at) => {
                    match self.ask().await {
                        Ok(()) => heard = Instant::now(),
                        Err(fault) if fault.is_transient() && heard.elapsed() < UNREACHABLE => {
                            self.screen.say(&format!("{fault}; the deployment goes on, asking again"));
                        }
                        Err(fault) => return Err(fault),
                    }
                    ask_at = tokio::time::Instant::now() + if connected { WITH_STREAM } else { WITHOUT_STREAM };
                    continue;
                }
            };
            match message {
                Some(Message::Connected) => connected = true,
                Some(Message::Event(event)) => {
                    let event: Event = read(&event);
                    if event.deployment_id.is_some_and(|id| self.board.has(&id)) {
                        // Several events come together; one question serves them all.
                        ask_at = ask_at.min(tokio::time::Instant::now() + Duration::from_millis(50));
                    }
                }
                Some(Message::Progress(progress)) => {
                    self.board.progress(read(&progress));
                    self.screen.draw(&self.board);
                }
                // Not worth a word: asking goes on, and says so when it fails as well.
                Some(Message::Lost(_)) => connected = false,
                Some(Message::Refused(_)) | None => (connected, follower) = (false, None),
            }
        }
    }

    /// Asks for all that still run.
    async fn ask(&mut self) -> Result<(), Fault> {
        let client = self.client;
        let questions: Vec<_> = self
            .awaited
            .iter()
            .enumerate()
            .filter(|(_, one)| state(&one.deployment) == "running")
            .map(|(index, one)| (index, read::<Deployment>(&one.deployment).id))
            .collect();
        let mut answers = futures::stream::iter(questions)
            .map(|(index, id)| async move { (index, client.get(&["v1", "deployments", &id], &[]).await) })
            .buffer_unordered(PARALLEL);
        while let Some((index, answer)) = answers.next().await {
            let answer = answer?;
            if let Some(change) = self.board.update(read(&answer)) {
                self.screen.changed(&change);
            }
            self.awaited[index].deployment = answer;
        }
        self.screen.draw(&self.board);
        Ok(())
    }
}

async fn next(follower: &mut Option<Follower>) -> Option<Message> {
    match follower {
        Some(follower) => follower.next().await,
        None => std::future::pending().await,
    }
}

fn state(deployment: &Value) -> &str {
    deployment["state"].as_str().unwrap_or("running")
}

/// How one ended, for people.
fn result(one: &Awaited) -> String {
    let deployment: Deployment = read(&one.deployment);
    let mut board = Board::default();
    let problem = deployment
        .problem
        .clone()
        .filter(|_| deployment.state == "failed");
    // The parts of the problem get lines of their own.
    board.add(
        &one.label,
        Deployment {
            problem: None,
            ..deployment
        },
    );
    let mut text = board.lines().join("\n") + "\n";
    if let Some(problem) = problem {
        for (name, part) in [
            ("step", problem.step),
            ("cause", problem.cause),
            ("remedy", problem.remedy),
        ] {
            text.push_str(&format!("  {name}: {part}\n"));
        }
    }
    text
}
