//! What the agent and the serial console said of each deployment, in files of bounded size.
//!
//! A log is `logs/DEPLOYMENT.log` in the data folder. Lines come from thousands of agents, so they wait in memory and are
//! appended once a second ([`run`]), all of a deployment at once; the database has nothing of them. They may be lost when
//! the controller dies, or when there are too many: what is missing is counted and said in the log itself.
//!
//! - `console`: the bytes of a serial console as lines;
//! - `file`: one file, its size and its places;
//! - `sweep`: what goes when: logs of deployments that are not known any more, old ones, and those that have been quiet
//!   for longest when all together are too large.

mod console;
mod file;
mod run;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imprint_proto::agent::v1::{LogBatch, LogLevel, LogLine, LogSource};
use jiff::{SignedDuration, Timestamp};

pub use console::ConsoleLines;
pub use file::{Excerpt, Part};
pub use run::run;

use crate::{
    api::rest::problem::Problem,
    clock::Clock,
    config::{Config, LogConfig},
};

/// Bytes of a deployment that may wait to be written.
const MOST_WAITING: usize = 256 << 10;
/// Bytes of all deployments that may wait.
const MOST_WAITING_IN_ALL: usize = 64 << 20;
/// Lines of a batch that are looked at.
const MOST_LINES: usize = 4096;
/// Longest line, in characters.
const MOST_TEXT: usize = 4096;
/// After this, it is forgotten which lines of a deployment were taken last.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// A log cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the log {}", path.display())]
pub struct LogError {
    /// What was tried, as in "cannot …".
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        Self::internal(&error)
    }
}

/// The logs of all deployments; cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    config: LogConfig,
    clock: Clock,
    waiting: Mutex<Waiting>,
    /// Held while a file is read or written. Taken before `waiting`, never after it.
    files: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    of: HashMap<String, Lines>,
}

/// Lines of a deployment that are not written yet.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// Lines that are missing behind the text.
    left_out: u64,
    /// Which life of the agent it was, and the number of the last line of it.
    taken: Option<(String, u64)>,
    heard: Option<Timestamp>,
}

impl Logs {
    /// The logs below the data folder.
    #[must_use]
    pub fn new(config: &Config, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            folder: config.data_dir.join("logs"),
            config: config.logs,
            clock,
            waiting: Mutex::default(),
            files: Mutex::default(),
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes lines of an agent; those that were taken before are left aside. Never waits.
    pub fn take(&self, deployment_id: &str, batch: &LogBatch) {
        self.put(deployment_id, |lines, room| lines.take(batch, room));
    }

    /// Takes lines of a serial console, which have no times of their own. Never waits.
    pub fn take_console(&self, deployment_id: &str, texts: &[String]) {
        let now = self.0.clock.now();
        self.put(deployment_id, |lines, room| {
            let before = lines.text.len();
            for text in texts {
                let text = as_written(now, "info", "console", text);
                lines.put(&text, before, room);
            }
        });
    }

    /// Lets lines of a deployment be added to what waits, as far as there is room.
    fn put(&self, deployment_id: &str, add: impl FnOnce(&mut Lines, usize)) {
        let now = self.0.clock.now();
        let mut waiting = self.waiting();
        let room = MOST_WAITING_IN_ALL.saturating_sub(waiting.bytes);
        let lines = waiting.of.entry(deployment_id.to_owned()).or_default();
        let before = lines.text.len();
        lines.heard = Some(now);
        add(lines, room);
        let added = lines.text.len() - before;
        waiting.bytes += added;
    }

    /// Part of a deployment's log, with all that was taken until now. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn read(&self, deployment_id: &str, part: Part) -> Result<Excerpt, LogError> {
        let _files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_out(deployment_id)?;
        let path = self.path(deployment_id);
        file::read(&path, part).map_err(|source| LogError {
            operation: "read",
            path,
            source,
        })
    }

