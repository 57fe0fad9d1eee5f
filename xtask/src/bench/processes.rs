//! What the kernel tells about processes and the machine.

use std::collections::HashMap;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// Processor time.
#[derive(Debug, Default, Clone, Copy)]
pub struct Times {
    /// Seconds in user space.
    pub user: f64,
    /// Seconds in the kernel.
    pub system: f64,
}

impl Times {
    /// Both.
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    /// What was spent since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

/// Processor time of a process, and of the children it has waited for. A process that has ended still tells until it
/// is waited for itself.
pub fn times(pid: u32) -> Times {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&text).unwrap_or_default()
}

/// The fields after the name, which itself may contain anything.
fn parse_stat(text: &str) -> Option<Times> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |index: usize| -> Option<f64> { Some(fields.get(index)?.parse::<f64>().ok()? / ticks()) };
    Some(Times {
        user: seconds(11)? + seconds(13)?,
        system: seconds(12)? + seconds(14)?,
    })
}

/// The part of a `stat` file that is about children.
pub fn children_times(text: &str) -> Option<Times> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Times {
        user: fields.get(13)?.parse::<f64>().ok()? / ticks(),
        system: fields.get(14)?.parse::<f64>().ok()? / ticks(),
    })
}

fn ticks() -> f64 {
    match sysconf(SysconfVar::CLK_TCK) {
        Ok(Some(ticks)) => ticks as f64,
        _ => 100.0,
    }
}

/// Processor time of a process and all that it has started and not waited for.
pub fn tree_times(root: u32) -> Times {
    tree(root)
        .into_iter()
        .map(times)
        .fold(Times::default(), Times::add)
}

/// A process and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// The largest memory that each process of a tree was seen to have, program and all.
#[derive(Debug, Default)]
pub struct Memory(HashMap<u32, u64>);

impl Memory {
    /// Looks at all processes of a tree.
    pub fn look(&mut self, root: u32) {
        for pid in tree(root) {
            if let Some(peak) = peak_kib(pid) {
                let entry = self.0.entry(pid).or_default();
                *entry = peak.max(*entry);
            }
        }
    }

    /// The sum of all peaks.
    pub fn kib(&self) -> u64 {
        self.0.values().sum()
    }
}

fn peak_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field_kib(&text, "VmHWM:")
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Pages that still have to be written somewhere.
pub fn dirty_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field_kib(&text, "Dirty:").unwrap_or_default() + field_kib(&text, "Writeback:").unwrap_or_default()
}

/// Seconds that all processors have spent in user space since the machine started.
pub fn machine_user() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else {
        return 0.0;
    };
    let ticked: f64 = line
        .split_whitespace()
        .skip(1)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticked / ticks()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a) b) (c) S 1 7 7 0 -1 0 0 0 0 0 250 50 100 25 20 0 1 0 5 0 0";
        let times = parse_stat(text).unwrap();
        let scale = 100.0 / ticks();
        assert!((times.user - 3.5 * scale).abs() < 1e-9);
        assert!((times.system - 0.75 * scale).abs() < 1e-9);
        assert!(parse_stat("7 (short) S 1").is_none());
    }

    #[test]
    fn this_process_is_in_its_own_tree_and_has_memory() {
        let mut memory = Memory::default();
        memory.look(std::process::id());
        assert!(tree(std::process::id()).contains(&std::process::id()));
        assert!(memory.kib() > 500);
    }
}
