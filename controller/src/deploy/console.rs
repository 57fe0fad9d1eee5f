//! What somebody passes on of a server's serial console, into the log of the deployment that runs on it.

use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::{Deployments, error::DeployError};
use crate::logs::ConsoleLines;

/// How long it is taken for true which deployment runs: consoles write many lines a second.
const HOLDS: Duration = Duration::from_secs(1);

/// What became of the lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsoleTaken {
    /// Lines that are in the log of a deployment.
    pub kept_lines: u64,
    /// Lines that came while no deployment ran: they are kept nowhere.
    pub other_lines: u64,
}

/// A console that is passed on.
#[derive(Debug)]
pub struct PassedConsole {
    deployments: Deployments,
    node_id: String,
    lines: ConsoleLines,
    /// Which deployment ran, and when that was looked up.
    running: Option<(Option<String>, Instant)>,
    taken: ConsoleTaken,
}

impl Deployments {
    /// Begins to take the console of a node.
    #[must_use]
    pub fn console_of(&self, node_id: &str) -> PassedConsole {
        PassedConsole {
            deployments: self.clone(),
            node_id: node_id.to_owned(),
            lines: ConsoleLines::default(),
            running: None,
            taken: ConsoleTaken::default(),
        }
    }
}

impl PassedConsole {
    /// Takes bytes as they come.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), DeployError> {
        let lines = self.lines.take(bytes);
        self.put(&lines).await
    }

    /// Takes the line that was begun, and tells what became of all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end(&mut self) -> Result<ConsoleTaken, DeployError> {
        let rest: Vec<String> = self.lines.rest().into_iter().collect();
        self.put(&rest).await?;
        Ok(self.taken)
    }

    async fn put(&mut self, lines: &[String]) -> Result<(), DeployError> {
        if lines.is_empty() {
            return Ok(());
        }
        let known = self.running.take_if(|(_, at)| at.elapsed() < HOLDS);
        let (id, at) = match known {
            Some(known) => known,
            None => {
                let running = self.deployments.running_on(&self.node_id).await?;
                (running.map(|deployment| deployment.id), Instant::now())
            }
        };
        match &id {
            Some(id) => {
                self.deployments.take_console(id, lines);
                self.taken.kept_lines += lines.len() as u64;
            }
            None => self.taken.other_lines += lines.len() as u64,
        }
        self.running = Some((id, at));
        Ok(())
    }
}
