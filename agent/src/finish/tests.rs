//! The steps on a real loop device, with both sector sizes. Needs root, loop devices and mkfs.ext4; where the machine
//! has none of them there is nothing to try.

use std::{fs, os::unix::fs::FileExt as _, process::Command};

use imprint_proto::agent::v1::{CloudInitSeed, GuestPlan};

use super::*;

pub(crate) const MIB: u64 = 1 << 20;

const CAP_SYS_RESOURCE: u32 = 24;

/// ext4 asks for more than root to grow: some containers take it away.
pub(crate) fn may_grow_ext4() -> bool {
    has_capability(CAP_SYS_RESOURCE)
}

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> number & 1 == 1
}

pub(crate) struct Loop(pub(crate) String);

impl Drop for Loop {
    fn drop(&mut self) {
        assert!(
            Command::new("losetup")
                .args(["-d", &self.0])
                .status()
                .unwrap()
                .success()
        );
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// The folder of unpacked packages that `cargo xtask network-tools` makes; none where it was not made.
pub(crate) fn unpacked() -> Option<PathBuf> {
    let root = std::env::var_os("IMPRINT_NETWORK_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/network-tools"),
        PathBuf::from,
    );
    let there = root.join("sbin/lvm").exists();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask network-tools` makes it",
        root.display()
    );
    there.then(|| root.canonicalize().unwrap())
}

/// A folder with programs of the unpacked packages that find their libraries there.
pub(crate) fn tool_folder(folder: &Path, programs: &[&str]) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;

    let root = unpacked()?;
    let tools = folder.join("tools");
    fs::create_dir_all(&tools).unwrap();
    let libraries = ["lib", "usr/lib"]
        .map(|lib| format!("{}/{lib}/{}-linux-gnu", root.display(), std::env::consts::ARCH));
    for program in programs {
        let path = tools.join(Path::new(program).file_name()?);
        let script = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH={} exec {} \"$@\"\n",
            libraries.join(":"),
            root.join(program).display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    Some(tools)
}

/// A partition of a disk for tests.
pub(crate) struct Part<'a> {
    pub(crate) number: u32,
    pub(crate) kind: [u8; 16],
    pub(crate) unique: [u8; 16],
    pub(crate) first_mib: u64,
    pub(crate) mib: u64,
    /// A file with what lies there; an empty path: nothing.
    pub(crate) content: &'a Path,
}

impl<'a> Part<'a> {
    /// One of no known type whose GUID is its number.
    pub(crate) fn new(number: u8, first_mib: u64, mib: u64, content: &'a Path) -> Self {
        Self {
            number: number.into(),
            kind: [4; 16],
            unique: [number; 16],
            first_mib,
            mib,
            content,
        }
    }
}

/// A disk on a loop device, `sizes` MiB: those of the image, whose GPT ends there, and those of the disk.
pub(crate) fn gpt_disk(
    path: &Path,
    sector: u64,
    sizes: (u64, u64),
    parts: &[Part<'_>],
) -> Option<(Loop, WrittenDisk)> {
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.set_len(sizes.0 * MIB).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut file, sector).unwrap();
    let mut gpt = gptman::GPT::new_from(&mut file, sector, [0xd1; 16]).unwrap();
    for part in parts {
        gpt[part.number] = gptman::GPTPartitionEntry {
            partition_type_guid: part.kind,
            unique_partition_guid: part.unique,
            starting_lba: part.first_mib * MIB / sector,
            ending_lba: (part.first_mib + part.mib) * MIB / sector - 1,
            attribute_bits: 0,
            partition_name: "".into(),
        };
        if !part.content.as_os_str().is_empty() {
            let content = fs::read(part.content).unwrap();
            file.write_all_at(&content, part.first_mib * MIB).unwrap();
        }
    }
    gpt.write_into(&mut file).unwrap();
    file.set_len(sizes.1 * MIB).unwrap();
    let sector_bytes = sector.to_string();
    let device = Loop(run(
        "losetup",
        &["--find", "--show", "-P", "-b", &sector_bytes, path.to_str()?],
    )?);
    // The device may have been write-protected by whoever used it before; that outlives a detachment.
    run("blockdev", &["--setrw", &device.0])?;
    let written = WrittenDisk {
        name: device.0.strip_prefix("/dev/")?.to_owned(),
        sector_bytes: sector,
        size_bytes: sizes.1 * MIB,
    };
    Some((device, written))
}

/// A file of `mib` MiB with an ext4 that has the files of a folder.
pub(crate) fn ext4(path: &Path, mib: u64, tree: &Path, more: &[&str]) -> Option<()> {
    fs::File::create(path).unwrap().set_len(mib * MIB).unwrap();
    let mut arguments = vec!["-q"];
    arguments.extend(more);
    arguments.extend(["-d", tree.to_str()?, path.to_str()?]);
    run("mkfs.ext4", &arguments).map(|_| ())
}

/// A disk of 96 MiB with an image of 40 MiB on it: GPT, one ext4 partition with something like a root inside.
pub(crate) fn disk(folder: &Path, sector: u64) -> Option<(Loop, PathBuf)> {
    let (tree, partition, image) = (folder.join("tree"), folder.join("ext4"), folder.join("image"));
    for path in ["etc/ssh", "usr/lib/systemd", "usr/bin", "var/lib", "opt"] {
        fs::create_dir_all(tree.join(path)).unwrap();
    }
    for (path, text) in [
        ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian test\"\n"),
        ("etc/machine-id", "0123\n"),
        ("etc/ssh/ssh_host_rsa_key", "k"),
        ("usr/lib/systemd/systemd", ""),
        ("usr/bin/cloud-init", ""),
    ] {
        fs::write(tree.join(path), text).unwrap();
    }
    ext4(&partition, 32, &tree, &["-b", "4096"])?;
    let parts = [Part::new(1, 1, 32, &partition)];
    let (device, _) = gpt_disk(&image, sector, (40, 96), &parts)?;
    Some((device, image))
}

#[test]
fn finishes_a_copy_on_a_loop_device_and_a_second_time() {
    for sector in [512, 4096] {
        let folder = tempfile::tempdir().unwrap();
        let Some((device, _image)) = disk(folder.path(), sector) else {
            return;
        };
        let name = device.0.strip_prefix("/dev/").unwrap().to_owned();
        let places = Places {
            mounts: folder.path().join("mnt"),
            guest: folder.path().join("guest"),
            ..Places::below(Path::new("/"), folder.path())
        };
        fs::create_dir_all(&places.guest).unwrap();
        fs::write(places.guest.join("imprint-guest"), "ELF").unwrap();
        let written = WrittenDisk {
            name,
            sector_bytes: sector,
            size_bytes: 96 * MIB,
        };
        let plan = FinishPlan {
            grow_root: true,
            seed: Some(CloudInitSeed {
                meta_data: b"instance-id: x\n".to_vec(),
                ..CloudInitSeed::default()
            }),
            guest: Some(GuestPlan::default()),
            ..FinishPlan::default()
        };
        let traces = guest::Traces {
            deployment_id: "D".into(),
            image_name: "i".into(),
            image_digest: "d".into(),
            disk: "s".into(),
            started_at: String::new(),
            finished_at: String::new(),
            steps: vec![],
        };
        for round in 0..2 {
            let (layout, done) = partitions(&places, &written, &plan)
                .unwrap_or_else(|error| panic!("{sector} round {round}: {error:?}"));
            assert_eq!(layout.profile.name, "Debian test");
            assert_eq!(layout.root.size_bytes, 94 * MIB, "{sector}: {}", done.detail);
            assert_eq!(
                done.detail.contains("backup GPT moved"),
                round == 0,
                "{}",
                done.detail
            );
            let may_grow = may_grow_ext4();
            assert_eq!(done.notes.is_empty(), may_grow, "{:?}", done.notes);
            seed(&places, &layout, &plan).unwrap();
            guest(&places, &layout, &plan, &traces).unwrap();
            with_root(&places, &layout, |root| {
                assert_eq!(root.read("etc/machine-id", 100)?.unwrap(), b"");
                assert_eq!(root.kind("etc/ssh/ssh_host_rsa_key")?, None);
                assert!(root.kind("opt/imprint/imprint-guest")?.is_some());
                Ok(Done::default())
            })
            .unwrap();
            let mount = mount_root(&places, &layout).unwrap();
            let blocks = nix::sys::statvfs::statvfs(mount.point()).unwrap();
            assert!(
                !may_grow || blocks.blocks() * blocks.fragment_size() > 80 * MIB,
                "the ext4 fills its partition"
            );
            unmount(mount).unwrap();
            clear_mounts(&places).unwrap();
        }
        let (text, done) = match places.sys.join("firmware/efi").is_dir() {
            true => continue,
            false => {
                let layout = find_layout(&places, &written).unwrap();
                boot_entry(&places, &written, &layout, &plan, &[]).unwrap()
            }
        };
        assert!(text.is_empty() && done.detail.starts_with("BIOS"));
    }
}
