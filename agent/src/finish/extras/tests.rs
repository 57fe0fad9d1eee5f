use std::{fs, os::unix::fs::FileExt as _};

use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan, GuestPlan};

use super::*;
use crate::finish::{
    WrittenDisk, clear_mounts, erase_secrets, find_layout, guest, partitions, seed,
    tests::{Loop, MIB, Part, ext4, gpt_disk},
};

#[test]
fn lines_about_our_folders_are_read() {
    let fstab = "# UUID=1 /opt ext4\nUUID=2 / ext4 defaults 0 1\nUUID=5 /var/lib xfs\nUUID=3 /var btrfs \
                 rw,subvol=/@/var,noatime 0 0\n\nUUID=4 /boot ext4\ntmpfs /tmp tmpfs\nLABEL=u /usr/ ext4\n";
    let found = read_fstab(fstab);
    let shown: Vec<_> = found
        .iter()
        .map(|mount| {
            (
                mount.spec.as_str(),
                mount.point.as_str(),
                mount.subvolume.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("LABEL=u", "usr", None),
            ("UUID=3", "var", Some("/@/var")),
            ("UUID=5", "var/lib", None)
        ]
    );
}

const VAR: &str = "11111111-2222-4333-8444-000000000001";

/// Of a disk that stayed with the builder.
const GONE: &str = "99999999-2222-4333-8444-000000000001";

/// A root whose /usr and /var are file systems of their own, by label, UUID or what is given.
fn disk(folder: &Path, var: &str) -> Option<(Loop, WrittenDisk)> {
    let put = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for path in [
        "root/usr",
        "root/var",
        "root/opt",
        "usr/bin",
        "var/lib/cloud/data",
        "var/log",
    ] {
        fs::create_dir_all(folder.join(path)).unwrap();
    }
    put(
        "root/etc/fstab",
        &format!(
            "LABEL=r / ext4 defaults 0 1\nLABEL=u /usr ext4 defaults 0 2\n{var} /var ext4 defaults 0 2\nUUID={GONE} none swap sw 0 0\n\
             UUID={GONE} /srv xfs defaults 0 2\n"
        ),
    );
    put("root/etc/machine-id", "0123\n");
    put("usr/lib/os-release", "ID=debian\nPRETTY_NAME=\"Debian apart\"\n");
    put("usr/lib/systemd/systemd", "");
    put("usr/bin/cloud-init", "");
    put("var/lib/systemd/random-seed", "builder");
    std::os::unix::fs::symlink("../usr/lib/os-release", folder.join("root/etc/os-release")).unwrap();
    let image = folder.join("image");
    let at = |tree: &str| folder.join(format!("{tree}.img"));
    for (tree, more) in [("usr", ["-L", "u"]), ("var", ["-U", VAR]), ("root", ["-L", "r"])] {
        ext4(&at(tree), 16, &folder.join(tree), &more)?;
    }
    let (usr, var, root) = (at("usr"), at("var"), at("root"));
    let parts = [
        Part::new(1, 1, 16, &usr),
        Part::new(2, 17, 16, &var),
        Part::new(3, 33, 16, &root),
    ];
    gpt_disk(&image, 512, (64, 64), &parts)
}

fn places(folder: &Path) -> Places {
    let places = Places {
        mounts: folder.join("mnt"),
        guest: folder.join("guest"),
        ..Places::below(Path::new("/"), folder)
    };
    fs::create_dir_all(&places.guest).unwrap();
    fs::write(places.guest.join("imprint-guest"), "ELF").unwrap();
    places
}

#[test]
fn a_system_with_usr_and_var_apart_is_finished_where_it_looks() {
    for var in [
        format!("UUID={VAR}"),
        "PARTUUID=02020202-0202-0202-0202-020202020202".to_owned(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some((_device, written)) = disk(folder.path(), &var) else {
            return;
        };
        let places = places(folder.path());
        let plan = FinishPlan {
            seed: Some(CloudInitSeed {
                user_data: b"#cloud-config\n".to_vec(),
                ..CloudInitSeed::default()
            }),
            guest: Some(GuestPlan::default()),
            ..FinishPlan::default()
        };
        for _ in 0..2 {
            let (layout, _) = partitions(&places, &written, &plan).unwrap();
            assert_eq!(layout.profile.name, "Debian apart", "read from /usr");
            let points: Vec<_> = layout.extras.iter().map(|extra| extra.point.as_str()).collect();
            assert_eq!(points, ["usr", "var"]);
            seed(&places, &layout, &plan).unwrap();
            guest(&places, &layout, &plan, &guest::Traces::default()).unwrap();
            clear_mounts(&places).unwrap();
            let read = |number: u32, path: &str| {
                let node = layout
                    .partitions
                    .iter()
                    .find(|node| node.number == number)
                    .unwrap();
                let point = places.mounts.join("probe");
                let mount = mount_node(&point, node, FileSystem::Ext4, None, true).unwrap();
                let text = fs::read_to_string(mount.point().join(path)).ok();
                unmount(mount).unwrap();
                text
            };
            assert_eq!(
                read(2, "lib/cloud/seed/nocloud/user-data").as_deref(),
                Some("#cloud-config\n")
            );
            assert_eq!(read(2, "lib/systemd/random-seed"), None);
            assert!(read(2, "log/imprint-install.log").is_some());
            assert_eq!(read(3, "etc/machine-id").as_deref(), Some(""));
            // Another disk of the machine that runs the tests may be opaque; then nobody knows.
            let fstab = read(3, "etc/fstab").unwrap();
            let opaque = inventory::disks("/".as_ref()).iter().any(|disk| {
                disk.contents
                    .iter()
                    .any(|content| content.role == "member" || content.kind == "luks")
            });
            let swap = format!("\n# Not on this machine's disks: UUID={GONE} none swap");
            assert!(
                opaque || fstab.contains(&swap) && fstab.contains("/srv xfs defaults,nofail"),
                "{fstab}"
            );
            assert!(fstab.contains(" /var ext4 defaults 0 2"), "{fstab}");
            assert!(read(3, "opt/imprint/imprint-guest").is_some());
            assert_eq!(
                read(3, "var/log/imprint-install.log"),
                None,
                "nothing is below the mount"
            );
        }
        assert!(erase_secrets(&places, &written).unwrap() > 0);
    }
}

#[test]
fn what_cannot_be_found_is_refused_and_mounts_of_a_killed_agent_are_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_device, written)) = disk(folder.path(), "/dev/mapper/vg-var") else {
        return;
    };
    let places = places(folder.path());
    let error = partitions(&places, &written, &FinishPlan::default()).unwrap_err();
    assert!(error.to_string().contains("/var"), "{error}");
    assert!(!error.to_string().contains("/usr"), "{error}");

    let layout = find_layout(&places, &written).unwrap();
    let root = (&layout.root, layout.system, layout.subvolume);
    let tree = mount_tree(&places, "root", root, &layout.extras, true).unwrap();
    std::mem::forget(tree);
    clear_mounts(&places).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
}

