//! What real tools write, where a machine that builds has them; else bytes laid out by the published formats.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf, process::Command};

use super::*;

mod real;
mod remains;

const MIB: u64 = 1 << 20;

struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
    size: u64,
}

impl Image {
    fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.set_len(size).unwrap();
        Self {
            _folder: folder,
            path,
            file,
            size,
        }
    }

    fn with(size: u64, parts: &[(u64, &[u8])]) -> Self {
        let image = Self::new(size);
        for (offset, bytes) in parts {
            image.put(*offset, bytes);
        }
        image
    }

    fn put(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    fn made_by(size: u64, tool: &str, arguments: &[&str]) -> Self {
        let image = Self::new(size);
        let status = Command::new(tool)
            .args(arguments)
            .arg(&image.path)
            .output()
            .unwrap();
        assert!(status.status.success(), "{tool}: {status:?}");
        image
    }

    fn read(&self) -> Vec<DiskContent> {
        read(&self.file, self.size, 512).unwrap()
    }

    /// Kind, role, and the name that it has.
    fn found(&self) -> Vec<(String, String, String)> {
        let short = |content: DiskContent| {
            let name = [content.label, content.group].concat();
            (content.kind, content.role, name)
        };
        self.read().into_iter().map(short).collect()
    }
}

fn triple(kind: &str, role: &str, name: &str) -> (String, String, String) {
    (kind.to_owned(), role.to_owned(), name.to_owned())
}

#[test]
fn what_real_tools_write_is_known() {
    for (tool, arguments, expected) in [
        (
            "mkfs.ext4",
            &["-q", "-F", "-L", "rootfs"][..],
            triple("ext4", "data", "rootfs"),
        ),
        ("mkfs.ext3", &["-q", "-F"], triple("ext3", "data", "")),
        ("mkfs.ext2", &["-q", "-F"], triple("ext2", "data", "")),
        (
            "mkfs.vfat",
            &["-F", "32", "-n", "EFI"],
            triple("vfat", "data", "EFI"),
        ),
        ("mkfs.vfat", &["-F", "16"], triple("vfat", "data", "")),
        ("mkswap", &["-q", "-L", "swap0"], triple("swap", "data", "swap0")),
    ] {
        assert_eq!(
            Image::made_by(64 * MIB, tool, arguments).found(),
            [expected],
            "{tool}"
        );
    }
    let ext4 = Image::made_by(
        16 * MIB,
        "mkfs.ext4",
        &["-q", "-F", "-U", "11111111-2222-4333-8444-555555555555"],
    );
    assert_eq!(ext4.read()[0].uuid, "11111111-2222-4333-8444-555555555555");
}

fn lvm_label() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..8].copy_from_slice(b"LABELONE");
    sector[20..24].copy_from_slice(&32_u32.to_le_bytes());
    sector[24..32].copy_from_slice(b"LVM2 001");
    sector[32..64].copy_from_slice(b"abcdefghijklmnopqrstuvwxyz012345");
    // Data area, end of the list, metadata area.
    sector[72..80].copy_from_slice(&MIB.to_le_bytes());
    sector[104..112].copy_from_slice(&4096_u64.to_le_bytes());
    sector[112..120].copy_from_slice(&(MIB - 4096).to_le_bytes());
    sector
}

fn lvm_area() -> Vec<u8> {
    let mut area = vec![0; 1024];
    area[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    area[40..48].copy_from_slice(&512_u64.to_le_bytes());
    area[512..530].copy_from_slice(b"vg-kept {\nid = \"x\"");
    area
}

fn md(version: [u32; 3]) -> Vec<u8> {
    let mut block = 0xa92b_4efc_u32.to_le_bytes().to_vec();
    version.iter().for_each(|word| block.extend(word.to_le_bytes()));
    block.resize(256, 0);
    block[32..38].copy_from_slice(b"host:0");
    block
}

fn at(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0; offset];
    block.extend(bytes);
    block.resize(block.len() + 64, 0);
    block
}

