use std::{fs, os::unix::fs::MetadataExt as _, os::unix::fs::symlink, path::Path};

use super::*;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn is_there(root: &Path, path: &str) -> bool {
    fs::symlink_metadata(root.join(path)).is_ok()
}

/// Each entry of the checklist: what a builder leaves, in every family.
const GONE: [&str; 26] = [
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/cloud/instance/obj.pkl",
    "var/lib/cloud/instances/i-1/user-data.txt",
    "var/lib/cloud/data/instance-id",
    "var/lib/cloud/sem/config_scripts_per_once.once",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_ed25519_key.pub",
    "etc/ssh/ssh_host_rsa_key-cert.pub",
    "var/lib/dhcp/dhclient.eth0.leases",
    "var/lib/dhclient/dhclient-1.lease",
    "var/lib/dhcpcd/eth0.lease",
    "var/lib/dhcpcd/duid",
    "var/lib/NetworkManager/internal-1-eth0.lease",
    "var/lib/NetworkManager/timestamps",
    "var/lib/NetworkManager/secret_key",
    "var/lib/wicked/lease-eth0-dhcp-ipv4.xml",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/lvm/devices/system.devices",
    "etc/multipath/bindings",
    ".dockerenv",
    "etc/cloud/cloud-init.disabled",
    "etc/cloud/cloud.cfg.d/99-installer.cfg",
    "etc/netplan/50-cloud-init.yaml",
    "etc/network/interfaces.d/50-cloud-init",
];

const KEPT: [&str; 8] = [
    "etc/ssh/sshd_config",
    "etc/fstab",
    "etc/netplan/60-own.yaml",
    "etc/cloud/cloud.cfg.d/05_logging.cfg",
    "var/lib/dhcp/other",
    "var/lib/NetworkManager/other",
    "etc/lvm/lvm.conf",
    "usr/lib/systemd/systemd",
];

fn profile(id: &str, like: &str) -> Profile {
    Profile {
        id: id.to_owned(),
        cloud_init: true,
        family: super::super::family::of(id, like),
        ..Profile::default()
    }
}

#[test]
fn removes_the_builder_and_keeps_the_system() {
    for (id, like, more) in [
        ("debian", "", "etc/cloud/cloud.cfg.d/90_dpkg.cfg"),
        (
            "ubuntu",
            "debian",
            "etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
        ),
        ("rocky", "rhel centos fedora", "etc/pki/consumer/cert.pem"),
        ("sles", "suse", "etc/zypp/credentials.d/SCCcredentials"),
        ("fedora", "", ".dockerenv"),
        ("openEuler", "", ".dockerenv"),
        ("gentoo", "", ".dockerenv"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in GONE.iter().chain(&KEPT).chain([&more]) {
            put(root, path, "x");
        }
        put(root, "etc/machine-id", "0123456789abcdef");
        fs::create_dir_all(root.join("var/tmp")).unwrap();
        let confined = ConfinedRoot::open(root).unwrap();
        for round in 0..2 {
            let done = identity(&confined, &profile(id, like)).unwrap();
            for path in GONE.iter().chain([&more]) {
                assert!(!is_there(root, path), "{id}: {path}");
            }
            for path in KEPT {
                assert!(is_there(root, path), "{id}: {path}");
            }
            assert_eq!(fs::read(root.join("etc/machine-id")).unwrap(), b"");
            assert_eq!(
                fs::metadata(root.join("var/tmp")).unwrap().mode() & 0o7777,
                0o1777
            );
            assert_eq!(done.len() > 1, round == 0, "{done:?}");
        }
    }
}

#[test]
fn a_link_to_the_machine_id_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put(root, "etc/machine-id", "0123456789abcdef");
    fs::create_dir_all(root.join("var/lib/dbus")).unwrap();
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id")).unwrap();
    identity(&ConfinedRoot::open(root).unwrap(), &Profile::default()).unwrap();
    assert!(root.join("var/lib/dbus/machine-id").is_symlink());
}

#[test]
fn resolv_conf_leads_to_what_resolves_names() {
    let link = "etc/systemd/system/dbus-org.freedesktop.resolve1.service";
    for (id, there, expected) in [
        ("debian", link, Some("../run/systemd/resolve/stub-resolv.conf")),
        ("gentoo", link, Some("../run/systemd/resolve/stub-resolv.conf")),
        (
            "debian",
            "etc/resolvconf/interface-order",
            Some("../run/resolvconf/resolv.conf"),
        ),
        (
            "sles",
            "etc/sysconfig/network/config",
            Some("../run/netconfig/resolv.conf"),
        ),
        ("rocky", "etc/sysconfig/network/config", None),
        ("debian", "etc/hosts", None),
    ] {
        for old in [Some("nameserver 10.0.2.3\n"), None] {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            put(root, there, "x");
            if let Some(old) = old {
                put(root, "etc/resolv.conf", old);
            }
            identity(&ConfinedRoot::open(root).unwrap(), &profile(id, "")).unwrap();
            let target = fs::read_link(root.join("etc/resolv.conf")).ok();
            assert_eq!(target.as_deref(), expected.map(Path::new), "{id} {there}");
        }
    }
    // A link is somebody's choice.
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), link, "x");
    symlink(
        "/run/NetworkManager/resolv.conf",
        folder.path().join("etc/resolv.conf"),
    )
    .unwrap();
    identity(&ConfinedRoot::open(folder.path()).unwrap(), &Profile::default()).unwrap();
    let target = fs::read_link(folder.path().join("etc/resolv.conf")).unwrap();
    assert_eq!(target, Path::new("/run/NetworkManager/resolv.conf"));
}

#[test]
fn storage_names_are_fresh_and_differ() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(
            root,
            "etc/nvme/hostnqn",
            "nqn.2014-08.org.nvmexpress:uuid:builder\n",
        );
        put(root, "etc/nvme/hostid", "builder\n");
        put(
            root,
            "etc/iscsi/initiatorname.iscsi",
            "# x\nInitiatorName=iqn.2004-10.com.ubuntu:01:abc\n",
        );
        identity(&ConfinedRoot::open(root).unwrap(), &Profile::default()).unwrap();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap().trim().to_owned();
        let (nqn, id) = (read("etc/nvme/hostnqn"), read("etc/nvme/hostid"));
        assert_eq!(nqn, format!("nqn.2014-08.org.nvmexpress:uuid:{id}"));
        let initiator = read("etc/iscsi/initiatorname.iscsi");
        assert!(
            initiator.starts_with("InitiatorName=iqn.2004-10.com.ubuntu:01:") && !initiator.ends_with("abc"),
            "{initiator}"
        );
        assert!(!seen.contains(&id) && !seen.contains(&initiator));
        seen.extend([id, initiator]);
    }
}
