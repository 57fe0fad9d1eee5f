//! What makes one machine out of a copy: the identity of the image's builder goes.
//!
//! Tables, not code, say what goes where; what a distribution doesn't have is not there and does no harm.

use super::confined::{ConfinedError, ConfinedRoot, Kind};

const FILES: &[&str] = &[
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/udev/rules.d/75-persistent-net-generator.rules",
    "var/lib/NetworkManager/secret_key",
    ".dockerenv",
    "run/.containerenv",
];

const TREES: &[&str] = &[
    "var/lib/cloud/instance",
    "var/lib/cloud/instances",
    "var/lib/cloud/data",
    "var/lib/cloud/sem",
    "var/lib/cloud/seed",
];

const LEASE_FOLDERS: &[&str] = &[
    "var/lib/dhcp",
    "var/lib/dhclient",
    "var/lib/dhcpcd",
    "var/lib/NetworkManager",
    "var/lib/systemd/network",
];

/// Left by installers and image builders; they keep cloud-init from doing its work.
const CLOUD_INIT_LEFTOVERS: &[&str] = &[
    "etc/cloud/cloud-init.disabled",
    "etc/cloud/ds-identify.cfg",
    "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
    "etc/cloud/cloud.cfg.d/99-installer.cfg",
    "etc/cloud/cloud.cfg.d/90-installer-network.cfg",
    "etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
    "etc/netplan/50-cloud-init.yaml",
    "etc/netplan/00-installer-config.yaml",
    "etc/network/interfaces.d/50-cloud-init",
    "etc/network/interfaces.d/50-cloud-init.cfg",
];

const SMALL: u64 = 64 << 10;

/// Removes the identity of the image. Done twice it finds nothing to do. The answer names what was done.
///
/// # Errors
/// When something can't be removed.
pub fn identity(root: &ConfinedRoot, cloud_init: bool) -> Result<Vec<&'static str>, ConfinedError> {
    let mut done = Vec::new();
    if super::profile::has_systemd(root)? || root.kind("etc/machine-id")?.is_some() {
        // Empty, not absent: systemd makes a new one and takes this boot for no first boot with all its questions.
        root.write("etc/machine-id", b"", 0o444)?;
        done.push("machine-id");
    }
    for path in FILES {
        if root.remove_file(path)? {
            done.push(path);
        }
    }
    for path in TREES {
        if root.remove_tree(path)? {
            done.push(path);
        }
    }
    if remove_matching(root, "etc/ssh", |name| name.starts_with("ssh_host_"))? {
        done.push("ssh host keys");
    }
    for folder in LEASE_FOLDERS {
        let lease = |name: &str| name.contains("lease") || name == "timestamps" || name.starts_with("duid");
        if remove_matching(root, folder, lease)? {
            done.push("DHCP leases");
        }
    }
    if cloud_init {
        for path in CLOUD_INIT_LEFTOVERS {
            if root.remove_file(path)? {
                done.push(path);
            }
        }
    }
    done.extend(storage_names(root)?);
    if resolv_conf(root)? {
        done.push("resolv.conf");
    }
    if root.kind("var/tmp")?.is_none() && root.kind("var")? == Some(Kind::Folder) {
        root.make_folder("var/tmp", 0o1777)?;
        done.push("var/tmp");
    }
    done.dedup();
    Ok(done)
}

/// Two hosts with one NVMe or iSCSI name take each other's volumes.
fn storage_names(root: &ConfinedRoot) -> Result<Vec<&'static str>, ConfinedError> {
    let mut done = Vec::new();
    let host = uuid::Uuid::new_v4();
    for (path, text) in [
        (
            "etc/nvme/hostnqn",
            format!("nqn.2014-08.org.nvmexpress:uuid:{host}\n"),
        ),
        ("etc/nvme/hostid", format!("{host}\n")),
    ] {
        if root.kind(path)? == Some(Kind::File) {
            root.write(path, text.as_bytes(), 0o644)?;
            done.push(path);
        }
    }
    let path = "etc/iscsi/initiatorname.iscsi";
    if let Some(old) = root.read(path, SMALL)? {
        let old = String::from_utf8_lossy(&old);
        let prefix = old
            .lines()
            .find_map(|line| line.trim().strip_prefix("InitiatorName=iqn."))
            .and_then(|name| name.rsplit_once(':'))
            .map_or("1993-08.org.debian:01", |(prefix, _)| prefix);
        let text = format!(
            "InitiatorName=iqn.{prefix}:{}\n",
            &host.simple().to_string()[..12]
        );
        root.write(path, text.as_bytes(), 0o600)?;
        done.push(path);
    }
    Ok(done)
}

/// A file that the builder's network left; systems with resolved want the link.
fn resolv_conf(root: &ConfinedRoot) -> Result<bool, ConfinedError> {
    const ENABLED: [&str; 3] = [
        "etc/systemd/system/dbus-org.freedesktop.resolve1.service",
        "etc/systemd/system/sysinit.target.wants/systemd-resolved.service",
        "etc/systemd/system/multi-user.target.wants/systemd-resolved.service",
    ];
    if root.kind("etc/resolv.conf")? != Some(Kind::File) {
        return Ok(false);
    }
    for path in ENABLED {
        if root.kind(path)?.is_some() {
            root.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_matching(
    root: &ConfinedRoot,
    folder: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<bool, ConfinedError> {
    let mut any = false;
    for name in root.list(folder)? {
        if wanted(&name) {
            any |= root.remove_file(&format!("{folder}/{name}"))?;
        }
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn removes_the_builder_and_keeps_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let gone = [
            "var/lib/dbus/machine-id",
            "var/lib/cloud/instances/i-1/user-data.txt",
            "etc/ssh/ssh_host_ed25519_key",
            "etc/ssh/ssh_host_ed25519_key.pub",
            "var/lib/dhcp/dhclient.eth0.leases",
            "etc/cloud/cloud-init.disabled",
            ".dockerenv",
        ];
        let kept = [
            "etc/ssh/sshd_config",
            "etc/fstab",
            "var/lib/dhcp/other",
            "usr/lib/systemd/systemd",
        ];
        for path in gone.iter().chain(&kept) {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "x").unwrap();
        }
        fs::write(root.join("etc/machine-id"), "0123456789abcdef").unwrap();
        fs::create_dir_all(root.join("etc/iscsi")).unwrap();
        fs::write(
            root.join("etc/iscsi/initiatorname.iscsi"),
            "# x\nInitiatorName=iqn.2004-10.com.ubuntu:01:abc\n",
        )
        .unwrap();
        fs::write(root.join("etc/resolv.conf"), "nameserver 10.0.2.3\n").unwrap();
        fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
        symlink(
            "/nowhere",
            root.join("etc/systemd/system/dbus-org.freedesktop.resolve1.service"),
        )
        .unwrap();

        let confined = ConfinedRoot::open(root).unwrap();
        for _ in 0..2 {
            identity(&confined, true).unwrap();
            for path in gone {
                assert!(fs::symlink_metadata(root.join(path)).is_err(), "{path}");
            }
            for path in kept {
                assert!(root.join(path).exists(), "{path}");
            }
            assert_eq!(fs::read(root.join("etc/machine-id")).unwrap(), b"");
            assert!(root.join("etc/resolv.conf").is_symlink());
        }
        let name = fs::read_to_string(root.join("etc/iscsi/initiatorname.iscsi")).unwrap();
        assert!(
            name.starts_with("InitiatorName=iqn.2004-10.com.ubuntu:01:") && !name.contains("abc\n"),
            "{name}"
        );
    }
}
