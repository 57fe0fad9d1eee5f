//! Disks with something on them.

use std::process::Command;

/// A disk with a Debian of three files and two packages on it, made by the real mkfs.
pub(crate) fn debian() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (root, disk) = (dir.path().join("root"), dir.path().join("disk.raw"));
    let status = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2+b7\nArchitecture: amd64\n\n\
                  Package: cloud-init\nStatus: install ok installed\nVersion: 22.4.2-1\nArchitecture: all\n";
    for (path, text) in [
        (
            "etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
        ),
        ("etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"),
        ("usr/bin/cloud-init", "#!/bin/sh\n"),
        ("var/lib/dpkg/status", status),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&root)
        .arg(&disk)
        .arg("8M")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(disk).unwrap()
}
