//! What forbids to write a disk, whatever the rule says, and what of it an operator may lift by name.

use super::{
    choose::{Needs, natural},
    fact::Fact,
    rule::DiskRule,
};
use crate::{
    facts::{Content, Disk},
    reason::Reason,
};

/// What to do with a disk that holds partitions or file systems of somebody else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignSystems {
    /// Say so and go on.
    #[default]
    Warn,
    /// Leave the disk alone, unless its wipe is asked for.
    Refuse,
}

/// What a deployment may do to disks that are not blank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Disks whose content may go: serial number, WWN, NGUID, EUI-64 or volume id of each.
    pub wipe: Vec<String>,
    /// [`identity`] of each disk that an earlier deployment of this node has written.
    pub own: Vec<String>,
    /// What to do with other systems' disks.
    pub foreign_systems: ForeignSystems,
}

/// The most stable name of a disk, as a condition of a rule; empty when it has none.
#[must_use]
pub fn identity(disk: &Disk) -> String {
    let facts = [
        (Fact::Wwn, &disk.wwn),
        (Fact::Nguid, &disk.nguid),
        (Fact::Serial, &disk.serial),
        (Fact::Path, &disk.by_path),
    ];
    facts
        .into_iter()
        .find(|(_, value)| !value.is_empty())
        .map(|(fact, value)| format!("{}={value}", fact.key()))
        .unwrap_or_default()
}

/// Whether a name of [`Policy::wipe`] is the disk's.
#[must_use]
pub fn is_named(disk: &Disk, name: &str) -> bool {
    [Fact::Serial, Fact::Wwn, Fact::Nguid, Fact::Eui64, Fact::Volume]
        .into_iter()
        .flat_map(|fact| fact.spellings(disk))
        .any(|spelling| spelling.eq_ignore_ascii_case(name.trim()))
}

/// What speaks against a disk, and what is to be known although it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub against: Vec<Reason>,
    pub warnings: Vec<Reason>,
}

/// Looks at one disk. `all`: every disk of the machine, among which a name must be the only one.
pub(super) fn look(
    disk: &Disk,
    all: &[Disk],
    rule: &DiskRule,
    needs: Option<Needs>,
    policy: &Policy,
) -> Findings {
    let mut found = Findings::default();
    users(disk, &mut found);
    paths(disk, all, rule, &mut found);
    device(disk, rule, &mut found);
    contents(disk, all, policy, &mut found);
    if let Some(needs) = needs {
        suits(disk, needs, &mut found);
    }
    found
}

