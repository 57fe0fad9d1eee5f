//! Which disks of a server a rule names, and which it can be started from.

use crate::{disk::DiskRule, facts::Disk};

/// The disks that fulfil every condition of a rule, however many.
pub(crate) fn named<'a>(rule: &'a DiskRule, disks: &'a [Disk]) -> impl Iterator<Item = &'a Disk> {
    disks.iter().filter(|disk| rule.holds(disk))
}

/// The disks that a server can be started from: those of the rule, or all without one. Disks that are read-only or
/// removable are none, nor are those on USB unless the rule asks for them. Disks in use are among them: whether one may
/// be written is asked when a deployment names it.
#[must_use]
pub fn boot_disks<'a>(rule: Option<&DiskRule>, disks: &'a [Disk]) -> Vec<&'a Disk> {
    let usb = rule.is_some_and(DiskRule::asks_for_usb);
    let usable = disks
        .iter()
        .filter(|disk| !disk.read_only && !disk.removable && (usb || disk.transport != "usb"));
    usable
        .filter(|disk| rule.is_none_or(|rule| rule.holds(disk)))
        .collect()
}
