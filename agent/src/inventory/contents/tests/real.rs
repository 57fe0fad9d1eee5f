//! What real tools wrote (`agent/tests/fixtures/disks`, its README names them): found, told as libblkid tells it, and kept
//! from being written.

use std::{collections::BTreeSet, fs, path::PathBuf};

use imprint_hardware::{
    disk::{DiskRule, ForeignSystems, Policy, choose},
    facts,
};

use super::*;

const BLKID: &str = include_str!("../../../../tests/fixtures/disks/blkid.tsv");
/// Kinds that a lost disk takes more with it of than its own bytes.
const MEMBERS: [(&str, &str); 9] = [
    ("lvm-pv", "lvm-member"),
    ("md-raid", "raid-member"),
    ("ddf", "raid-member"),
    ("imsm", "raid-member"),
    ("zfs", "zfs-member"),
    ("gfs2", "shared-file-system"),
    ("ocfs2", "shared-file-system"),
    ("bcache", "group-member"),
    ("drbd", "group-member"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disks")
}

/// Unfolds a fixture: its length, then runs of a place, a length and bytes; everything else is zeroes.
fn unfolded(name: &str) -> Image {
    let packed = fs::File::open(folder().join(format!("{name}.zst"))).unwrap();
    let folded = zstd::decode_all(packed).unwrap();
    let (size, mut rest) = folded.split_first_chunk::<4>().unwrap();
    let image = Image::new(u32::from_le_bytes(*size).into());
    while let Some((place, more)) = rest.split_first_chunk::<4>() {
        let (length, more) = more.split_first_chunk::<2>().unwrap();
        let (run, more) = more.split_at(u16::from_le_bytes(*length).into());
        image.put(u32::from_le_bytes(*place).into(), run);
        rest = more;
    }
    image
}

struct Line {
    name: &'static str,
    kind: &'static str,
    label: &'static str,
    uuid: &'static str,
}

fn lines() -> impl Iterator<Item = Line> {
    BLKID.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, kind, _version, label, uuid] = fields[..] else {
            panic!("{line}")
        };
        let told = |field: &'static str| if field == "-" { "" } else { field };
        Line {
            name,
            kind: told(kind),
            label: told(label),
            uuid: told(uuid),
        }
    })
}

/// The name of a kind here, by libblkid's.
fn ours(kind: &str) -> &str {
    match kind {
        "LVM2_member" => "lvm-pv",
        "linux_raid_member" => "md-raid",
        "ddf_raid_member" => "ddf",
        "isw_raid_member" => "imsm",
        "zfs_member" => "zfs",
        "crypto_LUKS" => "luks",
        "DM_verity_hash" => "dm-verity",
        kind => kind,
    }
}

#[test]
fn what_real_tools_wrote_is_told_as_libblkid_tells_it() {
    for line in lines() {
        let found = unfolded(line.name).read();
        let names: Vec<_> = found.iter().map(|content| content.kind.as_str()).collect();
        let content = found
            .iter()
            .find(|content| content.kind == ours(line.kind))
            .unwrap_or_else(|| panic!("{}: {names:?}", line.name));
        let expected = if line.name == "lvm-partition" { 3 } else { 1 };
        assert_eq!(found.len(), expected, "{}: {found:?}", line.name);
        assert_eq!(
            content.role == "member",
            MEMBERS.iter().any(|member| member.0 == content.kind) || line.name == "btrfs-on-two",
            "{content:?}"
        );
        // Labels in the root folder or in descriptors of their own are not read, nor what is no id of the format.
        if !["ntfs", "exfat", "udf"].contains(&line.kind) {
            let told = match content.kind.as_str() {
                "md-raid" | "zfs" => &content.group,
                _ => &content.label,
            };
            let told = if content.kind == "gfs2" || content.kind == "ocfs2" {
                &content.group
            } else {
                told
            };
            assert_eq!(told, line.label, "{content:?}");
        }
        if !["iso9660", "udf", "ufs", "zfs_member", "ddf_raid_member"].contains(&line.kind) {
            assert_eq!(content.uuid, line.uuid, "{content:?}");
        }
    }
    for (name, group) in [
        ("lvm-disk", "keep-vg"),
        ("lvm-no-group", ""),
        ("lvm-partition", "keep-part"),
    ] {
        let found = unfolded(name).read();
        let content = found.iter().find(|content| content.role == "member").unwrap();
        assert_eq!(content.group, group, "{name}");
        assert_eq!(content.partition, (name == "lvm-partition").then_some(2));
    }
}

#[test]
fn no_disk_that_real_tools_wrote_is_taken_unless_its_wipe_is_asked_for() {
    let rule: DiskRule = "serial=KEPT".parse().unwrap();
    for line in lines() {
        let image = unfolded(line.name);
        let wire = imprint_proto::agent::v1::Inventory {
            disks: vec![Disk {
                kernel_name: "sda".to_owned(),
                serial: "KEPT".to_owned(),
                size_bytes: image.size,
                logical_sector_bytes: 512,
                contents: image.read(),
                contents_read: true,
                ..Disk::default()
            }],
            ..Default::default()
        };
        let disks = facts::Inventory::from(wire).disks;
        let kind = ours(line.kind);
        let member = match MEMBERS.iter().find(|member| member.0 == kind) {
            Some((_, code)) => Some(*code),
            None => (line.name == "btrfs-on-two").then_some("group-member"),
        };
        for foreign_systems in [ForeignSystems::Warn, ForeignSystems::Refuse] {
            let policy = |wipe: &[&str]| Policy {
                wipe: wipe.iter().map(|name| (*name).to_owned()).collect(),
                foreign_systems,
                ..Policy::default()
            };
            let refuses = foreign_systems == ForeignSystems::Refuse;
            let code = member.or(refuses.then_some("foreign-data"));
            for wrong in [&[][..], &["sda"], &["KEPT2"]] {
                let codes: BTreeSet<_> = match choose(&rule, None, &policy(wrong), &disks) {
                    Ok(choice) => {
                        let warned = &choice.verdicts[0].warnings;
                        assert!(
                            warned.iter().any(|reason| reason.code == "foreign-data"),
                            "{}: {warned:?}",
                            line.name
                        );
                        BTreeSet::new()
                    }
                    Err(error) => error.verdicts[0]
                        .reasons
                        .iter()
                        .map(|reason| reason.code)
                        .collect(),
                };
                assert_eq!(codes, code.into_iter().collect(), "{}", line.name);
            }
            let wiped = policy(&["KEPT"]);
            let choice =
                choose(&rule, None, &wiped, &disks).unwrap_or_else(|error| panic!("{}: {error}", line.name));
            assert_eq!(choice.disk.serial, "KEPT");
        }
    }
}

#[test]
fn every_fixture_is_in_the_table() {
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".zst").map(str::to_owned)
        })
        .collect();
    let listed: BTreeSet<String> = lines().map(|line| line.name.to_owned()).collect();
    assert_eq!(there, listed);
}
