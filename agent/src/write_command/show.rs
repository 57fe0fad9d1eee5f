//! What the command tells while it works: a bar for people, lines of JSON for programs.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    task::JoinHandle,
};

use super::WriteCommandError;
use crate::{
    source::whole_cause,
    stream::{Limit, Load, Loads, Phase, WriteFigures, WriteNote, WriteProgress},
};

/// Shows progress and outcome.
#[derive(Debug, Clone)]
pub(super) struct Show {
    json: bool,
    bar: ProgressBar,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        // Hidden by the library itself when stderr is no terminal.
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        let style = "{wide_bar} {bytes}/{total_bytes} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is sound"));
        Show { json, bar }
    }

    /// Shows all that comes until both channels are closed.
    pub(super) fn follow(
        &self,
        mut newest: watch::Receiver<WriteProgress>,
        mut notes: UnboundedReceiver<WriteNote>,
    ) -> impl Future<Output = ()> + use<> {
        let show = self.clone();
        let shown: JoinHandle<()> = tokio::spawn(async move {
            let (mut progress_open, mut notes_open) = (true, true);
            while progress_open || notes_open {
                tokio::select! {
                    changed = newest.changed(), if progress_open => match changed {
                        Ok(()) => show.progress(&newest.borrow_and_update()),
                        Err(_) => progress_open = false,
                    },
                    note = notes.recv(), if notes_open => match note {
                        Some(note) => show.note(&note),
                        None => notes_open = false,
                    },
                }
            }
        });
        async { shown.await.expect("showing does not panic") }
    }

    fn progress(&self, now: &WriteProgress) {
        if self.json {
            line(&json!({
                "event": "progress",
                "phase": phase(now.phase),
                "bytes_done": now.bytes_done,
                "bytes_total": now.bytes_total,
                "bytes_fetched": now.bytes_fetched,
                "bytes_to_fetch": now.bytes_to_fetch,
                "bytes_written": now.bytes_written,
                "bytes_zeroed": now.bytes_zeroed,
                "data_bytes_per_second": now.data_bytes_per_second,
                "eta_seconds": now.eta_seconds,
                "retries": now.retries,
                "chunks_kept": now.chunks_kept,
                "bytes_saved": now.bytes_saved,
                "limited_by": now.limited_by.map(limit),
                "limiting": now.limiting(),
                "stalled": now.stalled.map(|stall| json!({ "by": limit(stall.by), "seconds": stall.waited.as_secs() })),
                "loads": loads(&now.loads),
            }));
            return;
        }
        self.bar.set_length(now.bytes_total);
        self.bar.set_position(now.bytes_done);
        let rate = now.data_bytes_per_second >> 20;
        let eta = now
            .eta_seconds
            .map(|seconds| format!(", {seconds} s to go"))
            .unwrap_or_default();
        let limited = match (now.stalled, now.limiting()) {
            (Some(stall), _) => format!(", {stall}"),
            (None, Some(limiting)) => format!(", limited by {limiting}"),
            (None, None) => String::new(),
        };
        self.bar
            .set_message(format!("{} {rate} MiB/s{eta}{limited}", phase(now.phase)));
    }

    fn note(&self, note: &WriteNote) {
        let (kind, text) = match note {
            WriteNote::Retry {
                what,
                cause,
                delay,
                attempt,
            } => {
                let wait = delay.as_secs_f32();
                (
                    "retry",
                    format!("{what}: {cause}; attempt {attempt} failed, trying again in {wait:.1} s"),
                )
            }
            WriteNote::Corrupt { chunk, cause } => (
                "corrupt",
                format!("chunk {chunk} came wrong and is fetched again: {cause}"),
            ),
            WriteNote::Resumed { chunks } => (
                "resumed",
                format!("going on with an earlier write: {chunks} chunks are on the disk already"),
            ),
            WriteNote::ZeroesAreWritten => (
                "zeroes_are_written",
                "the disk has no command for zeroes: the holes are written".to_owned(),
            ),
            WriteNote::Stalled(stall) => ("stalled", stall.to_string()),
            WriteNote::JournalLost { cause } => ("journal_lost", format!("the journal is given up: {cause}")),
        };
        if self.json {
            line(&json!({ "event": "note", "kind": kind, "message": text }));
        } else {
            self.bar.suspend(|| stderr(&text));
        }
    }

    /// The write is complete.
    pub(super) fn done(&self, image: &Value, figures: &WriteFigures) {
        self.bar.finish_and_clear();
        if self.json {
            line(&json!({
                "event": "done",
                "image": image,
                "bytes_fetched": figures.bytes_fetched,
                "bytes_written": figures.bytes_written,
                "bytes_zeroed": figures.bytes_zeroed,
                "duration_ms": u64::try_from(figures.duration.as_millis()).unwrap_or(u64::MAX),
                "retries": figures.retries,
                "chunks_resumed": figures.chunks_resumed,
                "chunks_fetched": figures.chunks_fetched,
                "cpu_ms": u64::try_from(figures.cpu.as_millis()).unwrap_or(u64::MAX),
                "peak_memory_bytes": figures.peak_memory_bytes,
                "writer": figures.writer.to_string(),
                "connections": figures.connections,
                "limited_by": figures.limited_by.map(limit),
                "limiting": figures.limited_by.map(|by| figures.loads.words(by)),
                "loads": loads(&figures.loads),
                "chunks_kept": figures.chunks_kept,
                "bytes_saved": figures.bytes_saved,
            }));
            return;
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if figures.chunks_kept > 0 {
            stderr(&format!(
                "{} chunks were on the disk already: {} MiB were not fetched",
                figures.chunks_kept,
                mib(figures.bytes_saved),
            ));
        }
        stderr(&format!(
            "written in {:.1} s: {} MiB of data, {} MiB of zeroes, {} MiB fetched, {} retries",
            figures.duration.as_secs_f32(),
            mib(figures.bytes_written),
            mib(figures.bytes_zeroed),
            mib(figures.bytes_fetched),
            figures.retries,
        ));
    }

    /// The command has failed. People read the cause from the program's own error message.
    pub(super) fn failed(&self, error: &WriteCommandError) {
        self.bar.abandon();
        if !self.json {
            return;
        }
        let (touched, head_cleared, retryable) = match error {
            WriteCommandError::Write(failure) => (failure.touched, failure.head_cleared, failure.retryable),
            _ => (false, false, false),
        };
        line(&json!({
            "event": "failed",
            "cause": whole_cause(error),
            "remedy": error.remedy(),
            "touched": touched,
            "head_cleared": head_cleared,
            "retryable": retryable,
        }));
    }
}

fn loads(loads: &Loads) -> Value {
    let load =
        |load: Load| json!({ "busy_percent": load.busy_percent, "bytes_per_second": load.bytes_per_second });
    json!({
        "network": load(loads.network),
        "cpu": load(loads.cpu),
        "disk": load(loads.disk),
        "zeroes": load(loads.zeroes),
    })
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Clearing => "clearing",
        Phase::Writing => "writing",
        Phase::Flushing => "flushing",
        Phase::ReadingBack => "reading back",
        Phase::Releasing => "releasing",
    }
}

fn limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Network => "network",
        Limit::Cpu => "cpu",
        Limit::Disk => "disk",
    }
}

/// A line on stdout. Whoever closed it doesn't want to know; the write goes on.
fn line(value: &Value) {
    writeln!(std::io::stdout().lock(), "{value}").ok();
}

fn stderr(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}
