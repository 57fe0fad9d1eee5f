//! Faults that strike at one place, from some moment on, a number of times.

use std::{ops::Range, time::Duration};

use crate::target::Operation;

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// It fails with this `errno`. For a write that is what the kernel answers, so `EINTR` and `EAGAIN` have it made
    /// again.
    Errno(i32),
    /// The kernel takes only so many bytes of a write, rounded down to sectors and at least one.
    Short(usize),
    /// It takes this long, and is done then.
    Stall(Duration),
    /// It succeeds, with one bit of the byte at the place of the rule turned.
    Flip,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What is asked of the disk.
    pub operation: Operation,
    /// The byte that must be touched by it. Flushes touch all.
    pub place: u64,
    /// So many operations pass unharmed first, ...
    pub skip: u32,
    /// ... and so many are struck then.
    pub times: u32,
    /// What happens.
    pub fault: DiskFault,
}

/// All rules, and what they did.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    fired: Vec<Rule>,
}

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn fired(&self) -> &[Rule] {
        &self.fired
    }

    /// The rule that strikes this operation, if any does. The first of several is counted alone.
    pub(super) fn strike(&mut self, operation: Operation, range: &Range<u64>) -> Option<Rule> {
        for rule in &mut self.rules {
            if rule.operation != operation || !range.contains(&rule.place) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            self.fired.push(*rule);
            return Some(*rule);
        }
        None
    }
}
