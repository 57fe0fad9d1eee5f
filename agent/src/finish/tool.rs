//! Programs of the ramdisk that know a format better than code of ours would: never one of an image, never a shell, each with
//! a deadline.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Longest answer that is read.
const LONGEST: u64 = 4 << 20;
/// Letters of a refusal that are told.
const TOLD: usize = 400;

/// A program did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there, or cannot be run.
    #[error("cannot start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It hangs, most likely in the disk.
    #[error("{program} has not ended within {seconds} s")]
    Slow {
        /// Its name.
        program: String,
        /// How long it had.
        seconds: u64,
    },
    /// It says no.
    #[error("{program} refuses: {said}")]
    Refused {
        /// Its name, with what it was to do.
        program: String,
        /// What it wrote.
        said: String,
    },
    /// It answers in a form that is not known.
    #[error("{program} answers what cannot be understood")]
    Answer {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Runs a program and gives back what it wrote. `task` is told in errors: "lvm pvs".
///
/// # Errors
/// When it is missing, refuses, or takes longer than `patience`, after which it is killed.
pub fn run<S: AsRef<OsStr>>(
    program: &Path,
    task: &str,
    arguments: &[S],
    patience: Duration,
) -> Result<Vec<u8>, ToolError> {
    run_with(program, task, arguments, patience, &[0])
}

/// The same for a program that ends well with other codes than 0, too.
///
/// # Errors
/// As [`run`].
pub fn run_with<S: AsRef<OsStr>>(
    program: &Path,
    task: &str,
    arguments: &[S],
    patience: Duration,
    good: &[i32],
) -> Result<Vec<u8>, ToolError> {
    let name = || task.to_owned();
    let start = |source| ToolError::Start {
        program: name(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([
            ("LC_ALL", "C"),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LVM_SUPPRESS_FD_WARNINGS", "1"),
        ])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let (both, ended) = mpsc::channel();
    let pipes = (child.stdout.take(), child.stderr.take());
    thread::spawn(move || {
        let errors = thread::spawn(move || bounded(pipes.1));
        let answer = bounded(pipes.0);
        let errors = errors.join().unwrap_or_default();
        // Nobody listens any more when it took too long.
        both.send((answer, errors)).ok();
    });
    let Ok((answer, errors)) = ended.recv_timeout(patience) else {
        end(child);
        return Err(ToolError::Slow {
            program: name(),
            seconds: patience.as_secs(),
        });
    };
    let status = child.wait().map_err(start)?;
    if status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(answer);
    }
    Err(ToolError::Refused {
        program: name(),
        said: told(&errors, &status.to_string()),
    })
}

/// The arguments that every call has, and those of this one.
#[must_use]
pub fn arguments(common: &[&str], own: &[&str]) -> Vec<OsString> {
    common.iter().chain(own).map(OsString::from).collect()
}

fn bounded(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe
        && let Err(error) = pipe.take(LONGEST).read_to_end(&mut bytes)
    {
        tracing::warn!(%error, "cannot read what a program says");
    }
    bytes
}

/// One that waits for a disk ends when the disk answers; nobody waits for that.
fn end(mut child: Child) {
    if let Err(error) = child.kill() {
        tracing::warn!(%error, "cannot end a program");
    }
    thread::spawn(move || child.wait());
}

/// The end of what it wrote, on one line, without warnings.
fn told(errors: &[u8], status: &str) -> String {
    let text = String::from_utf8_lossy(errors);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("WARNING:"))
        .collect();
    if lines.is_empty() {
        return status.to_owned();
    }
    let all: Vec<char> = lines
        .join("; ")
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    all[all.len().saturating_sub(TOLD)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<Vec<u8>, ToolError> {
        run(Path::new("/bin/sh"), "sh", &["-c", script], patience)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn answers_and_refusals_are_told() {
        assert_eq!(sh("echo yes; echo WARNING: no >&2", LONG).unwrap(), b"yes\n");
        let error = sh(
            "printf '  WARNING: a\\n  Volume group \"x\" not found\\n  b\\n' >&2; exit 5",
            LONG,
        );
        let said = error.unwrap_err().to_string();
        assert_eq!(said, "sh refuses: Volume group \"x\" not found; b");
        let silent = sh("exit 3", LONG).unwrap_err().to_string();
        assert!(silent.contains("exit status: 3"), "{silent}");
        let none = run(Path::new("/nowhere/lvm"), "lvm", &["x"], LONG).unwrap_err();
        assert_eq!(none.to_string(), "cannot start lvm");
        let environment = String::from_utf8(sh("env", LONG).unwrap()).unwrap();
        assert!(!environment.contains("CARGO"), "{environment}");
    }

    #[test]
    fn one_that_hangs_is_ended_and_one_that_talks_is_bounded() {
        let error = sh("exec cat /dev/zero >&2 | sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ToolError::Slow { .. }), "{error}");
        let error = sh("exec yes", LONG).unwrap_err();
        assert!(matches!(error, ToolError::Refused { .. }), "{error}");
    }
}
