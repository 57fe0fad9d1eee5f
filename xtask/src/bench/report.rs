//! What a session has shown: a table for people, all figures as JSON.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use super::arguments::Write;
use super::contender::{Contender, Group};
use super::floor::Floor;
use super::goals;
use super::lab::Lab;
use super::measure::End;
use super::session::{Done, Run};
use crate::tool;

/// A table with a title and what is to be known about it.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Names of columns.
    pub head: Vec<&'static str>,
    /// Rows of cells.
    pub rows: Vec<Vec<String>>,
    /// Sentences below it.
    pub notes: Vec<String>,
}

impl Section {
    /// As Markdown that is also readable on a terminal.
    pub fn text(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let head: Vec<String> = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = format!("### {}\n\n{}{}", self.title, line(&head), line(&rule));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        for note in &self.notes {
            write!(text, "\n{note}\n").expect("a string takes everything");
        }
        text
    }

    /// All of it.
    pub fn json(&self) -> Value {
        json!({ "title": self.title, "head": self.head, "rows": self.rows, "notes": self.notes })
    }
}

/// One contender's runs.
#[derive(Debug)]
pub struct Row<'a> {
    /// Whose.
    pub contender: Contender,
    runs: Vec<&'a Run>,
}

impl<'a> Row<'a> {
    /// Rows in the table's order.
    pub fn all(runs: &'a [Run]) -> Vec<Self> {
        super::contender::all()
            .into_iter()
            .map(|contender| Self {
                contender,
                runs: runs
                    .iter()
                    .filter(|run| run.contender.name == contender.name)
                    .collect(),
            })
            .filter(|row| !row.runs.is_empty())
            .collect()
    }

    fn done(&self) -> impl Iterator<Item = &'a Done> + '_ {
        self.runs.iter().filter_map(|run| run.done())
    }

    /// The median of a figure over the runs that succeeded.
    pub fn median(&self, figure: impl Fn(&Done) -> f64) -> Option<f64> {
        median(&self.done().map(figure).collect::<Vec<_>>())
    }

    /// The median wall time.
    pub fn wall(&self) -> Option<f64> {
        self.median(|done| done.measured.wall)
    }

    /// The shortest wall time.
    pub fn best(&self) -> Option<f64> {
        self.done().map(|done| done.measured.wall).min_by(f64::total_cmp)
    }

