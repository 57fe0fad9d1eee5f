//! Disks made by the real tools, and the few formats that are made by hand.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub const MIB: usize = 1 << 20;
pub const VERSION: &str = "6.1.0-1-amd64";

/// Runs a tool that must be installed; its output only shows when it fails.
pub fn run(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}, which these tests need: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A folder tree out of paths and contents. A path that ends with `@` is a link.
pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (path, content) in files {
        let link = path.strip_suffix('@');
        let to = folder.path().join(link.unwrap_or(path));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        match link {
            Some(_) => std::os::unix::fs::symlink(str::from_utf8(content).unwrap(), to).unwrap(),
            None if path.ends_with('/') => fs::create_dir_all(to).unwrap(),
            None => fs::write(to, content).unwrap(),
        }
    }
    folder
}

/// A file system of ext2, ext3 or ext4 with what is in `folder`.
pub fn ext(arguments: &[&str], folder: &Path, bytes: usize) -> Vec<u8> {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(bytes as u64).unwrap();
    let (image, folder) = (image.path().to_str().unwrap(), folder.to_str().unwrap());
    let arguments: Vec<&str> = [&["-q", "-F", "-d", folder], arguments, &[image]].concat();
    run("mke2fs", &arguments, "");
    fs::read(image).unwrap()
}

/// A FAT file system with `files`; folders are made as they are needed.
pub fn fat(arguments: &[&str], files: &[(&str, &[u8])], bytes: usize) -> Vec<u8> {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(bytes as u64).unwrap();
    let path = image.path().to_str().unwrap();
    let arguments: Vec<&str> = [arguments, &[path]].concat();
    run("mkfs.vfat", &arguments, "");
    let source = folder(files);
    for entry in fs::read_dir(source.path()).unwrap() {
        let from = entry.unwrap().path();
        run("mcopy", &["-s", "-i", path, from.to_str().unwrap(), "::/"], "");
    }
    fs::read(path).unwrap()
}

/// A disk with the table that `script` tells sfdisk to make, and `parts` at the MiB where they belong.
pub fn disk(script: &str, mib: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len((mib * MIB) as u64).unwrap();
    run("sfdisk", &["-q", image.path().to_str().unwrap()], script);
    let mut disk = fs::read(image.path()).unwrap();
    for (at, part) in parts {
        disk[at * MIB..at * MIB + part.len()].copy_from_slice(part);
    }
    disk
}

/// A PE program of 64 bits with nothing in it.
pub fn pe(machine: u16, signed: bool, sections: &[&str]) -> Vec<u8> {
    let mut pe = vec![0; 512];
    pe[..2].copy_from_slice(b"MZ");
    pe[0x3C] = 0x80;
    pe[0x80..0x84].copy_from_slice(b"PE\0\0");
    pe[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    pe[0x86] = sections.len() as u8;
    pe[0x94] = 240;
    let optional = 0x98;
    pe[optional..optional + 2].copy_from_slice(&[0x0B, 0x02]);
    pe[optional + 108] = 16;
    if signed {
        pe[optional + 112 + 4 * 8 + 4] = 8;
    }
    // Names that are too long stand in the table of strings, behind no symbols.
    let mut strings = vec![0; 4];
    let mut table = Vec::new();
    for section in sections {
        let mut name = section.to_string();
        if name.len() > 8 {
            name = format!("/{}", strings.len());
            strings.extend_from_slice(section.as_bytes());
            strings.push(0);
        }
        let mut entry = [0; 40];
        entry[..name.len()].copy_from_slice(name.as_bytes());
        table.extend_from_slice(&entry);
    }
    pe.truncate(optional + 240);
    pe.extend_from_slice(&table);
    let strings_at = pe.len() as u32;
    pe[0x80 + 12..0x80 + 16].copy_from_slice(&strings_at.to_le_bytes());
    pe.extend_from_slice(&strings);
    pe
}

/// The head of an ELF program.
pub fn elf(machine: u8) -> Vec<u8> {
    let mut elf = b"\x7FELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = machine;
    elf
}

/// A cpio archive in the `newc` form, with its trailer, filled up to 512 bytes.
pub fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer = [("TRAILER!!!", &b""[..])];
    for (name, content) in files.iter().chain(&trailer) {
        let mode = if name.ends_with('/') { 0o40755 } else { 0o100_644 };
        let name = name.trim_end_matches('/');
        let fields = [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

/// An initramfs as Debian makes it: microcode in front, then what is compressed.
pub fn initramfs(modules: &[&str]) -> Vec<u8> {
    let paths: Vec<String> = modules
        .iter()
        .map(|module| format!("usr/lib/modules/{VERSION}/kernel/drivers/{module}.ko"))
        .collect();
    let mut files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), &b"code"[..])).collect();
    files.push(("conf/initramfs.conf", b"MODULES=most\n"));
    files.push(("usr/lib/firmware/bnx2/bnx2-mips-09.fw", b"firmware"));
    let early = cpio(&[
        ("kernel/", b""),
        ("kernel/x86/microcode/GenuineIntel.bin", b"microcode"),
    ]);
    let main = zstd::encode_all(&cpio(&files)[..], 1).unwrap();
    [early, main].concat()
}

