//! The steps on a real loop device, with both sector sizes. Needs root, loop devices and mkfs.ext4; where the machine
//! has none of them there is nothing to try.

use std::{fs, os::unix::fs::FileExt as _, process::Command};

use imprint_proto::agent::v1::{CloudInitSeed, GuestPlan};

use super::*;

pub(crate) const MIB: u64 = 1 << 20;

const CAP_SYS_RESOURCE: u32 = 24;

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
    fs::File::create(&partition).unwrap().set_len(32 * MIB).unwrap();
    run(
        "mkfs.ext4",
        &["-q", "-b", "4096", "-d", tree.to_str()?, partition.to_str()?],
    )?;
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&image)
        .unwrap();
    file.set_len(40 * MIB).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut file, sector).unwrap();
    let mut gpt = gptman::GPT::new_from(&mut file, sector, [3; 16]).unwrap();
    gpt[1] = gptman::GPTPartitionEntry {
        partition_type_guid: [4; 16],
        unique_partition_guid: [5; 16],
        starting_lba: MIB / sector,
        ending_lba: 33 * MIB / sector - 1,
        attribute_bits: 0,
        partition_name: "root".into(),
    };
    gpt.write_into(&mut file).unwrap();
    file.write_all_at(&fs::read(&partition).unwrap(), MIB).unwrap();
    file.set_len(96 * MIB).unwrap();
    let device = Loop(run(
        "losetup",
        &[
            "--find",
            "--show",
            "-P",
            "-b",
            &sector.to_string(),
            image.to_str()?,
        ],
    )?);
    // The device may have been write-protected by whoever used it before; that outlives a detachment.
    run("blockdev", &["--setrw", &device.0])?;
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
            // ext4 asks for more than root: some containers take CAP_SYS_RESOURCE away.
            let may_grow = has_capability(CAP_SYS_RESOURCE);
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
