use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use super::*;

const PLAIN: &str = "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    set-name: lan0\n    dhcp4: true\n";
const BOND: &str = "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:01'}}\n  b: {match: {macaddress: '52:54:00:00:00:02'}}\nbonds:\n  bond0: {interfaces: [a, b], parameters: {mode: active-backup, mii-monitor-interval: 100}, dhcp4: true}\n";

/// A system with some files, and what its network becomes.
fn applied(files: &[&str], cloud_init: bool, data: &str) -> (tempfile::TempDir, Written) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "old").unwrap();
    }
    let root = ConfinedRoot::open(folder.path()).unwrap();
    let profile = Profile {
        cloud_init,
        ..Profile::default()
    };
    let written = apply(&root, &profile, data.as_bytes()).unwrap();
    // A step that is done again finds its own files and leaves them.
    let again = apply(&root, &profile, data.as_bytes()).unwrap();
    assert_eq!((&again.seed, &again.detail), (&written.seed, &written.detail));
    (folder, written)
}

fn text(folder: &Path, path: &str) -> String {
    fs::read_to_string(folder.join(path)).unwrap_or_default()
}

#[test]
fn every_system_gets_its_own_files() {
    for (files, format, path) in [
        (
            &[
                "usr/sbin/netplan",
                "etc/netplan/x.yaml",
                "usr/sbin/NetworkManager",
                "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
            ][..],
            Format::Netplan,
            "etc/netplan/90-imprint.yaml",
        ),
        (
            &[
                "usr/sbin/wicked",
                "etc/systemd/system/multi-user.target.wants/wicked.service",
            ],
            Format::Wicked,
            "etc/sysconfig/network/ifcfg-bond0",
        ),
        (
            &[
                "usr/sbin/NetworkManager",
                "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
                "etc/sysconfig/network-scripts/ifup-eth",
            ],
            Format::Ifcfg,
            "etc/sysconfig/network-scripts/ifcfg-bond0",
        ),
        (
            &[
                "usr/sbin/NetworkManager",
                "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
                "usr/lib/systemd/systemd-networkd",
            ],
            Format::NetworkManager,
            "etc/NetworkManager/system-connections/imprint-bond0.nmconnection",
        ),
        (
            &[
                "lib/systemd/systemd-networkd",
                "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
                "sbin/ifup",
                "etc/network/interfaces",
            ],
            Format::Networkd,
            "etc/systemd/network/10-imprint-bond0.netdev",
        ),
        (
            &[
                "sbin/ifup",
                "lib/systemd/systemd-networkd",
                "etc/network/interfaces",
            ],
            Format::Ifupdown,
            "etc/network/interfaces",
        ),
    ] {
        let (folder, written) = applied(files, false, BOND);
        assert_eq!(written.detail, format!("network files of {}", format.word()));
        assert_eq!(written.seed, None);
        assert!(text(folder.path(), path).contains("Imprint"), "{path}");
    }
}

#[test]
fn cloud_init_is_left_what_it_can_do() {
    let networkd = [
        "usr/lib/systemd/systemd-networkd",
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "etc/systemd/network/eth0.network",
    ];
    let (folder, written) = applied(&networkd, true, PLAIN);
    let seed = String::from_utf8(written.seed.unwrap()).unwrap();
    assert!(seed.contains("macaddress: \"52:54:00:00:00:01\""), "{seed}");
    assert!(!folder.path().join(OFF).exists());
    assert_eq!(text(folder.path(), "etc/systemd/network/eth0.network"), "old");

    let kept = |folder: &Path| {
        let texts = PLACES.map(|place| text(folder, place));
        assert_eq!(texts[0], texts[1]);
        Kept::from_text(&texts[0]).unwrap()
    };
    assert_eq!(kept(folder.path()).system, None);

    let (folder, written) = applied(&networkd, true, BOND);
    assert_eq!(written.seed, None);
    assert_eq!(kept(folder.path()).system, Some(Format::Networkd));
    assert!(
        kept(folder.path())
            .files()
            .iter()
            .all(|file| text(folder.path(), &file.path) == file.content)
    );
    assert!(text(folder.path(), OFF).contains("config: disabled"));
    assert!(
        written.notes.iter().any(|note| note.contains("bonds")),
        "{:?}",
        written.notes
    );
    // What the image had would bring up the interface beside the bond.
    assert!(!folder.path().join("etc/systemd/network/eth0.network").exists());
    let kept = folder.path().join(ASIDE).join("etc/systemd/network/eth0.network");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
    assert_eq!(
        fs::metadata(folder.path().join(ASIDE)).unwrap().mode() & 0o777,
        0o700
    );

    // netplan loses nothing.
    let (_, written) = applied(&["usr/sbin/netplan", "etc/netplan/x.yaml"], true, BOND);
    assert!(
        String::from_utf8(written.seed.unwrap())
            .unwrap()
            .contains("bond0:")
    );
}

#[test]
fn what_cannot_be_done_is_told() {
    let (_, written) = applied(&["etc/os-release"], false, PLAIN);
    assert!(written.notes[0].contains("has no effect"), "{:?}", written.notes);
    let (_, written) = applied(&[], false, "version: 2\nethernets: 5\n");
    assert!(written.notes[0].contains("line 2"), "{:?}", written.notes);
    // A newer controller's words may be for cloud-init alone.
    let (_, written) = applied(&[], true, "version: 2\nwifis: {}\n");
    assert_eq!(written.seed.as_deref(), Some(&b"version: 2\nwifis: {}\n"[..]));
    assert_eq!(applied(&[], true, "").1, Written::default());
}

/// OpenStack's words become cloud-init's.
#[test]
fn network_data_of_openstack() {
    let data = r#"{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}], "networks": [{"link": "a", "type": "ipv4_dhcp"}]}"#;
    let (_, written) = applied(&[], true, data);
    let seed = String::from_utf8(written.seed.unwrap()).unwrap();
    assert!(seed.contains("version: 2\nethernets:\n  a:\n"), "{seed}");
}