/// Laid out by hand: these tools are not among what a build needs.
#[test]
fn members_of_groups_and_shared_file_systems_are_known() {
    let size = 64 * MIB;
    let pool = b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01\0\0\0\x04tank";
    for (parts, kind, name) in [
        (&[(512, lvm_label()), (4096, lvm_area())][..], "lvm-pv", "vg-kept"),
        (&[(0, md([1, 0, 0]))], "md-raid", "host:0"),
        (&[(4096, md([1, 0, 0]))], "md-raid", "host:0"),
        (&[(size - 8192, md([1, 0, 0]))], "md-raid", "host:0"),
        (&[(size - (64 << 10), md([0, 90, 0]))], "md-raid", ""),
        (&[(size - 512, 0xde11_de11_u32.to_be_bytes().to_vec())], "ddf", ""),
        (
            &[(size - 1024, b"Intel Raid ISM Cfg Sig. 1.3.00".to_vec())],
            "imsm",
            "",
        ),
        (
            &[
                (16 << 10, at(200, pool)),
                ((128 << 10) + 4096, 0x00ba_b10c_u64.to_le_bytes().to_vec()),
            ],
            "zfs",
            "tank",
        ),
        (
            &[((384 << 10), 0x00ba_b10c_u64.to_be_bytes().to_vec())],
            "zfs",
            "",
        ),
        (
            &[(0, at(0, b"bluestore block device\n11111111-2222"))],
            "ceph-osd",
            "",
        ),
        (
            &[(
                4096,
                at(
                    24,
                    &[
                        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba,
                        0x6d, 0x81,
                    ],
                ),
            )],
            "bcache",
            "",
        ),
        (
            &[
                (MIB, 0xc001_d00d_u32.to_le_bytes().to_vec()),
                (
                    2 * MIB,
                    [&0x2fab_f15e_u32.to_le_bytes()[..], &[0; 25], b"datastore1"].concat(),
                ),
            ],
            "vmfs",
            "datastore1",
        ),
        (
            &[(
                64 << 10,
                [
                    &0x0116_1970_u32.to_be_bytes()[..],
                    &1_u32.to_be_bytes(),
                    &[0; 152],
                    b"cluster:shared",
                ]
                .concat(),
            )],
            "gfs2",
            "cluster:shared",
        ),
        (
            &[(4096, [&b"OCFSV2"[..], &[0; 266], b"shared"].concat())],
            "ocfs2",
            "shared",
        ),
        (&[(512, at(4, b"!Stra0tis\x86\xff\x02^\x41rh"))], "stratis", ""),
        (&[(0, at(32, b"ORCLDISKDATA01"))], "oracle-asm", "DATA01"),
        (
            &[(size - 4096, at(60, &0x8374_026d_u32.to_be_bytes()))],
            "drbd",
            "",
        ),
        (
            &[(1024, b"NSD descriptor for /dev/sdx created by GPFS".to_vec())],
            "gpfs",
            "",
        ),
    ] {
        let parts: Vec<(u64, &[u8])> = parts
            .iter()
            .map(|(offset, bytes)| (*offset, bytes.as_slice()))
            .collect();
        assert_eq!(
            Image::with(size, &parts).found(),
            [triple(kind, "member", name)],
            "{kind}"
        );
    }
}

fn bcachefs(devices: u8) -> Vec<u8> {
    let magic = [
        0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
    ];
    let mut block = at(24, &magic);
    block.resize(128, 0);
    block[56..72].fill(8);
    block[123] = devices;
    block
}