fn users(disk: &Disk, found: &mut Findings) {
    let is_mount = |user: &&String| user.starts_with("mounted") || user.contains("swap");
    let (mounts, holders): (Vec<_>, Vec<_>) = disk.holders.iter().partition(|user| is_mount(user));
    let list = |users: Vec<&String>| {
        users
            .into_iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !mounts.is_empty() {
        found.against.push(Reason::new(
            "mounted",
            format!("in use ({})", list(mounts)),
            "The running system uses it; unmount it there or choose another disk.",
        ));
    }
    if !holders.is_empty() {
        found.against.push(Reason::new(
            "held",
            format!("in use ({})", list(holders)),
            "Stop the array, group or map that holds it, or choose another disk.",
        ));
    }
}

/// Two paths to one disk are one disk: it must be clear over which of them it is written.
fn paths(disk: &Disk, all: &[Disk], rule: &DiskRule, found: &mut Findings) {
    if !disk.multipath.is_empty() {
        found.against.push(Reason::new(
            "multipath-member",
            format!("a path of the multipath device {}", disk.multipath),
            "Disks behind dm-multipath are not written; give the server one path to its boot disk, or choose a local disk.",
        ));
        return;
    }
    let twin = all
        .iter()
        .filter(|other| {
            other.kernel_name != disk.kernel_name && !disk.wwn.is_empty() && other.wwn == disk.wwn
        })
        .min_by_key(|other| natural(&other.kernel_name));
    let Some(twin) = twin else {
        return;
    };
    let text = format!(
        "has the WWN of {} too: two paths to one disk, or a copy of its name",
        twin.kernel_name
    );
    if rule.asks_for_a_path() {
        found.warnings.push(Reason::new(
            "multipath-member",
            text,
            "The rule names the path; make sure that the other one is not used meanwhile.",
        ));
    } else {
        found.against.push(Reason::new(
            "multipath-member",
            text,
            "Name one of the paths with path=… or hctl=…, or choose another disk.",
        ));
    }
}

fn device(disk: &Disk, rule: &DiskRule, found: &mut Findings) {
    if disk.read_only {
        found.against.push(Reason::new(
            "read-only",
            "read-only",
            "Lift the write protection in the controller, the volume or the disk.",
        ));
    }
    if disk.removable {
        found.against.push(Reason::new(
            "removable",
            "removable",
            "A medium that can be taken out is never written; choose a disk that is built in.",
        ));
    }
    if disk.transport == "usb" && !disk.removable && !rule.asks_for_usb() {
        found.against.push(Reason::new(
            "usb-not-asked-for",
            "on USB, and the rule does not ask for transport=usb",
            "Add transport=usb to the rule if the disk is meant.",
        ));
    }
    if !disk.volume_id.is_empty() && !rule.asks_for_a_volume() {
        found.against.push(Reason::new(
            "volume",
            format!("the volume {} that the server is shown", disk.volume_id),
            "Deploy onto it with --volume if it is meant, or detach it.",
        ));
    }
    if let Some(health) = disk.health.as_ref().filter(|health| health.status == "failing") {
        found.warnings.push(Reason::new(
            "disk-failing",
            format!("says itself that it fails ({})", health.reasons.join(", ")),
            "Replace the disk before it takes a system with it.",
        ));
    }
}

/// Members of what other disks or other machines belong to: the code of the guard and the words for it.
fn member(content: &Content) -> Option<(&'static str, &'static str)> {
    Some(match content.kind.as_str() {
        "lvm-pv" => ("lvm-member", "an LVM physical volume"),
        "md-raid" => ("raid-member", "a member of a Linux RAID array"),
        "ddf" | "imsm" => ("raid-member", "a member of a firmware RAID array"),
        "zfs" => ("zfs-member", "a member of a ZFS pool"),
        "multipath" => ("multipath-member", "a path of a multipath device"),
        "ceph-osd" => ("ceph-member", "a store of Ceph"),
        "vmfs" => ("shared-file-system", "a VMFS datastore"),
        "gfs2" => ("shared-file-system", "a GFS2 file system"),
        "ocfs2" => ("shared-file-system", "an OCFS2 file system"),
        "gpfs" => ("shared-file-system", "a GPFS disk"),
        "oracle-asm" => ("shared-file-system", "an Oracle ASM disk"),
        "bcache" => ("group-member", "a part of a bcache"),
        "drbd" => ("group-member", "a disk that DRBD replicates"),
        "stratis" => ("group-member", "a member of a Stratis pool"),
        _ if content.role == "member" => ("group-member", "a member of a group of disks"),
        _ => return None,
    })
}

/// Where it is, and what: "partition 2 is an LVM physical volume of vg0".
fn told(content: &Content, what: &str) -> String {
    let place = match content.partition {
        Some(number) => format!("partition {number}"),
        None => "the disk".to_owned(),
    };
    let name = [&content.group, &content.label, &content.uuid]
        .into_iter()
        .find(|name| !name.is_empty())
        .map(|name| format!(" of {name}"))
        .unwrap_or_default();
    format!("{place} is {what}{name}")
}

fn contents(disk: &Disk, all: &[Disk], policy: &Policy, found: &mut Findings) {
    let contents = &disk.contents;
    if !disk.contents_read {
        found.warnings.push(Reason::new(
            "content-unknown",
            "nobody has looked at what is on it",
            "Boot the server into the ramdisk again; the agent looks before it writes.",
        ));
        return;
    }
    let mut guards = Vec::new();
    for content in contents {
        if let Some((code, what)) = member(content) {
            guards.push(Reason::new(code, told(content, what), ""));
        }
    }
    let own = policy.own.contains(&identity(disk)) && !identity(disk).is_empty();
    if guards.is_empty()
        && !own
        && let Some(reason) = foreign(contents)
    {
        match policy.foreign_systems {
            ForeignSystems::Refuse => guards.push(reason),
            ForeignSystems::Warn if !is_wiped(disk, policy) => found.warnings.push(reason),
            ForeignSystems::Warn => {}
        }
    }
    if guards.is_empty() {
        return;
    }
    let name = [&disk.serial, &disk.wwn, &disk.nguid]
        .into_iter()
        .find(|name| !name.is_empty());
    if is_wiped(disk, policy) {
        let named = |disk: &Disk| policy.wipe.iter().any(|name| is_named(disk, name));
        let clear = policy.wipe.iter().any(|name| {
            is_named(disk, name) && all.iter().filter(|other| is_named(other, name)).count() == 1
        });
        if clear {
            let what = guards.iter().map(|guard| guard.text.as_str()).collect::<Vec<_>>();
            found.warnings.push(Reason::new(
                "wiped",
                format!("is wiped because its name was given, though {}", what.join(", ")),
                "",
            ));
            return;
        }
        let mut others: Vec<_> = all
            .iter()
            .filter(|other| named(other))
            .map(|other| other.kernel_name.as_str())
            .collect();
        others.sort_by_key(|name| natural(name));
        guards.push(Reason::new(
            "wipe-ambiguous",
            format!("the name given for the wipe is that of {}", others.join(" and ")),
            "Give a name that no other disk has: the WWN or the NGUID.",
        ));
    }
    let remedy = match name {
        Some(name) => format!(
            "Choose another disk, or let its content go with --wipe {name} (API: \"wipe\": [\"{name}\"])."
        ),
        None => "Choose another disk, or clear it by hand: it has no name to ask for its wipe by.".to_owned(),
    };
    for guard in &mut guards {
        if guard.remedy.is_empty() {
            guard.remedy.clone_from(&remedy);
        }
    }
    found.against.extend(guards);
}

fn is_wiped(disk: &Disk, policy: &Policy) -> bool {
    policy.wipe.iter().any(|name| is_named(disk, name))
}

/// File systems and systems of others; a bare partition table is nobody's.
fn foreign(contents: &[Content]) -> Option<Reason> {
    let names = |role: fn(&Content) -> bool| {
        let named = contents.iter().filter(|content| role(content)).map(on_it);
        named.collect::<Vec<_>>().join(", ")
    };
    let systems = names(|content| content.role == "system");
    let data = names(|content| content.role == "data");
    match (systems.as_str(), data.as_str()) {
        ("", "") => None,
        ("", data) => Some(Reason::new(
            "foreign-data",
            format!("holds data that this controller did not put there: {data}"),
            "",
        )),
        (systems, _) => Some(Reason::new(
            "foreign-system",
            format!("holds a system that this controller did not put there: {systems}"),
            "",
        )),
    }
}

/// "p2 ext4 rootfs"
pub(super) fn on_it(content: &Content) -> String {
    let mut words = Vec::new();
    words.extend(content.partition.map(|number| format!("p{number}")));
    words.push(content.kind.clone());
    for name in [&content.label, &content.group] {
        if !name.is_empty() {
            words.push(format!("\"{name}\""));
        }
    }
    words.join(" ")
}

fn suits(disk: &Disk, needs: Needs, found: &mut Findings) {
    if disk.size_bytes < needs.size_bytes {
        found.against.push(Reason::new(
            "too-small",
            format!(
                "too small: the image needs {} bytes, the disk has {}",
                needs.size_bytes, disk.size_bytes
            ),
            "Choose a larger disk or a smaller image.",
        ));
    }
    if disk.logical_sector_bytes != needs.logical_sector_bytes {
        found.against.push(Reason::new(
            "sector-size-differs",
            format!(
                "has sectors of {} bytes, the image was made for {}",
                disk.logical_sector_bytes, needs.logical_sector_bytes
            ),
            "Choose an image made for this sector size, or another disk.",
        ));
    }
}
