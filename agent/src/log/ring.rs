//! The newest lines, in RAM, until the controller has confirmed them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imprint_proto::agent::v1::{LogAck, LogBatch, LogLevel, LogLine, LogSource};
use jiff::Timestamp;
use uuid::Uuid;

use super::scrub;

/// Bytes that are kept.
const MOST_KEPT: usize = 256 << 10;
/// Bytes of a batch.
const MOST_BATCH: usize = 64 << 10;
/// What a line takes beside its text.
const OVERHEAD: usize = 64;
/// Secrets that are looked for.
const MOST_SECRETS: usize = 16;
/// Shorter ones would tear holes into every line.
const SHORTEST_SECRET: usize = 8;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// It went on.
    Warn,
    /// Something did not work.
    Error,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The agent.
    Agent,
    /// The kernel.
    Kernel,
}

/// The newest lines; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run: String,
    kept: Mutex<Kept>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            run: Uuid::new_v4().to_string(),
            kept: Mutex::default(),
        }
    }
}

#[derive(Debug)]
struct Line {
    number: u64,
    task: Arc<str>,
    line: LogLine,
}

impl Line {
    fn bytes(&self) -> usize {
        self.line.text.len() + OVERHEAD
    }
}

#[derive(Default)]
struct Kept {
    task: Arc<str>,
    secrets: Vec<String>,
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the newest line.
    newest: u64,
    acknowledged: u64,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("task", &self.task)
            .field("newest", &self.newest)
            .finish_non_exhaustive()
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.bytes();
        }
    }
}

impl Log {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; the oldest ones make room.
    pub fn push(&self, level: Level, source: Source, text: &str) {
        let mut kept = self.kept();
        let now = Timestamp::now();
        kept.newest += 1;
        let line = Line {
            number: kept.newest,
            task: Arc::clone(&kept.task),
            line: LogLine {
                at: Some(prost_types::Timestamp {
                    seconds: now.as_second(),
                    nanos: now.subsec_nanosecond(),
                }),
                level: match level {
                    Level::Info => LogLevel::Info,
                    Level::Warn => LogLevel::Warn,
                    Level::Error => LogLevel::Error,
                } as i32,
                source: match source {
                    Source::Agent => LogSource::Agent,
                    Source::Kernel => LogSource::Kernel,
                } as i32,
                text: scrub::line(text, &kept.secrets),
            },
        };
        kept.bytes += line.bytes();
        kept.lines.push_back(line);
        while kept.bytes > MOST_KEPT {
            kept.drop_oldest();
        }
    }

    /// Lines from now on are about this task.
    pub fn set_task(&self, task_id: &str) {
        self.kept().task = task_id.into();
    }

    /// Lines from now on don't show this, should it get into one.
    pub fn never_show(&self, secret: &str) {
        let mut kept = self.kept();
        if secret.len() >= SHORTEST_SECRET && !kept.secrets.iter().any(|known| known == secret) {
            if kept.secrets.len() >= MOST_SECRETS {
                kept.secrets.remove(0);
            }
            kept.secrets.push(secret.to_owned());
        }
    }

    /// The number up to which the controller has all lines; a new session sends what follows.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.kept().acknowledged
    }

    /// The next lines with a number above `sent`, all of the same task, and the number of the last one.
    #[must_use]
    pub fn batch_after(&self, sent: u64) -> Option<(LogBatch, u64)> {
        let kept = self.kept();
        let start = kept.lines.partition_point(|line| line.number <= sent);
        let first = kept.lines.get(start)?;
        let mut batch = LogBatch {
            run: self.0.run.clone(),
            task_id: first.task.to_string(),
            first: first.number,
            lines: Vec::new(),
            left_out: first.number - sent - 1,
        };
        let (mut bytes, mut last) = (0, sent);
        for line in kept.lines.range(start..) {
            bytes += line.bytes();
            if line.task != first.task || bytes > MOST_BATCH {
                break;
            }
            batch.lines.push(line.line.clone());
            last = line.number;
        }
        Some((batch, last))
    }

    /// The controller has all lines up to this number.
    pub fn acknowledge(&self, ack: &LogAck) {
        let mut kept = self.kept();
        if ack.run != self.0.run {
            return;
        }
        kept.acknowledged = kept.acknowledged.max(ack.number.min(kept.newest));
        while kept
            .lines
            .front()
            .is_some_and(|line| line.number <= kept.acknowledged)
        {
            kept.drop_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(log: &Log, number: u64) {
        log.acknowledge(&LogAck {
            run: log.0.run.clone(),
            number,
        });
    }

    fn texts(batch: &LogBatch) -> Vec<&str> {
        batch.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_kept_until_they_are_acknowledged_and_batches_are_of_one_task() {
        let log = Log::default();
        assert!(log.batch_after(0).is_none());
        log.push(Level::Info, Source::Agent, "boot");
        log.set_task("T1");
        log.push(Level::Warn, Source::Kernel, "a");
        log.push(Level::Error, Source::Agent, "b");
        let (batch, last) = log.batch_after(0).unwrap();
        assert_eq!(
            (texts(&batch), batch.task_id.as_str(), last),
            (vec!["boot"], "", 1)
        );
        let (batch, last) = log.batch_after(last).unwrap();
        assert_eq!(
            (texts(&batch), batch.task_id.as_str(), last),
            (vec!["a", "b"], "T1", 3)
        );
        assert_eq!((batch.first, batch.left_out), (2, 0));
        assert_eq!(batch.lines[0].source(), LogSource::Kernel);
        assert_eq!(batch.lines[1].level(), LogLevel::Error);
        assert!(log.batch_after(last).is_none());

        ack(&log, 2);
        log.acknowledge(&LogAck {
            run: "of another life".into(),
            number: 3,
        });
        // A new session begins behind what is acknowledged.
        let (batch, _) = log.batch_after(log.acknowledged()).unwrap();
        assert_eq!((texts(&batch), batch.first), (vec!["b"], 3));
        ack(&log, 99);
        assert_eq!((log.acknowledged(), log.kept().bytes), (3, 0));
    }

    #[test]
    fn memory_is_bounded_and_what_is_left_out_is_counted() {
        let log = Log::default();
        for number in 0..5000 {
            log.push(
                Level::Info,
                Source::Agent,
                &format!("{number} {}", "x".repeat(1000)),
            );
        }
        assert!(log.kept().bytes <= MOST_KEPT);
        let (mut sent, mut lines, mut left_out, mut batches) = (0, 0, 0, 0);
        while let Some((batch, last)) = log.batch_after(sent) {
            let bytes: usize = batch.lines.iter().map(|line| line.text.len()).sum();
            assert!(!batch.lines.is_empty() && bytes <= MOST_BATCH);
            assert_eq!(batch.first + batch.lines.len() as u64, last + 1);
            (sent, lines, left_out) = (last, lines + batch.lines.len() as u64, left_out + batch.left_out);
            batches += 1;
        }
        assert_eq!((sent, lines + left_out), (5000, 5000));
        assert!(left_out > 4000 && batches >= 4, "{left_out} {batches}");
    }

    #[test]
    fn what_must_not_be_shown_is_not() {
        let log = Log::default();
        for number in 0..2 * MOST_SECRETS {
            log.never_show(&format!("secret number {number}"));
        }
        log.never_show("short");
        log.push(Level::Info, Source::Agent, "short secret number 31");
        let (batch, _) = log.batch_after(0).unwrap();
        assert_eq!(texts(&batch), ["short …"]);
        assert_eq!(log.kept().secrets.len(), MOST_SECRETS);
        assert!(!format!("{log:?}").contains("secret number"));
    }
}
