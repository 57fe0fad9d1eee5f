//! Where words go: results to standard output, everything else to standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use comfy_table::Table;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::{arguments::Format, fault::Fault, table::Moment};

/// How results are to be written.
#[derive(Debug)]
pub struct Output {
    format: Format,
    zone: TimeZone,
    /// Whether standard error is a terminal that can be redrawn.
    pub live: bool,
}

impl Output {
    /// From the flag, the environment and the terminal.
    pub fn new(format: Format) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self {
            format,
            zone: TimeZone::system(),
            live: io::stderr().is_terminal() && !dumb,
        }
    }

    /// Now and here, for tables.
    pub fn moment(&self) -> Moment {
        Moment {
            now: Timestamp::now(),
            zone: self.zone.clone(),
        }
    }

    /// Whether a program reads along.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The result: JSON as it came, or what `table` makes of it.
    pub fn result(&self, value: &Value, table: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.is_json() {
            // Pretty for people who look at it; programs do not mind.
            print(&format!("{value:#}\n"))
        } else {
            print(&table())
        }
    }

    /// One line of a result that has no end.
    pub fn line(&self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.is_json() {
            print(&format!("{value}\n"))
        } else {
            print(&format!("{}\n", text()))
        }
    }

    /// Text as it is: without what would move a terminal's cursor.
    pub fn text(text: &str) -> Result<(), Fault> {
        let plain = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        print(&text.chars().filter(plain).collect::<String>())
    }

    /// Says why the command failed.
    pub fn failed(&self, fault: &Fault) -> ExitCode {
        let text = if self.is_json() {
            format!("{}\n", fault.json())
        } else {
            fault.text()
        };
        say(&text);
        ExitCode::from(fault.exit_code())
    }
}

/// A table as text: fitted to the terminal, or as wide as it needs to be when there is none.
pub fn render(table: &mut Table) -> String {
    if !io::stdout().is_terminal() {
        table.force_no_tty();
    }
    format!("{}\n", table.trim_fmt())
}

/// Writes to standard error. That it is closed is no reason to stop.
pub fn say(text: &str) {
    match io::stderr().write_all(text.as_bytes()) {
        Ok(()) | Err(_) => {}
    }
}

fn print(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        // `imprint events | head` is no failure of ours, but there is nobody left to write to.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::local(
            "Cannot write the result",
            error.to_string(),
            "Check where standard output goes.",
        )),
    }
}