/// Laid out by hand, as above.
#[test]
fn file_systems_are_known() {
    let mut btrfs = at(64, b"_BHRfS_M");
    btrfs.resize(4096, 0);
    btrfs[136] = 1;
    btrfs[299..303].copy_from_slice(b"data");
    let mut several = btrfs.clone();
    several[136] = 2;
    several[32] = 7;
    for (offset, bytes, expected) in [
        (
            0,
            [&b"XFSB"[..], &[0; 104], b"home"].concat(),
            triple("xfs", "data", "home"),
        ),
        (64 << 10, btrfs, triple("btrfs", "data", "data")),
        (
            64 << 10,
            several,
            triple(
                "btrfs",
                "member",
                "dataa btrfs on several devices, 07000000-0000-0000-0000-000000000000",
            ),
        ),
        (0, at(3, b"-FVE-FS-"), triple("bitlocker", "data", "")),
        (0, at(3, b"ReFS\0"), triple("refs", "data", "")),
        (0, at(32, b"NXSB"), triple("apfs", "data", "")),
        (0, at(0, b"integrt\0"), triple("dm-integrity", "data", "")),
        (0, at(0, b"dmvdo001"), triple("vdo", "data", "")),
        (1024, at(0, b"H+\0\x04"), triple("hfsplus", "data", "")),
        (1024, at(0, b"\xf5\xfc\x01\xa5"), triple("vxfs", "data", "")),
        (4086, at(0, b"S1SUSPEND\0"), triple("swap", "data", "")),
        (4096, bcachefs(1), triple("bcachefs", "data", "")),
        (
            4096,
            bcachefs(2),
            triple(
                "bcachefs",
                "member",
                "a bcachefs on several devices, 08080808-0808-0808-0808-080808080808",
            ),
        ),
        (0, at(3, b"NTFS    "), triple("ntfs", "data", "")),
        (0, at(3, b"EXFAT   "), triple("exfat", "data", "")),
        (
            0,
            [&b"LUKS\xba\xbe\0\x02"[..], &[0; 16], b"secret"].concat(),
            triple("luks", "data", "secret"),
        ),
    ] {
        assert_eq!(Image::with(16 * MIB, &[(offset, &bytes)]).found(), [expected]);
    }
}

#[test]
fn partitions_say_what_starts_from_the_disk() {
    let image = Image::new(64 * MIB);
    let mut gpt = gptman::GPT::new_from(&mut (&image.file), 512, [9; 16]).unwrap();
    let mut add = |number: u32, kind: [u8; 16], first: u64, last: u64| {
        gpt[number] = gptman::GPTPartitionEntry {
            partition_type_guid: kind,
            unique_partition_guid: [u8::try_from(number).unwrap(); 16],
            starting_lba: first,
            ending_lba: last,
            attribute_bits: 0,
            partition_name: "".into(),
        };
    };
    add(1, table::ESP_TYPE, 2048, 34815);
    add(2, [5; 16], 34816, 51199);
    add(3, GPFS, 51200, 67583);
    add(15, BIOS_BOOT, 67584, 69631);
    gptman::GPT::write_protective_mbr_into(&mut (&image.file), 512).unwrap();
    gpt.write_into(&mut (&image.file)).unwrap();
    let system = Image::made_by(16 * MIB, "mkfs.vfat", &["-n", "ESP"]);
    let mut bytes = vec![0; 16 << 20];
    system.file.read_exact_at(&mut bytes, 0).unwrap();
    image.put(2048 * 512, &bytes);
    image.put(34816 * 512 + 512, &lvm_label());
    let short = |content: DiskContent| (content.partition, content.kind, content.role);
    let found: Vec<_> = image.read().into_iter().map(short).collect();
    let expected = [
        (None, "gpt", ""),
        (Some(1), "vfat", "system"),
        (Some(2), "lvm-pv", "member"),
        (Some(3), "gpfs", "member"),
        (Some(15), "boot", "system"),
    ]
    .map(|(partition, kind, role)| (partition, kind.to_owned(), role.to_owned()));
    assert_eq!(found, expected);

    let mbr = Image::new(64 * MIB);
    let mut sector = vec![0; 512];
    sector[446..462].copy_from_slice(&[0x80, 0, 0, 0, 7, 0, 0, 0, 0, 8, 0, 0, 0, 128, 0, 0]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr.put(0, &sector);
    mbr.put(2048 * 512, &at(3, b"NTFS    "));
    assert_eq!(mbr.found(), [triple("mbr", "", ""), triple("ntfs", "system", "")]);
}

#[test]
fn a_blank_disk_has_nothing_and_noise_does_no_harm() {
    assert!(Image::new(MIB).found().is_empty());
    assert!(Image::new(512).found().is_empty());
    assert!(read(&Image::new(0).file, 0, 512).is_none());
    // Every place that is looked at holds large numbers.
    let noise = Image::new(4 * MIB);
    noise.put(0, &vec![0xff; 4 << 20]);
    noise.put(0, &lvm_label()[..8]);
    noise.put(24, b"LVM2 001");
    for content in noise.read() {
        assert!(
            ["lvm-pv", "gpt", "mbr", "unknown"].contains(&content.kind.as_str()),
            "{content:?}"
        );
    }
}
