//! External programs: argument lists, checked exit status, and their own words when they fail.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program quietly; its error output becomes the error.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a program and answers its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !done.status.success() {
        bail!(
            "{name} failed ({}): {}",
            done.status,
            tail(&String::from_utf8_lossy(&done.stderr), 20)
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a program whose output goes to a log file; the log's end becomes the error.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let name = name(command);
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let copy = file.try_clone().context("cannot share the log file")?;
    let status = command.stdin(Stdio::null()).stdout(file).stderr(copy).status();
    let status = status.with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        bail!("{name} failed ({status}):\n{}", tail(&text, 30));
    }
    Ok(())
}

/// Runs a program that talks to the operator itself.
pub fn run_visible(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
