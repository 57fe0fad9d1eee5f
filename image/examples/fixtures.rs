//! Writes the seeds of the fuzz targets and the artifact that tests read back: `fixtures REPOSITORY`.
//!
//! Both are checked in. The seeds may be written anew at any time; the artifacts, a plain and an encrypted one, are of
//! the first versions of the format and are meant to stay as they are. Needs `qemu-img`,
//! `sfdisk`, `mke2fs`, `debugfs`, `mkfs.vfat` and `mcopy`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use imprint_image::frame::Encoder;
use imprint_image::seal::{Algorithm, Seal};
use imprint_image::write::{ArtifactWriter, DirSink, WriteOptions};
use imprint_image::{Digest, Manifest, SignedManifest};

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code)]
mod targets;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let root = std::env::args().nth(1).ok_or("name the repository's folder")?;
    let root = Path::new(&root);
    let artifact = root.join("image/tests/artifact-v1");
    let seeds = root.join("fuzz/seeds");
    for (target, _) in targets::TARGETS {
        fs::create_dir_all(seeds.join(target))?;
    }
    let manifest = store(&artifact)?;
    let signed = SignedManifest::sign(&manifest, &targets::well_known_key()).encode();
    fs::write(seeds.join("manifest/small"), manifest.encode())?;
    fs::write(seeds.join("signed/small"), signed)?;
    for (number, pack) in manifest.packs.iter().enumerate() {
        let name = pack.digest.to_string();
        fs::copy(
            artifact.join("packs").join(name),
            seeds.join(format!("pack_index/{number}")),
        )?;
    }
    frames(&seeds)?;
    encrypted(&root.join("image/tests/artifact-v2"), &seeds)?;
    compressed(&seeds)?;
    partitions(&seeds)?;
    qcow2(&seeds)?;
    containers(&seeds)?;
    disks(&seeds)
}

/// Text, a hole, the same text again, and a last chunk of one sector.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; (3 << 20) + 4096];
    let text = b"Imprint's disk. ".repeat(1 << 16);
    disk[..1 << 20].copy_from_slice(&text);
    disk[2 << 20..3 << 20].copy_from_slice(&text);
    disk[3 << 20..].fill(7);
    disk
}

fn store(base: &Path) -> Result<Manifest, Box<dyn Error>> {
    let options = WriteOptions {
        logical_sector_bytes: Some(4096),
        ..WriteOptions::default()
    };
    let mut writer = ArtifactWriter::new(DirSink::new(base)?, options);
    let manifest = writer.import_stream(&mut Cursor::new(disk()))?;
    let signed = SignedManifest::sign(&manifest, &targets::well_known_key()).encode();
    fs::create_dir_all(base.join("manifests"))?;
    fs::write(
        base.join("manifests").join(manifest.image_digest.to_string()),
        signed,
    )?;
    Ok(manifest)
}

fn frames(seeds: &Path) -> Outcome {
    let mixed: Vec<u8> = (0u32..6000).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
    for (name, plain) in [("text", b"Imprint's disk. ".repeat(200)), ("numbers", mixed)] {
        let mut frame = Vec::new();
        Encoder::new(3)?.encode(&plain, &mut frame)?;
        let len = u32::try_from(plain.len())?.to_le_bytes();
        fs::write(seeds.join("frame").join(name), [&len[..], &frame].concat())?;
    }
    Ok(())
}

/// The encrypted artifact, and what is sealed in it. It is another one each time, so it is only made where there is none.
fn encrypted(base: &Path, seeds: &Path) -> Outcome {
    let seal = Seal::new(&targets::well_known_data_key(), Algorithm::default());
    let folder = base.join("manifests");
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        let options = WriteOptions {
            logical_sector_bytes: Some(4096),
            seal: Some(&seal),
            ..WriteOptions::default()
        };
        let mut writer = ArtifactWriter::new(DirSink::new(base)?, options);
        let manifest = writer.import_stream(&mut Cursor::new(disk()))?;
        let signed = SignedManifest::sign(&manifest, &targets::well_known_key());
        fs::write(folder.join(signed.manifest_digest().to_string()), signed.encode())?;
        let pack = manifest
            .packs
            .first()
            .ok_or("the disk has data")?
            .digest
            .to_string();
        let pack = fs::read(base.join("packs").join(pack))?;
        fs::write(seeds.join("sealed/pack"), [&[3], &pack[..]].concat())?;
        fs::write(
            seeds.join("sealed/manifest"),
            [&[2], &manifest.encode()[..]].concat(),
        )?;
    }
    let plain = b"Imprint's disk. ".repeat(200);
    let len = u32::try_from(plain.len())?;
    for (number, algorithm) in (0u8..).zip(Algorithm::ALL) {
        let mut frame = Vec::new();
        Encoder::new(3)?.encode(&plain, &mut frame)?;
        let seal = Seal::new(&targets::well_known_data_key(), algorithm);
        seal.seal_frame(&mut frame, &Digest::of(b""), len);
        let seed = [&[number][..], &len.to_le_bytes(), &frame].concat();
        fs::write(seeds.join("sealed").join(algorithm.name()), seed)?;
    }
    Ok(())
}

