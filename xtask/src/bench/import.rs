//! `cargo xtask bench import`: how long does an image file take to become an artifact?
//!
//! A qcow2 with files of this machine is imported to a folder, in rounds with what nobody can do without: `qemu-img
//! convert` to a raw file, and one pass of zstd and BLAKE3 over that file's data on all cores, which writes nothing.
//! Once the file is also sent to a real controller over REST. The goals are a ratio and a bound of memory.

mod controller;
mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::document;
use super::measure::{self, End, Measured, Surroundings};
use super::report::{Section, machine, median, today};
use crate::screen::step;
use crate::{binaries, tool};

/// An import may take so many times what conversion and compression take.
const RATIO: f64 = 1.3;
/// And so much memory.
const MEMORY_MIB: f64 = 300.0;

/// Options of `bench import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Size of the disk
    #[arg(long, value_name = "MIB", default_value_t = 10 << 10)]
    disk_mib: u64,
    /// Data on it
    #[arg(long, value_name = "MIB", default_value_t = 2 << 10)]
    data_mib: u64,
    /// zstd level of the artifact and of the pass that it is compared with
    #[arg(long, default_value_t = 3)]
    level: i32,
    /// A qcow2 of compressed clusters, as distributions publish them
    #[arg(long)]
    compressed: bool,
    /// Leave out the controller
    #[arg(long)]
    no_controller: bool,
    /// Another controller than the one of these sources
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// A small image, once
    #[arg(long)]
    quick: bool,
    /// Put the results into docs/performance.md
    #[arg(long)]
    write_docs: bool,
    /// A run that takes longer is ended
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,
}

impl Import {
    fn sizes(&self) -> (u64, u64) {
        if self.quick {
            (1 << 30, 200 << 20)
        } else {
            (self.disk_mib << 20, self.data_mib << 20)
        }
    }

    fn runs(&self) -> usize {
        if self.quick { 1 } else { self.runs.max(1) }
    }
}

/// What the rounds have shown.
#[derive(Debug, Default)]
struct Rounds {
    convert: Vec<Measured>,
    pass: Vec<Measured>,
    import: Vec<Measured>,
}

/// Measures; answers whether the goals are met.
pub fn run(source: &Path, options: &Import) -> Result<bool> {
    let bench = Bench::prepare(source, options)?;
    let mut rounds = Rounds::default();
    for round in 1..=options.runs() {
        step(&format!("Round {round} of {}", options.runs()));
        bench.round(options, &mut rounds)?;
    }
    let by_rest = if options.no_controller {
        None
    } else {
        step("The same file to a controller over REST");
        let binary = match &options.controller {
            Some(given) => given.clone(),
            None => binaries::build_shipped_controller(source)?,
        };
        Some(controller::import(
            &binary,
            &bench.qcow2,
            &bench.work,
            options.limit,
        )?)
    };
    let (section, goals_met) = report(&bench, options, &rounds, by_rest.as_ref());
    println!("\n{}", section.text());
    keep_json(source, &section)?;
    if options.write_docs {
        document::write_sections(source, &[section])?;
    }
    fs::remove_dir_all(&bench.work).with_context(|| format!("cannot remove {}", bench.work.display()))?;
    Ok(goals_met)
}

/// Programs and the image.
struct Bench {
    yardstick: PathBuf,
    work: PathBuf,
    qcow2: PathBuf,
    qcow2_bytes: u64,
    limit: Duration,
}

impl Bench {
    fn prepare(source: &Path, options: &Import) -> Result<Self> {
        let yardstick = binaries::build_yardstick(source)?;
        let work = source.join("target/bench-import");
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
        }
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let (disk_bytes, data_bytes) = options.sizes();
        step(&format!(
            "An image of {} MiB with {} MiB of this machine's files",
            disk_bytes >> 20,
            data_bytes >> 20
        ));
        let (raw, qcow2) = (work.join("sample.raw"), work.join("disk.qcow2"));
        sample::make(&raw, disk_bytes, data_bytes)?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
        if options.compressed {
            convert.arg("-c");
        }
        tool::run(convert.args([&raw, &qcow2]))?;
        fs::remove_file(&raw).context("cannot remove the raw image")?;
        let qcow2_bytes = fs::metadata(&qcow2).context("there is no qcow2")?.len();
        Ok(Self {
            yardstick,
            work,
            qcow2,
            qcow2_bytes,
            limit: Duration::from_secs(options.limit),
        })
    }

    fn round(&self, options: &Import, rounds: &mut Rounds) -> Result<()> {
        let (raw, folder) = (self.work.join("disk.raw"), self.work.join("artifact"));
        let level = options.level.to_string();
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]);
        rounds
            .convert
            .push(self.measure(convert.args([&self.qcow2, &raw]))?);
        let mut pass = Command::new(&self.yardstick);
        pass.arg("pass").arg(&raw).args(["--level", &level]);
        rounds.pass.push(self.measure(&mut pass)?);
        fs::remove_file(&raw).context("cannot remove the raw image")?;
        let mut import = Command::new(&self.yardstick);
        import
            .arg("import")
            .args([&self.qcow2, &folder])
            .args(["--level", &level]);
        rounds.import.push(self.measure(&mut import)?);
        fs::remove_dir_all(&folder).context("cannot remove the artifact")
    }

    fn measure(&self, command: &mut Command) -> Result<Measured> {
        let mut copy = Command::new(command.get_program());
        copy.args(command.get_args());
        let around = Surroundings {
            target: None,
            server: None,
            work: &self.work,
            limit: self.limit,
        };
        let measured = measure::run(copy, &around)?;
        ensure!(
            measured.end == End::Success,
            "{}: {:?}",
            command.get_program().display(),
            measured.end
        );
        Ok(measured)
    }
}