/// The files of a small system that does everything right.
pub struct System {
    files: Vec<(String, Vec<u8>)>,
}

impl System {
    pub fn sound() -> Self {
        let all = ["nvme", "ahci", "megaraid_sas", "mpt3sas", "smartpqi", "aacraid"];
        let mut system = Self { files: Vec::new() };
        system
            .with("usr/bin/dash", &elf(62))
            .with("usr/bin/sh@", b"dash")
            .with("bin@", b"usr/bin")
            .with("lib@", b"usr/lib")
            .with("etc/os-release@", b"../usr/lib/os-release")
            .with(
                "usr/lib/os-release",
                b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
            )
            .with(
                "etc/fstab",
                b"LABEL=root / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat umask=077 0 2\n",
            )
            .with("etc/machine-id", b"")
            .with("etc/network/interfaces", b"")
            .with("etc/ssh/ssh_config", b"")
            .with(
                "etc/default/grub",
                b"GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200\"\n",
            )
            .with("usr/sbin/netplan", b"#!")
            .with("usr/bin/cloud-init", b"#!")
            .with("boot/efi/", b"")
            .with(&format!("boot/vmlinuz-{VERSION}"), b"kernel")
            .with(&format!("boot/initrd.img-{VERSION}"), &initramfs(&all))
            .with(
                &format!("usr/lib/modules/{VERSION}/modules.builtin"),
                b"kernel/fs/ext4/ext4.ko\nkernel/drivers/scsi/sd_mod.ko\n",
            )
            .with(
                "var/lib/dpkg/status",
                b"Package: cloud-init\nStatus: install ok installed\nVersion: 22.4.2-1\nArchitecture: all\n",
            );
        system
    }

    /// Adds or replaces a file.
    pub fn with(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.without(path).files.push((path.to_owned(), content.to_vec()));
        self
    }

    pub fn without(&mut self, path: &str) -> &mut Self {
        self.files
            .retain(|(old, _)| old.trim_end_matches('@') != path.trim_end_matches('@'));
        self
    }

    pub fn root(&self, arguments: &[&str]) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        ext(arguments, folder(&files).path(), 24 * MIB)
    }

    /// The whole disk: BIOS boot, EFI system partition, root.
    pub fn disk(&self) -> Vec<u8> {
        let root = self.root(&["-t", "ext4", "-L", "root"]);
        let mut disk = disk(GPT, 40, &[(2, &esp()), (10, &root)]);
        // Boot code as GRUB has it.
        disk[100..104].copy_from_slice(b"GRUB");
        disk[MIB] = 0xEB;
        disk
    }
}

pub const GPT: &str = "label: gpt\nstart=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n\
                       start=2MiB, size=8MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
                       start=10MiB, size=24MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=system\n";

/// A system partition with signed shim on the removable path and GRUB in the vendor's folder.
pub fn esp() -> Vec<u8> {
    fat(
        &["-n", "ESP"],
        &[
            (
                "EFI/BOOT/BOOTX64.EFI",
                &pe(0x8664, true, &[".text", ".vendor_cert"]),
            ),
            ("EFI/BOOT/fbx64.efi", &pe(0x8664, true, &[".text"])),
            (
                "EFI/debian/grubx64.efi",
                &pe(0x8664, true, &[".text", "mods", ".sbat"]),
            ),
            ("EFI/debian/grub.cfg", b"search\n"),
        ],
        8 * MIB,
    )
}