/// What real tools made (`tests/fixtures/systems`), as a file, and its size.
pub(in crate::finish) fn content(folder: &Path, name: &str) -> (PathBuf, u64) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/systems/{name}.zst"));
    let folded = zstd::decode_all(fs::File::open(packed).unwrap()).unwrap();
    let (size, mut rest) = folded.split_first_chunk::<4>().unwrap();
    let size = u64::from(u32::from_le_bytes(*size));
    let content = folder.join("content");
    let file = fs::File::create_new(&content).unwrap();
    file.set_len(size).unwrap();
    while let Some((place, more)) = rest.split_first_chunk::<4>() {
        let (length, more) = more.split_first_chunk::<2>().unwrap();
        let (run, more) = more.split_at(u16::from_le_bytes(*length).into());
        file.write_all_at(run, u64::from(u32::from_le_bytes(*place)))
            .unwrap();
        rest = more;
    }
    (content, size)
}

/// It at 1 MiB of a disk with 7 MiB behind it.
fn disk_with(folder: &Path, name: &str) -> Option<(Loop, WrittenDisk, u64)> {
    let (content, size) = content(folder, name);
    let mib = size / MIB;
    let parts = [Part::new(1, 1, mib, &content)];
    let (device, written) = gpt_disk(&folder.join("image"), 512, (mib + 8, mib + 8), &parts)?;
    Some((device, written, size))
}