    /// What came of it, in words.
    fn verdict(&self) -> String {
        let mut found: Vec<String> = Vec::new();
        for run in &self.runs {
            let text = match &run.outcome {
                Err(reason) => format!("left out: {}", reason.lines().next().unwrap_or_default()),
                Ok(done) => match (&done.measured.end, done.content) {
                    (End::Success, Some(content)) => content.text(),
                    (End::Success, None) => continue,
                    (End::Failed(why), _) => format!("failed: {why}"),
                    (End::TimedOut, _) => format!("hung ({:.0} s)", done.measured.wall),
                },
            };
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found.join("; ")
    }
}

/// The middle value; between the two middle ones of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// A whole session.
#[derive(Debug)]
pub struct Report {
    sections: Vec<Section>,
    json: Value,
    stamp: String,
}

impl Report {
    /// Puts the results together.
    pub fn new(lab: &Lab, options: &Write, runs: &[Run]) -> Self {
        let rows = Row::all(runs);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let floor = Floor::of(runs, cores);
        let stamp = today();
        let machine = machine();
        let facts = goals::Facts {
            data_bytes: lab.forms.data_bytes(),
            fetch_bytes: lab.forms.fetch_bytes(),
            zst_bytes: lab.forms.bytes(super::forms::Form::Zst),
        };
        let mut table = table(&rows, floor);
        table.title = format!(
            "{}: {:.2} GB of data, {:.2} GB as an artifact ({stamp})",
            lab.workload.image.about(),
            facts.data_bytes as f64 / 1e9,
            facts.fetch_bytes as f64 / 1e9
        );
        table.notes = vec![
            format!("Machine: {machine}. Command: `{}`.", Write::command_line()),
            "Wall: median and best, in seconds, final flush included. CPU: the program and its children, without the \
             server. RSS: peaks of all its processes, summed. Wire: what the server sent. Written: what the disk was \
             told to write or to zero. Foreign: processors that others used meanwhile. Disk: compared with the image \
             byte for byte, on a disk that was full of 0xA5."
                .to_owned(),
        ];
        let mut sections = vec![table];
        sections.extend(floor.map(floor_section));
        sections.push(goals::section(&rows, floor, &facts));
        let json = json!({
            "stamp": stamp,
            "machine": machine,
            "command": Write::command_line(),
            "image": {
                "name": lab.workload.image.name(),
                "disk_bytes": lab.workload.bytes,
                "data_bytes": facts.data_bytes,
                "artifact_bytes": facts.fetch_bytes,
                "zst_bytes": facts.zst_bytes,
            },
            "runs": runs.iter().map(run_json).collect::<Vec<_>>(),
            "sections": sections.iter().map(Section::json).collect::<Vec<_>>(),
            "peer_runs": options.peer_runs(),
        });
        Self {
            sections,
            json,
            stamp,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let texts: Vec<String> = self.sections.iter().map(Section::text).collect();
        texts.join("\n")
    }

    /// For programs.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// When it was.
    pub fn stamp(&self) -> String {
        self.stamp.replace([' ', ':'], "-")
    }
}

fn run_json(run: &Run) -> Value {
    let mut value = json!({ "contender": run.contender.name, "round": run.round });
    match &run.outcome {
        Err(reason) => value["left_out"] = json!(reason),
        Ok(done) => {
            let measured = &done.measured;
            value["wall_seconds"] = json!(measured.wall);
            value["user_seconds"] = json!(measured.cpu.user);
            value["system_seconds"] = json!(measured.cpu.system);
            value["server_seconds"] = json!(measured.server_cpu.total());
            value["foreign_processors"] = json!(measured.foreign);
            value["memory_kib"] = json!(measured.memory_kib);
            value["dirty_kib"] = json!(measured.dirty_kib);
            value["wire_bytes"] = json!(measured.wire_bytes);
            value["device_bytes"] = json!(measured.device_bytes);
            value["data_ms"] = json!(measured.data_ms);
            value["first_write_ms"] = json!(measured.first_write_ms);
            value["end"] = match &measured.end {
                End::Success => json!("success"),
                End::Failed(why) => json!(format!("failed: {why}")),
                End::TimedOut => json!("timed out"),
            };
            value["disk"] = json!(done.content.map(super::target::Content::text));
            value["said"] = json!(measured.said);
        }
    }
    value
}

fn table(rows: &[Row<'_>], floor: Option<Floor>) -> Section {
    let ours = rows
        .iter()
        .find(|row| row.contender.name == "artifact")
        .and_then(Row::wall);
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let cells = |row: &Row<'_>| {
        let wall = row.wall();
        let writes = row.contender.writes;
        let ratio = |of: Option<f64>| {
            let cell = wall.zip(of).map(|(wall, of)| wall / of);
            number(cell.filter(|_| row.contender.group != Group::Floor), 2)
        };
        vec![
            row.contender.name.to_owned(),
            row.done().count().to_string(),
            number(wall, 2),
            number(row.best(), 2),
            ratio(ours),
            ratio(floor.map(|floor| floor.slowest().0)),
            number(row.median(|done| done.measured.cpu.total()), 2),
            number(row.median(|done| done.measured.memory_kib as f64 / 1024.0), 0),
            number(row.median(|done| done.measured.dirty_kib as f64 / 1024.0), 0),
            number(row.median(|done| mib(done.measured.wire_bytes)), 0),
            number(row.median(|done| mib(done.measured.device_bytes)), 0),
            number(
                row.median(|done| done.measured.first_write_ms.unwrap_or(f64::NAN))
                    .filter(|at| writes && at.is_finite()),
                0,
            ),
            number(row.median(|done| done.measured.foreign), 2),
            row.verdict(),
        ]
    };
    Section {
        title: String::new(),
        head: vec![
            "contender",
            "n",
            "wall s",
            "best",
            "x ours",
            "x floor",
            "CPU s",
            "RSS MiB",
            "dirty MiB",
            "wire MiB",
            "written MiB",
            "1st write ms",
            "foreign",
            "disk",
        ],
        rows: rows.iter().map(cells).collect(),
        notes: Vec::new(),
    }
}

fn floor_section(floor: Floor) -> Section {
    let (slowest, which) = floor.slowest();
    let row = |name: &str, seconds: f64| vec![name.to_owned(), format!("{seconds:.2}")];
    Section {
        title: "The floor".to_owned(),
        head: vec!["part", "s"],
        rows: vec![
            row("disk: the same bytes, raw", floor.disk),
            row("network: the same transfer, to nowhere", floor.network),
            row("decompression on all cores", floor.decode),
            row("hashing (BLAKE3) of all data on all cores", floor.hash),
            row("disk: the same bytes, and all holes zeroed", floor.exact),
            row(
                "processors: all of these and the server, divided by the cores",
                floor.processors,
            ),
        ],
        notes: vec![format!(
            "The floor that ratios are taken to is the slowest of the first four: {which}, {slowest:.2} s. An exact \
             disk takes the zeroes as well, and on a machine whose cores also serve, all parts together need more of \
             them than one alone: with these two the floor of this machine is {:.2} s.",
            floor.reachable()
        )],
    }
}

/// Date and time, in words.
pub fn today() -> String {
    let mut date = Command::new("date");
    date.args(["-u", "+%Y-%m-%d %H:%M UTC"]);
    tool::output(&mut date)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// This machine, in words.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()))
        .unwrap_or("unknown processor");
    let memory = read("/proc/meminfo");
    let gib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or_default()
        / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores of {model}, {gib:.0} GiB of RAM, kernel {}",
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_section_is_a_markdown_table() {
        let section = Section {
            title: "T".to_owned(),
            head: vec!["a", "longer"],
            rows: vec![vec!["one".to_owned(), "x".to_owned()]],
            notes: vec!["Note.".to_owned()],
        };
        let expected = "### T\n\n| a   | longer |\n| --- | ------ |\n| one | x      |\n\nNote.\n";
        assert_eq!(section.text(), expected);
    }
}