fn compressed(seeds: &Path) -> Outcome {
    let plain: Vec<u8> = (0u32..3000).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain)?;
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&plain)?;
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain)?;
    let all = [
        ("bz2", bzip2.finish()?),
        ("gz", gzip.finish()?),
        ("xz", xz.finish()?),
        ("zst", zstd::stream::encode_all(&plain[..], 3)?),
    ];
    for (name, bytes) in all {
        fs::write(seeds.join("compressed").join(name), &bytes)?;
        fs::write(seeds.join("detect").join(name), &bytes[..600])?;
    }
    fs::write(seeds.join("detect/vhdx"), b"vhdxfile, and no more")?;
    fs::write(seeds.join("detect/vmdk"), b"KDMV, and no more")?;
    Ok(())
}

fn partitions(seeds: &Path) -> Outcome {
    let mut mbr = vec![0; 8 << 10];
    mbr[440..444].copy_from_slice(&[1, 2, 3, 4]);
    for (entry, kind, first, sectors) in [(0, 0x83, 1u32, 2u32), (1, 0x05, 4, 8)] {
        let at = 446 + 16 * entry;
        mbr[at + 4] = kind;
        mbr[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        mbr[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    }
    mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
    let mut record = mbr[..512].to_vec();
    record[446 + 20] = 0;
    mbr[4 * 512..5 * 512].copy_from_slice(&record);
    fs::write(seeds.join("partitions/mbr"), &mbr)?;
    fs::write(seeds.join("detect/mbr"), &mbr[..512])?;
    let mut disk = Cursor::new(vec![0; 48 << 10]);
    let mut gpt = gptman::GPT::new_from(&mut disk, 512, [9; 16])?;
    gpt[1] = gptman::GPTPartitionEntry {
        partition_type_guid: [0xAF; 16],
        unique_partition_guid: [5; 16],
        starting_lba: gpt.header.first_usable_lba,
        ending_lba: gpt.header.last_usable_lba,
        attribute_bits: 0,
        partition_name: "root".into(),
    };
    gpt.write_into(&mut disk)?;
    gptman::GPT::write_protective_mbr_into(&mut disk, 512)?;
    fs::write(seeds.join("partitions/gpt"), disk.into_inner())?;
    Ok(())
}

fn qcow2(seeds: &Path) -> Outcome {
    let raw = seeds.join("qcow2/raw");
    let mut disk = vec![0; 40 << 10];
    disk[..3000].copy_from_slice(&b"Imprint's disk. ".repeat(188)[..3000]);
    disk[20_000..20_010].fill(5);
    fs::write(&raw, disk)?;
    for (name, options) in [
        ("v3", &["-o", "cluster_size=512"][..]),
        ("v2", &["-o", "compat=0.10,cluster_size=1k"]),
        ("zlib", &["-c", "-o", "cluster_size=1k"]),
        ("zstd", &["-c", "-o", "cluster_size=4k,compression_type=zstd"]),
    ] {
        let status = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args(options)
            .args([&raw, &seeds.join("qcow2").join(name)])
            .status()?;
        if !status.success() {
            return Err(format!("qemu-img ended with {status}").into());
        }
    }
    fs::copy(seeds.join("qcow2/v3"), seeds.join("detect/qcow2"))?;
    fs::remove_file(raw)?;
    Ok(())
}

/// The formats that are nearly all zeros, folded.
fn containers(seeds: &Path) -> Outcome {
    let dir = tempfile::tempdir()?;
    let (raw, made) = (dir.path().join("raw"), dir.path().join("made"));
    let mut disk = vec![0; (2 << 20) + 1024];
    for at in [0, 70_000, 1 << 20, 2 << 20] {
        disk[at..at + 20].fill(0xD7);
    }
    fs::write(&raw, &disk)?;
    for (target, name, driver, options) in [
        ("vmdk", "sparse", "vmdk", &[][..]),
        ("vmdk", "stream", "vmdk", &["-o", "subformat=streamOptimized"]),
        ("vhd", "dynamic", "vpc", &["-o", "force_size=on"]),
        ("vhd", "fixed", "vpc", &["-o", "subformat=fixed,force_size=on"]),
        ("vhdx", "dynamic", "vhdx", &["-o", "block_size=1M"]),
        ("vdi", "dynamic", "vdi", &[]),
        ("vdi", "static", "vdi", &["-o", "static=on"]),
        ("qed", "small", "qed", &["-o", "cluster_size=4k"]),
        ("qed", "usual", "qed", &[]),
        ("qcow", "plain", "qcow", &[]),
        ("qcow", "compressed", "qcow", &["-c"]),
    ] {
        let status = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", driver])
            .args(options)
            .args([&raw, &made])
            .status()?;
        // It writes compressed qcow files well, and ends with 1 all the same.
        if !status.success() && name != "compressed" {
            return Err(format!("qemu-img ended with {status}").into());
        }
        fs::write(
            seeds.join(target).join(name),
            targets::sparse::fold(&fs::read(&made)?),
        )?;
        fs::remove_file(&made)?;
    }
    Ok(())
}

/// Whole disks with small systems on them, folded.
fn disks(seeds: &Path) -> Outcome {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    for (path, content) in [
        ("etc/os-release", &b"ID=debian\nVERSION_ID=\"12\"\n"[..]),
        (
            "etc/fstab",
            b"LABEL=root / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat umask=077 0 2\n",
        ),
        ("etc/default/grub", b"GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n"),
        ("etc/machine-id", b""),
        ("etc/ssh/ssh_host_ed25519_key", b"key"),
        ("bin/sh", &elf()),
        ("boot/vmlinuz-6.1", b"kernel"),
        ("boot/initrd.img-6.1", &initramfs()),
        ("boot/efi/x", b""),
        ("lib/modules/6.1/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
        (
            "var/lib/dpkg/status",
            b"Package: cloud-init\nStatus: install ok installed\nVersion: 22.4\nArchitecture: all\n",
        ),
    ] {
        let place = root.join(path);
        fs::create_dir_all(place.parent().ok_or("a path in the folder")?)?;
        fs::write(place, content)?;
    }
    let ext4 = dir.path().join("ext4");
    for (name, kind) in [("ext2", "ext2"), ("ext4", "ext4")] {
        let place = dir.path().join(name);
        File::create(&place)?.set_len(4 << 20)?;
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F", "-t", kind, "-b", "1024", "-L", "root", "-d"]);
        tool(command.args([&root, &place]), "")?;
    }
    let esp = dir.path().join("esp");
    File::create(&esp)?.set_len(1 << 20)?;
    tool(Command::new("mkfs.vfat").args(["-n", "ESP"]).arg(&esp), "")?;
    let loader = dir.path().join("bootx64.efi");
    fs::write(&loader, b"MZ, and no more")?;
    tool(
        Command::new("mmd")
            .arg("-i")
            .arg(&esp)
            .args(["::/EFI", "::/EFI/BOOT"]),
        "",
    )?;
    tool(
        Command::new("mcopy")
            .arg("-i")
            .arg(&esp)
            .arg(&loader)
            .arg("::/EFI/BOOT/"),
        "",
    )?;
    let gpt = "label: gpt\nstart=1MiB, size=1MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nstart=2MiB, size=4MiB\n";
    let dos = "label: dos\nstart=1MiB, size=6MiB, type=5\nstart=2MiB, size=4MiB, type=83\n";
    for (name, script, parts) in [
        ("gpt", gpt, &[(1_usize, &esp), (2, &ext4)][..]),
        ("dos", dos, &[(2, &dir.path().join("ext2"))]),
    ] {
        let place = dir.path().join(name);
        File::create(&place)?.set_len(8 << 20)?;
        tool(Command::new("sfdisk").arg("-q").arg(&place), script)?;
        let mut disk = fs::read(&place)?;
        for (mib, part) in parts {
            let part = fs::read(part)?;
            disk[mib << 20..(mib << 20) + part.len()].copy_from_slice(&part);
        }
        fs::write(seeds.join("facts").join(name), targets::sparse::fold(&disk))?;
    }
    // A file system in use: the journal alone has its newest label.
    let mut superblock = fs::read(&ext4)?[1024..2048].to_vec();
    superblock[0x78..0x7C].copy_from_slice(b"live");
    let block = dir.path().join("block");
    fs::write(&block, superblock)?;
    let commands = format!("jo -c -v 3\njw -b 1 {}\njw -r 3000\njc\n", block.display());
    tool(Command::new("debugfs").arg("-w").arg(&ext4), &commands)?;
    let unclean = targets::sparse::fold(&fs::read(&ext4)?);
    fs::write(seeds.join("facts/unclean"), unclean)?;
    Ok(())
}

/// The head of a program for x86-64.
fn elf() -> Vec<u8> {
    let mut elf = b"\x7FELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = 62;
    elf
}

/// A plain archive with one module.
fn initramfs() -> Vec<u8> {
    let mut archive = Vec::new();
    for name in ["lib/modules/6.1/kernel/nvme.ko", "TRAILER!!!"] {
        let fields = [1, 0o100_644, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// Runs a tool that must be installed.
fn tool(command: &mut Command, input: &str) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child
        .stdin
        .take()
        .ok_or("it was asked for")?
        .write_all(input.as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(())
}
