//! Disks with something on them.

use std::process::Command;

/// A disk with a Debian of three files and two packages on it, made by the real mkfs.
pub(crate) fn debian() -> Vec<u8> {
    let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b7\nArchitecture: amd64\n\n\
                  Package: cloud-init\nStatus: install ok installed\nVersion: 22.4.2-1\nArchitecture: all\n";
    ext4(&[
        (
            "etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
        ),
        ("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"),
        ("usr/bin/cloud-init", "#!/bin/sh\n"),
        ("var/lib/dpkg/status", status),
    ])
}

/// A file system with these files.
pub(crate) fn ext4(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (root, disk) = (dir.path().join("root"), dir.path().join("disk.raw"));
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&root, &disk])
        .arg("8M"));
    std::fs::read(disk).unwrap()
}

/// An EFI system partition with a loader at the removable path.
fn esp() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("esp.raw");
    std::fs::create_dir_all(dir.path().join("EFI/BOOT")).unwrap();
    std::fs::write(dir.path().join("EFI/BOOT/BOOTX64.EFI"), "a loader").unwrap();
    std::fs::write(&disk, vec![0; 4 << 20]).unwrap();
    run(Command::new("mkfs.vfat").arg(&disk));
    run(Command::new("mcopy")
        .args(["-s", "-i"])
        .args([&disk, &dir.path().join("EFI")])
        .arg("::/"));
    std::fs::read(disk).unwrap()
}

/// A GPT disk with an EFI system partition, and with `root` behind it.
pub(crate) fn gpt(root: &[u8]) -> Vec<u8> {
    const MIB: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let script = format!(
        "label: gpt\nstart=1MiB, size=4MiB, type=U\nstart=5MiB, size={}MiB\n",
        root.len() / MIB
    );
    std::fs::write(dir.path().join("script"), script).unwrap();
    std::fs::write(&path, vec![0; root.len() + 6 * MIB]).unwrap();
    let script = std::fs::File::open(dir.path().join("script")).unwrap();
    run(Command::new("sfdisk").arg("-q").arg(&path).stdin(script));
    let mut disk = std::fs::read(path).unwrap();
    disk[MIB..5 * MIB].copy_from_slice(&esp());
    disk[5 * MIB..5 * MIB + root.len()].copy_from_slice(root);
    disk
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
