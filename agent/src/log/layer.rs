//! From events of the code to lines of the log.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::ring::{Level, Log, Source};

/// Hands events of this project's code at info and above to a [`Log`]. What libraries say stays on the machine: nobody
/// here has read what they put into their events.
#[derive(Debug, Clone)]
pub struct LogLayer(Log);

impl LogLayer {
    /// Into this log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self(log)
    }
}

fn level(metadata: &Metadata<'_>) -> Option<Level> {
    let ours = metadata.target().starts_with("imprint");
    match *metadata.level() {
        tracing::Level::ERROR if ours => Some(Level::Error),
        tracing::Level::WARN if ours => Some(Level::Warn),
        tracing::Level::INFO if ours => Some(Level::Info),
        _ => None,
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if let Some(level) = level(event.metadata()) {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.push(level, Source::Agent, &text.line());
        }
    }
}

/// The message, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let written = if field.name() == "message" {
            self.message.write_fmt(value)
        } else {
            write!(self.fields, " {}={value}", field.name())
        };
        written.expect("a String takes all");
    }

    fn line(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn our_events_from_info_on_become_lines() {
        let log = Log::default();
        let subscriber = tracing_subscriber::registry().with(LogLayer::new(log.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other("broken pipe");
            tracing::warn!(task.id = "T1", %error, bytes = 7, "cannot do it");
            tracing::debug!("too much");
            tracing::error!(target: "hyper", "of a library");
            tracing::info!(cause = "said \"no\"", "asked {}", "nicely");
        });
        let (batch, _) = log.batch_after(0).unwrap();
        let lines: Vec<_> = batch.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            lines,
            [
                r#"cannot do it task.id="T1" error=broken pipe bytes=7"#,
                r#"asked nicely cause="said \"no\"""#
            ]
        );
    }
}
