//! `cargo xtask test`: everything a change has to pass, one after another, with a table and a closing line at the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::{binaries, lab, network_tools, packages, python_tools, screen};

/// Scenarios at a time: a server that boots waits as much as it works.
const LAB_JOBS: &str = "2";

/// One line of the table.
#[derive(Debug)]
struct Stage {
    name: String,
    passed: u64,
    failed: u64,
    seconds: u64,
}

/// Runs all; whether all passed.
pub fn run(source: &Path, with_lab: bool) -> Result<bool> {
    packages::install_missing()?;
    packages::install_nextest()?;
    network_tools::unpack(source)?;
    python_tools::install(source)?;
    let mut stages = vec![
        cargo_stage(source, "formatting", &["fmt", "--check"]),
        cargo_stage(
            source,
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
        nextest(source),
    ];
    if with_lab {
        let start = Instant::now();
        match lab_stages(source) {
            Ok(scenarios) => stages.extend(scenarios),
            Err(error) => {
                eprintln!("error: {error:#}");
                stages.push(Stage::single("lab", false, start));
            }
        }
    }
    println!(
        "\n{:<28} {:>7} {:>7} {:>8}",
        "stage", "passed", "failed", "seconds"
    );
    for stage in &stages {
        println!(
            "{:<28} {:>7} {:>7} {:>8}",
            stage.name, stage.passed, stage.failed, stage.seconds
        );
    }
    let passed: u64 = stages.iter().map(|stage| stage.passed).sum();
    let failed: u64 = stages.iter().map(|stage| stage.failed).sum();
    println!("\n{passed} passed, {failed} failed");
    Ok(failed == 0)
}

impl Stage {
    fn single(name: &str, passed: bool, start: Instant) -> Self {
        let seconds = start.elapsed().as_secs();
        Self {
            name: name.to_owned(),
            passed: u64::from(passed),
            failed: u64::from(!passed),
            seconds,
        }
    }
}

fn cargo_stage(source: &Path, name: &str, arguments: &[&str]) -> Stage {
    screen::step(&format!("cargo {}", arguments.join(" ")));
    let start = Instant::now();
    let passed = binaries::cargo(source)
        .args(arguments)
        .status()
        .is_ok_and(|status| status.success());
    Stage::single(name, passed, start)
}

/// Unit and integration tests. Their number comes from the runner's summary line.
fn nextest(source: &Path) -> Stage {
    screen::step("cargo nextest run --workspace");
    let start = Instant::now();
    match nextest_counts(source) {
        Ok((passed, failed)) => Stage {
            name: "unit and integration".to_owned(),
            passed,
            failed,
            seconds: start.elapsed().as_secs(),
        },
        Err(error) => {
            eprintln!("error: {error:#}");
            Stage::single("unit and integration", false, start)
        }
    }
}

fn nextest_counts(source: &Path) -> Result<(u64, u64)> {
    let mut cargo = binaries::cargo(source);
    cargo.args([
        "nextest",
        "run",
        "--workspace",
        "--no-fail-fast",
        "--color",
        "never",
    ]);
    let mut child = cargo
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo nextest")?;
    let output = child.stderr.take().context("cargo nextest has no output")?;
    let mut counts = None;
    for line in BufReader::new(output).lines() {
        let line = line.context("cargo nextest stopped talking")?;
        eprintln!("{line}");
        counts = summary(&line).or(counts);
    }
    let status = child.wait().context("cannot wait for cargo nextest")?;
    let (passed, failed) = counts.unwrap_or((0, 0));
    // A build that fails has no summary, and a failure must never count as none.
    Ok((passed, if status.success() { failed } else { failed.max(1) }))
}

/// `Summary [   1.234s] 57 tests run: 55 passed (1 slow), 1 failed, 1 timed out, 2 skipped`
fn summary(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.trim().strip_prefix("Summary [")?.split_once(" run: ")?;
    let mut passed = 0;
    let mut failed = 0;
    for part in counts.split(',') {
        let mut words = part.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        match words.next()? {
            "passed" => passed += number,
            "skipped" => {}
            _ => failed += number,
        }
    }
    Some((passed, failed))
}

/// Network-boot scenarios of the short set.
fn lab_stages(source: &Path) -> Result<Vec<Stage>> {
    let prepared = lab::prepare_with(source, binaries::build_all_beside_tests)?;
    let prepared = prepared.with_images_of(source, &["ci".to_owned()])?;
    let report = source.join("target/lab-report.tsv");
    if report.exists() {
        fs::remove_file(&report).context("cannot remove the last report")?;
    }
    screen::step("Lab scenarios");
    let start = Instant::now();
    let mut command = prepared.command("run");
    command.args(["ci", "--jobs", LAB_JOBS, "--report"]).arg(&report);
    let succeeded = supervise(&mut command)?;
    let text = fs::read_to_string(&report).context("the lab has left no report")?;
    let mut stages: Vec<Stage> = text.lines().filter_map(scenario).collect();
    if stages.is_empty() || (!succeeded && stages.iter().all(|stage| stage.failed == 0)) {
        stages.push(Stage::single("lab", false, start));
    }
    Ok(stages)
}

fn scenario(line: &str) -> Option<Stage> {
    let mut fields = line.split('\t');
    let (name, verdict, seconds) = (fields.next()?, fields.next()?, fields.next()?);
    let passed = verdict == "passed";
    Some(Stage {
        name: name.to_owned(),
        passed: u64::from(passed),
        failed: u64::from(!passed),
        seconds: seconds.parse().ok()?,
    })
}

/// Waits for the lab. Ctrl-C is the lab's to handle: it must have the time to clean up. When this program is killed,
/// the lab is told to end.
fn supervise(command: &mut Command) -> Result<bool> {
    let mut lab = Command::new("setpriv");
    lab.args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    interrupt.thread_block().context("cannot block signals")?;
    let status = lab.status();
    interrupt.thread_unblock().context("cannot unblock signals")?;
    Ok(status.context("cannot start the lab")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_nextest() {
        let line =
            "     Summary [   1.234s] 57 tests run: 55 passed (1 slow), 1 failed, 1 timed out, 2 skipped";
        assert_eq!(summary(line), Some((55, 2)));
        assert_eq!(
            summary("     Summary [   0.010s] 3 tests run: 3 passed, 0 skipped"),
            Some((3, 0))
        );
        assert_eq!(
            summary("     Summary [   0.1s] 9/12 tests run: 8 passed, 1 failed, 0 skipped"),
            Some((8, 1))
        );
        assert_eq!(summary("        PASS [   0.010s] image frame"), None);
    }
}
