//! Runs scenarios, each in a process of its own with a network of its own and a limit on its time.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt;
use crate::lab::Parts;
use crate::process;
use crate::scenario::Scenario;
use crate::sys;

/// A scenario gets this many times its rough seconds before it counts as stuck.
const SLACK: u64 = 8;
/// Time to clean up after it was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// How a scenario ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// Whether it passed.
    pub passed: bool,
    /// What it took.
    pub seconds: u64,
}

/// Runs scenarios, `jobs` at a time.
pub fn run(scenarios: &[&'static Scenario], parts: &Parts, jobs: usize) -> Result<Vec<Outcome>> {
    let mut waiting = scenarios
        .iter()
        .copied()
        .collect::<std::collections::VecDeque<_>>();
    let mut running: Vec<Running> = Vec::new();
    let mut outcomes = Vec::new();
    let ended = loop {
        while running.len() < jobs.max(1) {
            let Some(scenario) = waiting.pop_front() else {
                break;
            };
            running.push(Running::start(scenario, parts)?);
        }
        if running.is_empty() {
            break Ok(());
        }
        let mut index = 0;
        while index < running.len() {
            match running[index].poll()? {
                Some(outcome) => {
                    outcomes.push(outcome);
                    running.remove(index);
                }
                None => index += 1,
            }
        }
        if let Err(error) = interrupt::pause(Duration::from_millis(100)) {
            break Err(error);
        }
    };
    for scenario in &mut running {
        scenario.stop()?;
    }
    ended.map(|()| outcomes)
}

/// The outcomes as lines of `name<TAB>passed|failed<TAB>seconds`, for the program that called the lab.
pub fn write_report(outcomes: &[Outcome], path: &Path) -> Result<()> {
    let mut text = Vec::new();
    for outcome in outcomes {
        let verdict = if outcome.passed { "passed" } else { "failed" };
        writeln!(text, "{}\t{verdict}\t{}", outcome.name, outcome.seconds)
            .context("cannot write the report")?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

struct Running {
    scenario: &'static Scenario,
    child: Child,
    start: Instant,
    told: bool,
}

impl Running {
    fn start(scenario: &'static Scenario, parts: &Parts) -> Result<Self> {
        let mut command = process::this_program();
        command
            .args(["scenario", scenario.name])
            .args(parts_arguments(parts))
            .stdin(Stdio::null());
        sys::tie_to_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", scenario.name))?;
        Ok(Self {
            scenario,
            child,
            start: Instant::now(),
            told: false,
        })
    }

    fn poll(&mut self) -> Result<Option<Outcome>> {
        if let Some(status) = self.child.try_wait().context("cannot wait for a scenario")? {
            let seconds = self.start.elapsed().as_secs();
            let passed = status.success();
            println!(
                "[{} {seconds:6}s] {}",
                self.scenario.name,
                if passed { "PASSED" } else { "FAILED" }
            );
            return Ok(Some(Outcome {
                name: self.scenario.name,
                passed,
                seconds,
            }));
        }
        let limit = Duration::from_secs(self.scenario.rough_seconds * SLACK);
        if self.start.elapsed() > limit && !self.told {
            println!(
                "[{}] more than {} s: stopped",
                self.scenario.name,
                limit.as_secs()
            );
            self.told = true;
            self.signal(Signal::SIGTERM)?;
        }
        if self.start.elapsed() > limit + LAST_WORDS {
            self.child.kill().context("cannot kill a scenario")?;
        }
        Ok(None)
    }

    fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let told = Instant::now();
        while told.elapsed() < LAST_WORDS {
            if self
                .child
                .try_wait()
                .context("cannot wait for a scenario")?
                .is_some()
            {
                return Ok(());
            }
            interrupt::grace(Duration::from_millis(50));
        }
        self.child.kill().context("cannot kill a scenario")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("process id out of range")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.scenario.name))
    }
}

/// The arguments that give another process of this program the same parts.
pub fn parts_arguments(parts: &Parts) -> Vec<std::ffi::OsString> {
    let mut arguments = Vec::new();
    for (name, path) in [
        ("--binaries", &parts.binaries),
        ("--ramdisk", &parts.ramdisk),
        ("--debian", &parts.image),
        ("--target", &parts.target),
    ] {
        arguments.extend([name.into(), path.into()]);
    }
    for (name, image) in &parts.variants {
        let mut variant = std::ffi::OsString::from(format!("{name}="));
        variant.push(image);
        arguments.extend(["--variant".into(), variant]);
    }
    arguments.extend(["--accel".into(), parts.accel.name().into()]);
    arguments
}
