//! With Debian's program on loop devices. The kernel of the machine that runs the tests may have no device mapper, and its
//! own volumes are not to be touched: a program in front of the real one answers activation with loop devices that begin
//! where the volume does. What device mapper itself does is shown in the lab.

use std::{
    env,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
};

use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan, GuestPlan};

use super::*;
use crate::finish::{
    self, FinishError, WrittenDisk, clear_mounts, erase_secrets, find_layout, guest, partitions, seed,
    tests::{Loop, MIB, Part, ext4, gpt_disk, may_grow_ext4, unpacked},
};

/// The program and the folder of its libraries; none where it is not unpacked.
fn program() -> Option<(PathBuf, PathBuf)> {
    let root = unpacked()?;
    let program = root.join("sbin/lvm");
    let libraries = format!("lib/{}-linux-gnu", env::consts::ARCH);
    Some((
        program.canonicalize().ok()?,
        root.join(libraries).canonicalize().ok()?,
    ))
}

struct Machine {
    places: Places,
    group: String,
    /// What the program was asked to do.
    log: PathBuf,
    written: WrittenDisk,
    _device: Loop,
}

const STAND_IN: &str = r#"#!/bin/sh
export LD_LIBRARY_PATH=LIBRARIES LVM_SYSTEM_DIR=FOLDER/etc
echo "$@" >> FOLDER/log
case "$1" in
lvchange)
    while [ "$1" != --ignoreactivationskip ]; do [ "$1" = --devices ] && device=$2; shift; done
    shift
    for name; do
        set -- $(PROGRAM lvs --driverloaded n --devices "$device" --config 'devices{use_devicesfile=0}' --noheadings \
            --units b --nosuffix -o lv_size,seg_pe_ranges,lv_dm_path "$name")
        [ $# = 3 ] || exit 5
        range=${2##*:}
        loop=$(losetup --find --show -o $((1048576 + ${range%-*} * 4194304)) --sizelimit "$1" "$device") || exit 5
        blockdev --setrw "$loop"
        ln -s "$loop" "FOLDER$3"
    done
    ;;
vgchange)
    for link in FOLDER/dev/mapper/*; do
        [ -L "$link" ] || continue
        loop=$(readlink "$link")
        if grep -q "^$link " /proc/mounts; then echo "$loop is in use" >&2; exit 5; fi
        losetup -d "$loop" && rm "$link" || exit 5
    done
    ;;
*) exec PROGRAM "$@" --driverloaded n ;;
esac
"#;

/// A disk of 96 MiB: /boot of 8 MiB, and 45 MiB of a group with swap, /var and the root.
fn machine(folder: &Path) -> Option<Machine> {
    let (program, libraries) = program()?;
    let group = format!("t{}-{}", std::process::id(), folder.file_name()?.len());
    let put = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for path in [
        "root/usr/bin",
        "root/var",
        "root/opt",
        "var/lib",
        "var/log",
        "boot",
        "etc",
        "dev/mapper",
        "tools",
    ] {
        fs::create_dir_all(folder.join(path)).unwrap();
    }
    put(
        "root/etc/fstab",
        &format!(
            "/dev/mapper/{}-root / ext4\n/dev/{group}/v-ar /var ext4\nLABEL=b /boot ext4\n",
            group.replace('-', "--")
        ),
    );
    put(
        "root/etc/os-release",
        "ID=debian\nPRETTY_NAME=\"Debian on LVM\"\n",
    );
    put("root/usr/lib/systemd/systemd", "");
    put("root/usr/bin/cloud-init", "");
    put("var/lib/systemd/random-seed", "builder");
    put(
        "boot/grub/grub.cfg",
        "linux /vmlinuz root=/dev/mapper/x resume=PARTUUID=02020202-0202-0202-0202-020202020202\n",
    );
    let at = |name: &str| folder.join(name);
    ext4(&at("boot.img"), 8, &at("boot"), &["-L", "b"])?;
    ext4(&at("var.img"), 12, &at("var"), &[])?;
    ext4(&at("root.img"), 20, &at("root"), &["-b", "4096"])?;
    let (boot, nothing) = (at("boot.img"), PathBuf::new());
    let parts = [Part::new(1, 1, 8, &boot), Part::new(2, 9, 45, &nothing)];
    let (device, written) = gpt_disk(&at("image"), 512, (56, 96), &parts)?;
    // A kernel that was built without the table's format is told of its partitions.
    let mut disk = fs::File::open(&device.0).unwrap();
    let table = finish::table::read(&mut disk, 512).unwrap();
    finish::settle::wait(&Places::below(Path::new("/"), folder), &written, &disk, &table).unwrap();
    let second = format!("{}p2", device.0);
    let lvm = |command: &str, own: &[&str]| {
        let common = [
            command,
            "--driverloaded",
            "n",
            "--devices",
            &second,
            "--config",
            "devices{use_devicesfile=0}",
        ];
        let output = std::process::Command::new(&program)
            .args(common.iter().chain(own))
            .env("LD_LIBRARY_PATH", &libraries)
            .env("LVM_SYSTEM_DIR", at("etc"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    lvm("pvcreate", &[&second]);
    lvm("vgcreate", &[&group, &second]);
    for (name, size) in [("swap", "4M"), ("v-ar", "12M"), ("root", "20M")] {
        lvm("lvcreate", &["-an", "-Zn", "-Wn", "-L", size, "-n", name, &group]);
    }
    let partition = fs::File::options().write(true).open(&second).unwrap();
    for (file, extents) in [("var.img", 1), ("root.img", 4)] {
        let content = fs::read(at(file)).unwrap();
        partition.write_all_at(&content, MIB + extents * 4 * MIB).unwrap();
    }
    partition.sync_all().unwrap();
    for number in 1..=2 {
        let name = format!("{}p{number}", written.name);
        symlink(Path::new("/dev").join(&name), at("dev").join(&name)).unwrap();
    }
    symlink(&device.0, at("dev").join(&written.name)).unwrap();
    let script = STAND_IN
        .replace("PROGRAM", program.to_str()?)
        .replace("LIBRARIES", libraries.to_str()?)
        .replace("FOLDER", folder.to_str()?);
    put("tools/lvm", &script);
    fs::set_permissions(at("tools/lvm"), fs::Permissions::from_mode(0o755)).unwrap();
    let places = Places {
        dev: at("dev"),
        mounts: at("state/mnt"),
        guest: at("guest"),
        tools: at("tools"),
        ..Places::below(Path::new("/"), folder)
    };
    put("guest/imprint-guest", "ELF");
    Some(Machine {
        places,
        group,
        log: at("log"),
        written,
        _device: device,
    })
}

impl Machine {
    fn active(&self) -> usize {
        fs::read_dir(self.places.dev.join("mapper")).unwrap().count()
    }
}

#[test]
fn a_root_on_lvm_is_found_grown_and_finished() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = machine(folder.path()) else {
        return;
    };
    let (places, written) = (&machine.places, &machine.written);
    let plan = FinishPlan {
        grow_root: true,
        seed: Some(CloudInitSeed {
            user_data: b"#cloud-config\n".to_vec(),
            ..CloudInitSeed::default()
        }),
        guest: Some(GuestPlan::default()),
        ..FinishPlan::default()
    };
    for round in 0..2 {
        let (layout, done) = partitions(places, written, &plan).unwrap();
        assert_eq!(machine.active(), 0, "nothing stays active");
        assert_eq!(layout.profile.name, "Debian on LVM");
        assert_eq!(layout.root_volume(), Some(format!("{}/root", machine.group)));
        assert_eq!(layout.root_partitions(), [2]);
        assert_eq!(layout.extras[0].point, "var", "named by its device file");
        // 86 MiB of a partition, 1 MiB of them LVM's, in extents of 4 MiB; swap and /var have 16.
        assert_eq!(layout.root.size_bytes, (84 - 16) * MIB, "{done:?}");
        assert_eq!(
            round == 0,
            done.detail.contains("partition 2 grown to 86 MiB"),
            "{done:?}"
        );
        assert_eq!(
            round == 0,
            done.detail.contains("/root grown to 68 MiB"),
            "{done:?}"
        );
        let notes = done.notes.iter().any(|note| note.contains("could not be grown"));
        assert_eq!(notes, !may_grow_ext4(), "{done:?}");
        seed(places, &layout, &plan).unwrap();
        guest(places, &layout, &plan, &guest::Traces::default()).unwrap();
        let active = layout.activate(places).unwrap();
        assert_eq!(machine.active(), 3);
        let mount = finish::mount_root(places, &layout).unwrap();
        assert!(mount.point().join("opt/imprint/imprint-guest").exists());
        assert!(fs::read_dir(mount.point().join("var")).unwrap().next().is_none());
        let blocks = nix::sys::statvfs::statvfs(mount.point()).unwrap();
        assert!(!may_grow_ext4() || blocks.blocks() * blocks.fragment_size() > 50 * MIB);
        finish::unmount(mount).unwrap();
        active.end().unwrap();
        assert_eq!(machine.active(), 0);
    }
    // What is on the boot partition follows the table, and the identifiers of LVM stay.
    let layout = find_layout(places, written).unwrap();
    let mount = finish::mount_node(
        &places.mounts.join("probe"),
        &layout.partitions[0],
        layout.system,
        None,
        true,
    )
    .unwrap();
    let text = fs::read_to_string(mount.point().join("grub/grub.cfg")).unwrap();
    finish::unmount(mount).unwrap();
    assert!(!text.contains("02020202"), "{text}");
    assert!(erase_secrets(places, written).unwrap() > 0);
    // The program saw this disk and no other.
    let log = fs::read_to_string(&machine.log).unwrap();
    let devices: Vec<_> = log
        .split("--devices ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let ours = format!("/dev/{}p2", written.name);
    assert!(
        devices.len() > 10 && devices.iter().all(|device| *device == ours),
        "{devices:?}"
    );
    assert!(log.lines().all(|line| line.contains("--devices ")), "{log}");
}

#[test]
fn what_a_killed_agent_left_active_is_put_out() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = machine(folder.path()) else {
        return;
    };
    let (places, written) = (&machine.places, &machine.written);
    let layout = find_layout(places, written).unwrap();
    let active = layout.activate(places).unwrap();
    let mount = finish::mount_root(places, &layout).unwrap();
    std::mem::forget((active, mount));
    assert_eq!(machine.active(), 3);
    assert!(
        matches!(clear(places), Err(ToolError::Refused { .. })),
        "it is mounted"
    );
    clear_mounts(places).unwrap();
    assert_eq!(machine.active(), 0);
    clear_mounts(places).unwrap();
}

#[test]
fn without_the_program_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut machine) = machine(folder.path()) else {
        return;
    };
    machine.places.tools = folder.path().join("nowhere");
    let error = find_layout(&machine.places, &machine.written).unwrap_err();
    assert!(matches!(error, FinishError::NoRoot { .. }), "{error:?}");
    assert!(error.to_string().contains("LVM (cannot start lvm pvs"), "{error}");
}

#[test]
fn groups_that_cannot_be_used_are_told() {
    let row = |pv: &str, group: &str, missing: &str, exported: &str| {
        format!(
            r#"{{"pv_name":"{pv}", "vg_name":"{group}", "vg_free":"4194304", "vg_missing_pv_count":"{missing}", "vg_exported":"{exported}"}}"#
        )
    };
    let report =
        |kind: &str, rows: &[String]| format!(r#"{{"report": [{{"{kind}": [{}]}}]}}"#, rows.join(","));
    let volume = |group: &str, name: &str, kind: &str| {
        format!(
            r#"{{"vg_name":"{group}", "lv_name":"{name}", "lv_dm_path":"/dev/mapper/{group}-{name}", "lv_size":"41943040", "segtype":"{kind}"}}"#
        )
    };
    let physical = report(
        "pv",
        &[
            row("/dev/nul1", "vg0", "0", ""),
            row("/dev/nul2", "half", "1", ""),
            row("[unknown]", "half", "1", ""),
            row("/dev/nul3", "away", "0", "exported"),
            row("/dev/nul4", "", "0", ""),
        ],
    );
    let logical = report(
        "lv",
        &[
            volume("vg0", "root", "linear"),
            volume("vg0", "root", "linear"),
            volume("vg0", "thin", "thin"),
            volume("half", "root", "linear"),
        ],
    );
    let devices: Vec<PathBuf> = (1..=4).map(|at| format!("/dev/nul{at}").into()).collect();
    let found = assemble(physical.as_bytes(), logical.as_bytes(), &devices, Path::new("/d")).unwrap();
    assert_eq!(found.groups.len(), 1);
    let group = &found.groups[0];
    assert_eq!((group.name.as_str(), group.free_bytes), ("vg0", 4 * MIB));
    assert_eq!(group.devices, [Path::new("/dev/nul1")]);
    let paths: Vec<_> = found.nodes().map(|node| (node.path, node.size_bytes)).collect();
    assert_eq!(paths, [("/d/mapper/vg0-root".into(), 40 * MIB)]);
    assert_eq!(
        found.refused,
        [
            "volume group half (1 of its physical volumes are on other disks)",
            "volume group away (it is exported)",
            "logical volume vg0/thin (thin)"
        ]
    );
    for bad in ["", "{}", r#"{"report": [{"pv": [{}]}]}"#] {
        assert!(assemble(bad.as_bytes(), logical.as_bytes(), &devices, Path::new("/d")).is_err());
    }
}
