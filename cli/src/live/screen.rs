//! Draws the board: redrawn lines on a terminal, a log of changes elsewhere.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{live::Board, output};

/// Standard error, as a terminal or as a log.
#[derive(Debug)]
pub struct Screen {
    terminal: Option<Terminal>,
    quiet: bool,
}

#[derive(Debug)]
struct Terminal {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Screen {
    /// For a terminal that can be redrawn, or for a log.
    pub fn new(live: bool) -> Self {
        let terminal = live.then(|| Terminal {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)),
            lines: Vec::new(),
        });
        Self {
            terminal,
            quiet: false,
        }
    }

    /// Shows nothing at all.
    pub fn hidden() -> Self {
        Self {
            terminal: None,
            quiet: true,
        }
    }

    /// Shows the board as it is now. A log shows nothing: it was told the changes.
    pub fn draw(&mut self, board: &Board) {
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let texts = board.lines();
        while terminal.lines.len() > texts.len() {
            if let Some(line) = terminal.lines.pop() {
                line.finish_and_clear();
                terminal.all.remove(&line);
            }
        }
        while terminal.lines.len() < texts.len() {
            let style =
                ProgressStyle::with_template("{wide_msg}").expect("the template is constant and right");
            terminal
                .lines
                .push(terminal.all.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (line, text) in terminal.lines.iter().zip(texts) {
            line.set_message(text);
            line.tick();
        }
    }

    /// Runs something that writes to standard output, which may be the same terminal.
    pub fn around<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.terminal {
            Some(terminal) => terminal.all.suspend(write),
            None => write(),
        }
    }

    /// Says something that stays: above the lines, or in the log.
    pub fn say(&self, text: &str) {
        match &self.terminal {
            Some(terminal) => terminal.all.suspend(|| output::say(&format!("{text}\n"))),
            None if self.quiet => {}
            None => output::say(&format!("{text}\n")),
        }
    }

    /// Says a change: a terminal shows it in its line already.
    pub fn changed(&self, text: &str) {
        if self.terminal.is_none() {
            self.say(text);
        }
    }

    /// Leaves the lines as they are and goes below them.
    pub fn leave(self) {
        if let Some(terminal) = self.terminal {
            for line in terminal.lines {
                line.abandon();
            }
        }
    }

    /// Takes the lines away.
    pub fn clear(self) {
        if let Some(terminal) = self.terminal {
            for line in terminal.lines {
                line.finish_and_clear();
            }
        }
    }
}

/// A bar for a file that is sent; for a log nothing but its beginning and its end.
pub fn transfer(live: bool, label: &str, length: Option<u64>) -> ProgressBar {
    if !live {
        return ProgressBar::hidden();
    }
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let template = match length {
        Some(_) => {
            "{msg}  [{bar:24}] {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"
        }
        None => "{msg}  {spinner} {binary_bytes}  {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template)
        .expect("the template is constant and right")
        .progress_chars("##.");
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    bar.set_style(style);
    bar.set_message(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