fn kernel_has(system: &str) -> bool {
    let systems = fs::read_to_string("/proc/filesystems").unwrap();
    systems.split_whitespace().any(|name| name == system)
}

fn full_plan() -> FinishPlan {
    FinishPlan {
        grow_root: true,
        seed: Some(CloudInitSeed::default()),
        guest: Some(GuestPlan::default()),
        ..FinishPlan::default()
    }
}

/// What SUSE and others do: one btrfs, the root and /var subvolumes of it.
#[test]
fn a_root_on_btrfs_with_var_as_a_subvolume_is_finished_where_it_looks() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_device, written, size)) = kernel_has("btrfs")
        .then(|| disk_with(folder.path(), "btrfs-subvolumes"))
        .flatten()
    else {
        return;
    };
    let (places, plan) = (places(folder.path()), full_plan());
    for _ in 0..2 {
        let (layout, done) = partitions(&places, &written, &plan).unwrap();
        assert_eq!(layout.profile.family.name, "suse");
        assert_eq!(layout.subvolume, Some("@"));
        let extras = layout.extras.iter();
        let found: Vec<_> = extras
            .map(|extra| (extra.point.as_str(), extra.subvolume.as_deref()))
            .collect();
        assert_eq!(found, [("home", Some("@home")), ("var", Some("/@var"))]);
        assert_eq!(layout.root.size_bytes, size + 6 * MIB, "{done:?}");
        seed(&places, &layout, &plan).unwrap();
        guest(&places, &layout, &plan, &guest::Traces::default()).unwrap();
        let point = places.mounts.join("probe");
        let mount = mount_node(&point, &layout.root, FileSystem::Btrfs, None, true).unwrap();
        let there = |path: &str| mount.point().join(path).exists();
        assert!(there("@var/lib/cloud/seed/nocloud/user-data") && there("@var/log/imprint-install.log"));
        assert!(!there("@var/lib/systemd/random-seed"));
        assert!(there("@/opt/imprint/imprint-guest") && !there("@/var/lib"));
        assert_eq!(fs::read(mount.point().join("@/etc/machine-id")).unwrap(), b"");
        unmount(mount).unwrap();
    }
}

/// What Red Hat and others do: XFS, and SELinux labels on every file.
#[test]
fn a_labelled_root_on_xfs_is_finished_and_stays_labelled() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_device, written, size)) = kernel_has("xfs")
        .then(|| disk_with(folder.path(), "xfs-labelled"))
        .flatten()
    else {
        return;
    };
    let (places, plan) = (places(folder.path()), full_plan());
    for _ in 0..2 {
        let (layout, done) = partitions(&places, &written, &plan).unwrap();
        assert_eq!(layout.profile.family.name, "enterprise linux");
        assert!(layout.profile.selinux);
        assert_eq!(layout.root.size_bytes, size + 6 * MIB, "{done:?}");
        seed(&places, &layout, &plan).unwrap();
        guest(&places, &layout, &plan, &guest::Traces::default()).unwrap();
        let point = places.mounts.join("probe");
        let mount = mount_node(&point, &layout.root, FileSystem::Xfs, None, true).unwrap();
        let at = |path: &str| mount.point().join(path);
        assert!(!at(".autorelabel").exists() && !at("etc/ssh/ssh_host_rsa_key").exists());
        for (path, kind) in [
            ("etc/machine-id", "machineid_t"),
            ("etc/imprint/guest.json", "etc_t"),
            ("etc/cloud/cloud.cfg.d/99-imprint.cfg", "etc_t"),
            ("opt/imprint", "usr_t"),
            ("opt/imprint/imprint-guest", "bin_t"),
            ("var/log/imprint-install.log", "var_log_t"),
            ("var/lib/cloud/seed/nocloud/user-data", "var_lib_t"),
        ] {
            let label = crate::sys::label::get(at(path).to_str().unwrap()).unwrap();
            let label = label.map(|label| String::from_utf8(label).unwrap());
            assert_eq!(label, Some(format!("system_u:object_r:{kind}:s0\0")), "{path}");
        }
        unmount(mount).unwrap();
    }
}
