//! Measurements beside the table, each for one question.

mod delta;
mod disk_limit;
mod drop;
mod limits;
mod memory;
mod plain;
mod update;

use anyhow::Result;

use super::arguments::Write;
use super::lab::Lab;
use super::report::Section;

/// One of them.
#[derive(Debug)]
pub struct Experiment {
    /// Its name.
    pub name: &'static str,
    /// Its question.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&Lab, &Write) -> Result<Section>,
}

/// All of them.
pub const ALL: &[Experiment] = &[
    Experiment {
        name: "tls",
        about: "what does TLS add?",
        run: plain::tls,
    },
    Experiment {
        name: "first-byte",
        about: "how soon is the first byte of the image on the disk?",
        run: plain::first_byte,
    },
    Experiment {
        name: "wire",
        about: "how many bytes has each form of the image?",
        run: plain::wire,
    },
    Experiment {
        name: "memory",
        about: "how much memory does a disk of 200 GiB take?",
        run: memory::run,
    },
    Experiment {
        name: "drop",
        about: "what does a connection cost that is dropped at 90 %?",
        run: drop::run,
    },
    Experiment {
        name: "delta",
        about: "what is fetched for a disk that holds the image, or an older one?",
        run: delta::run,
    },
    Experiment {
        name: "limits",
        about: "is the limiting part kept busy with 1 and 2 cores, a slow network, a slow disk?",
        run: limits::run,
    },
];

/// Whether a run of ours did what it should, in a cell.
fn disk(done: &super::session::Done) -> String {
    use super::measure::End;
    match (&done.measured.end, done.content) {
        (End::Success, Some(content)) => content.text(),
        (End::Success, None) => "not compared".to_owned(),
        (End::Failed(why), _) => format!("failed: {why}"),
        (End::TimedOut, _) => "hung".to_owned(),
    }
}

/// A number with so many digits.
fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// In MiB.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