    /// Writes what waits. Blocks. A log that cannot be written loses these lines.
    pub fn flush(&self) {
        let now = self.0.clock.now();
        let due: Vec<String> = {
            let mut waiting = self.waiting();
            let quiet = |lines: &Lines| lines.heard.is_none_or(|at| now.duration_since(at) > FORGET_AFTER);
            waiting
                .of
                .retain(|_, lines| lines.has_something() || !quiet(lines));
            let due = waiting.of.iter().filter(|(_, lines)| lines.has_something());
            due.map(|(id, _)| id.clone()).collect()
        };
        for id in due {
            let _files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = self.write_out(&id) {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(deployment.id = id, error, "lines of a log are lost");
            }
        }
    }

    /// Appends what waits of one deployment; `files` is held.
    fn write_out(&self, deployment_id: &str) -> Result<(), LogError> {
        let text = {
            let mut waiting = self.waiting();
            let Some(lines) = waiting.of.get_mut(deployment_id) else {
                return Ok(());
            };
            let counted = lines.text.len();
            lines.say_left_out();
            let text = std::mem::take(&mut lines.text);
            waiting.bytes -= counted;
            text
        };
        if text.is_empty() {
            return Ok(());
        }
        let path = self.path(deployment_id);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0.folder);
        made.and_then(|()| file::append(&path, text.as_bytes(), self.0.config.deployment_bytes))
            .map_err(|source| LogError {
                operation: "write",
                path,
                source,
            })
    }

    /// Ids are the database's own.
    fn path(&self, deployment_id: &str) -> PathBuf {
        debug_assert!(deployment_id.chars().all(|c| c.is_ascii_alphanumeric()));
        self.0.folder.join(deployment_id).with_extension(file::EXTENSION)
    }
}

impl Lines {
    fn has_something(&self) -> bool {
        !self.text.is_empty() || self.left_out > 0
    }

    /// Takes those of an agent that were not taken before.
    fn take(&mut self, batch: &LogBatch, room: usize) {
        let before = self.text.len();
        let taken = match &self.taken {
            Some((run, number)) if *run == batch.run => *number,
            _ => 0,
        };
        let beyond = batch.lines.len().saturating_sub(MOST_LINES) as u64;
        let mut number = batch.first.saturating_sub(1);
        if number > taken {
            // Those that were taken before are not missing.
            self.left_out = self.left_out.saturating_add(batch.left_out.min(number - taken));
        }
        for line in batch.lines.iter().take(MOST_LINES) {
            number = number.saturating_add(1);
            if number > taken {
                self.put(&shown(line), before, room);
            }
        }
        self.left_out = self.left_out.saturating_add(beyond);
        let run = batch.run.chars().take(64).collect();
        self.taken = Some((run, number.saturating_add(beyond).max(taken)));
    }

    /// Adds a line, or counts it where there is no room: `room` more bytes than there were `before`.
    fn put(&mut self, text: &str, before: usize, room: usize) {
        let length = self.text.len() + text.len();
        if length > MOST_WAITING || length - before > room {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.say_left_out();
        self.text.push_str(text);
    }

    fn say_left_out(&mut self) {
        let count = std::mem::take(&mut self.left_out);
        if count > 0 {
            self.text.push_str(&format!(
                "# up to {count} lines are missing here: there was no room for them\n"
            ));
        }
    }
}

/// A line as the file has it.
fn shown(line: &LogLine) -> String {
    let at = line
        .at
        .as_ref()
        .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let level = match line.level() {
        LogLevel::Info | LogLevel::Unspecified => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let source = match line.source() {
        LogSource::Kernel => "kernel",
        LogSource::Agent | LogSource::Unspecified => "agent",
    };
    as_written(at, level, source, &line.text)
}

fn as_written(at: Timestamp, level: &str, source: &str, text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect();
    format!("{at:.3} {level:5} {source}: {text}\n")
}
