//! The rounds: everybody once, then everybody again, so that whatever else the machine does hits all alike.

use anyhow::{Context, Result};

use super::arguments::Write;
use super::contender::{Contender, Group};
use super::lab::Lab;
use super::measure::{End, Measured};
use super::target::Content;

/// One run of one contender.
#[derive(Debug, Clone)]
pub struct Run {
    /// Whose.
    pub contender: Contender,
    /// In which round.
    pub round: usize,
    /// What was seen; nothing when it could not even start.
    pub outcome: Result<Done, String>,
}

/// A run that took place.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was seen.
    pub measured: Measured,
    /// What was on the disk afterwards, for those who write.
    pub content: Option<Content>,
}

impl Run {
    /// The run's figures, when it succeeded.
    pub fn done(&self) -> Option<&Done> {
        let done = self.outcome.as_ref().ok()?;
        (done.measured.end == End::Success).then_some(done)
    }

    /// Whether something of ours went wrong: what others do wrong is a result.
    pub fn is_fault(&self) -> bool {
        if self.contender.group == Group::Peer {
            return false;
        }
        match self.done() {
            Some(done) => done.content.is_some_and(|content| content != Content::Exact),
            None => true,
        }
    }
}

/// Runs all rounds.
pub fn run(lab: &Lab, options: &Write, chosen: &[Contender]) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for round in 0..options.runs() {
        let turn = round % chosen.len().max(1);
        // Nobody always comes after the same one.
        for contender in chosen[turn..].iter().chain(&chosen[..turn]) {
            if contender.group == Group::Peer && round >= options.peer_runs() {
                continue;
            }
            if let Some(program) = contender.program
                && let Err(reason) = lab.tools.peer(program)
            {
                if round == 0 {
                    runs.push(Run {
                        contender: *contender,
                        round,
                        outcome: Err(reason),
                    });
                }
                continue;
            }
            let done = one(lab, contender).with_context(|| format!("contender {}", contender.name))?;
            tell(round, options.runs(), contender, &done);
            runs.push(Run {
                contender: *contender,
                round,
                outcome: Ok(done),
            });
        }
    }
    Ok(runs)
}

/// One run: fresh disk, warm files, the program, the comparison.
pub fn one(lab: &Lab, contender: &Contender) -> Result<Done> {
    if contender.used_disk {
        lab.renew()?;
    }
    if let Some(form) = contender.form {
        lab.warm(form)?;
    }
    let mut command = (contender.command)(lab)?;
    let memory = Memory::make(lab, contender)?;
    if let Some(memory) = &memory {
        command.env("TMPDIR", &memory.0);
    }
    let mut measured = lab.measure(command)?;
    subtract_import(&mut measured);
    let content = if contender.writes && measured.end == End::Success {
        Some(lab.compare()?)
    } else {
        None
    };
    Ok(Done { measured, content })
}

/// The time in which Python reads its modules passes in a real ramdisk while the machine boots, so it does not count.
fn subtract_import(measured: &mut Measured) {
    let Some(said) = &measured.said else { return };
    if let (Some(wall), Some(cpu)) = (
        said["import_seconds"].as_f64(),
        said["import_cpu_seconds"].as_f64(),
    ) {
        measured.wall -= wall;
        measured.cpu.user = (measured.cpu.user - cpu).max(0.0);
        measured.first_write_ms = measured.first_write_ms.map(|at| at - wall * 1000.0);
        measured.data_ms = measured.data_ms.map(|at| at - wall * 1000.0);
    }
}

/// A folder in memory for who downloads everything first.
struct Memory(std::path::PathBuf);

impl Memory {
    fn make(lab: &Lab, contender: &Contender) -> Result<Option<Self>> {
        if contender.program != Some("ironic") {
            return Ok(None);
        }
        let folder = std::path::PathBuf::from(format!("/dev/shm/imprint-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {} for {}", folder.display(), lab.work.display()))?;
        Ok(Some(Self(folder)))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // It is memory; a later run removes what this one could not.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn tell(round: usize, rounds: usize, contender: &Contender, done: &Done) {
    let measured = &done.measured;
    let end = match &measured.end {
        End::Success => String::new(),
        End::Failed(why) => format!("  FAILED: {why}"),
        End::TimedOut => "  ended by the time limit".to_owned(),
    };
    let content = done.content.map(Content::text).unwrap_or_default();
    eprintln!(
        "  {}/{rounds} {:<20} {:7.2} s  cpu {:6.2} s  foreign {:.2}  {content}{end}",
        round + 1,
        contender.name,
        measured.wall,
        measured.cpu.total(),
        measured.foreign
    );
}