fn report(
    bench: &Bench,
    options: &Import,
    rounds: &Rounds,
    by_rest: Option<&controller::ByRest>,
) -> (Section, bool) {
    let of = |runs: &[Measured], figure: fn(&Measured) -> f64| {
        median(&runs.iter().map(figure).collect::<Vec<_>>()).unwrap_or_default()
    };
    let wall = |runs: &[Measured]| of(runs, |run| run.wall);
    let memory = |run: &Measured| run.memory_kib as f64 / 1024.0;
    let floor = wall(&rounds.convert) + wall(&rounds.pass);
    let ratio = wall(&rounds.import) / floor;
    let most = rounds.import.iter().map(memory).fold(0.0, f64::max);
    let row = |name: &str, runs: &[Measured]| {
        vec![
            name.to_owned(),
            runs.len().to_string(),
            format!("{:.2}", wall(runs)),
            format!("{:.2}", wall(runs) / floor),
            format!("{:.2}", of(runs, |run| run.cpu.total())),
            format!("{:.0}", of(runs, memory)),
            format!("{:.2}", of(runs, |run| run.foreign)),
        ]
    };
    let mut rows = vec![
        row("qemu-img convert to raw", &rounds.convert),
        row("one pass of zstd and BLAKE3 over it", &rounds.pass),
        row("import to a folder", &rounds.import),
    ];
    if let Some(by_rest) = by_rest {
        rows.push(vec![
            "import by a controller over REST".to_owned(),
            "1".to_owned(),
            format!("{:.2}", by_rest.wall),
            format!("{:.2}", by_rest.wall / floor),
            format!("{:.2}", by_rest.cpu),
            format!("{:.0}", by_rest.memory_kib as f64 / 1024.0),
            "-".to_owned(),
        ]);
    }
    let memory_of_all = by_rest.map_or(most, |by_rest| most.max(by_rest.memory_kib as f64 / 1024.0));
    let goals_met = ratio <= RATIO && memory_of_all <= MEMORY_MIB;
    let (disk_bytes, data_bytes) = options.sizes();
    let word = |met: bool| if met { "met" } else { "missed" };
    let section = Section {
        title: format!(
            "import: a {}qcow2 of {:.2} GB, {} MiB of data on {} MiB ({})",
            if options.compressed { "compressed " } else { "" },
            bench.qcow2_bytes as f64 / 1e9,
            data_bytes >> 20,
            disk_bytes >> 20,
            today()
        ),
        head: vec!["what", "n", "wall s", "x both", "CPU s", "RSS MiB", "foreign"],
        rows,
        notes: vec![
            format!("Machine: {}. Level {}.", machine(), options.level),
            format!(
                "Goal: an import within {RATIO} times conversion and pass together: {ratio:.2}, {}. Goal: at most \
                 {MEMORY_MIB:.0} MiB of memory: {memory_of_all:.0}, {}.",
                word(ratio <= RATIO),
                word(memory_of_all <= MEMORY_MIB)
            ),
            "Medians of rounds in which all take turns. The pass reads what is no hole in the raw file, and writes \
             nothing; an import writes and syncs its packs. The controller's memory is its peak since it was started; \
             its time is that of the whole request."
                .to_owned(),
        ],
    };
    (section, goals_met)
}

fn keep_json(source: &Path, section: &Section) -> Result<()> {
    let folder = source.join("target/bench-results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("import-{}.json", today().replace([' ', ':'], "-")));
    fs::write(&path, format!("{:#}\n", json!(section.json())))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("figures: {}", path.display());
    Ok(())
}
