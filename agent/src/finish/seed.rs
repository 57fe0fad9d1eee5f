//! Who the installed system is: cloud-init's seed, or host name and network without it.

use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan, SeedLayout};

use super::{
    cleanup,
    confined::{ConfinedError, ConfinedRoot},
    network,
    profile::Profile,
    secrets::{self, CONFIG_DRIVE, NETWORK, NO_CLOUD},
};

const DATA_SOURCE: &str = "etc/cloud/cloud.cfg.d/99-imprint.cfg";
const SSH_KEYS: &str = "imprint-ssh-keys.service";
const SSH_KEYS_UNIT: &str = "[Unit]\n\
     Description=SSH host keys of this machine\n\
     ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key\n\
     ConditionFileIsExecutable=/usr/bin/ssh-keygen\n\
     Before=ssh.service sshd.service\n\n\
     [Service]\n\
     Type=oneshot\n\
     ExecStart=/usr/bin/ssh-keygen -A\n\n\
     [Install]\n\
     WantedBy=multi-user.target\n";

/// Removes the identity of the image and writes that of this machine. The answer is the report's sentence and notes.
///
/// # Errors
/// When a file can't be changed.
pub fn apply(
    root: &ConfinedRoot,
    profile: &Profile,
    plan: &FinishPlan,
) -> Result<(String, Vec<String>), ConfinedError> {
    let mut notes = Vec::new();
    // An earlier agent of this task may have left a seed, which would be removed below but stay on the disk.
    secrets::erase_seed(root)?;
    let removed = cleanup::identity(root, profile)?;
    let seed = plan.seed.as_ref();
    let data = seed
        .map(|seed| seed.network_config.as_slice())
        .unwrap_or_default();
    let network = network::apply(root, profile, data)?;
    let detail = if profile.cloud_init {
        match seed {
            Some(seed) => {
                write_seed(root, seed, plan.seed_layout(), data, network.seed.as_deref())?;
                match plan.seed_layout() {
                    SeedLayout::ConfigDrive => "cloud-init seed written as ConfigDrive",
                    _ => "cloud-init seed written",
                }
            }
            None => "no cloud-init seed in the plan",
        }
    } else {
        if seed.is_some_and(|seed| !seed.user_data.is_empty()) {
            notes.push(
                "the image has no cloud-init: user-data has no effect; only host name and network are set"
                    .to_owned(),
            );
        }
        host_name(root, &plan.hostname)?;
        "host name written, the image has no cloud-init"
    };
    if !profile.makes_ssh_keys && profile.systemd && root.kind("etc/ssh/sshd_config")?.is_some() {
        root.write(
            &format!("etc/systemd/system/{SSH_KEYS}"),
            SSH_KEYS_UNIT.as_bytes(),
            0o644,
        )?;
        root.link(
            &format!("etc/systemd/system/multi-user.target.wants/{SSH_KEYS}"),
            &format!("../{SSH_KEYS}"),
        )?;
    }
    // What we write gets the label of what it replaces or of its folder, where there are labels.
    if profile.selinux && !root.is_labelled("etc/os-release")? {
        root.write(".autorelabel", b"", 0o644)?;
        notes.push(
            "SELinux is on and the image has no labels: the first boot labels the files and restarts once"
                .to_owned(),
        );
    }
    notes.extend(network.notes);
    let network = if network.detail.is_empty() {
        String::new()
    } else {
        format!("; {}", network.detail)
    };
    Ok((
        format!(
            "{detail}{network}; identity of the image removed: {}",
            removed.join(", ")
        ),
        notes,
    ))
}

/// `network` is what cloud-init is told of the network, nothing where that is written already; `given` is what it was made
/// of.
fn write_seed(
    root: &ConfinedRoot,
    seed: &CloudInitSeed,
    layout: SeedLayout,
    given: &[u8],
    network: Option<&[u8]>,
) -> Result<(), ConfinedError> {
    let network = network.unwrap_or_default();
    let (folder, source, network) = match layout {
        SeedLayout::ConfigDrive => {
            let is_drive = !network.is_empty() && network_data(given);
            if !is_drive && !network.is_empty() {
                let text = system_network(network);
                root.write(&format!("etc/cloud/cloud.cfg.d/{NETWORK}"), &text, 0o600)?;
            }
            (CONFIG_DRIVE, "ConfigDrive", if is_drive { given } else { &[] })
        }
        SeedLayout::NoCloud | SeedLayout::Unspecified => (NO_CLOUD, "NoCloud", network),
    };
    root.make_folder(folder, 0o700)?;
    for (name, bytes) in files(seed, layout, network) {
        let path = format!("{folder}/{name}");
        match bytes {
            Some(bytes) => root.write(&path, bytes, 0o600)?,
            None => {
                root.remove_file(&path)?;
            }
        }
    }
    let text = format!(
        "# Written by Imprint: the seed in /{folder} and no other source.\ndatasource_list: [{source}, None]\n"
    );
    root.write(DATA_SOURCE, text.as_bytes(), 0o644)
}

/// The files of a seed in the folder that its data source reads; `None`: left out. The data sources take the folder only when
/// user-data and meta-data are there: those are always, and come last.
pub(super) fn files<'a>(
    seed: &'a CloudInitSeed,
    layout: SeedLayout,
    network: &'a [u8],
) -> [(&'static str, Option<&'a [u8]>); 4] {
    let [vendor_name, network_name, user_name, meta_name] = match layout {
        SeedLayout::ConfigDrive => [
            "vendor_data.json",
            "network_data.json",
            "user_data",
            "meta_data.json",
        ],
        SeedLayout::NoCloud | SeedLayout::Unspecified => {
            ["vendor-data", "network-config", "user-data", "meta-data"]
        }
    };
    let unless_empty = |bytes: &'a [u8]| Some(bytes).filter(|bytes| !bytes.is_empty());
    [
        (vendor_name, unless_empty(&seed.vendor_data)),
        (network_name, unless_empty(network)),
        (user_name, Some(&seed.user_data)),
        (meta_name, Some(&seed.meta_data)),
    ]
}

/// Whether network data is in the form that a ConfigDrive has it.
pub(super) fn network_data(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text).is_ok_and(|value| value.get("links").is_some())
}

/// Network-config version 2 as a part of cloud-init's own settings, which a ConfigDrive has no place for.
fn system_network(config: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(config);
    let mut out = String::from("# Written by Imprint: the network of this machine.\nnetwork:\n");
    for line in text.lines() {
        out.push_str("  ");
        out.push_str(line);
        out.push('\n');
    }
    out.into_bytes()
}

fn host_name(root: &ConfinedRoot, name: &str) -> Result<(), ConfinedError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Ok(());
    }
    root.write("etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
    let hosts = root.read("etc/hosts", 1 << 20)?;
    let hosts = hosts.map_or_else(
        || "127.0.0.1 localhost\n".to_owned(),
        |hosts| String::from_utf8_lossy(&hosts).into_owned(),
    );
    root.write("etc/hosts", with_host(&hosts, name).as_bytes(), 0o644)
}

/// The hosts file with a line of its own for this machine, as Debian has it.
fn with_host(hosts: &str, name: &str) -> String {
    let short = name.split('.').next().unwrap_or(name);
    let names = if short == name {
        name.to_owned()
    } else {
        format!("{name} {short}")
    };
    let kept = hosts
        .lines()
        .filter(|line| line.split_whitespace().next() != Some("127.0.1.1"));
    let mut out: String = kept.flat_map(|line| [line, "\n"]).collect();
    out.push_str(&format!("127.0.1.1 {names}\n"));
    out
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;

    fn plan() -> FinishPlan {
        let seed = CloudInitSeed {
            meta_data: b"instance-id: 1\n".to_vec(),
            user_data: b"#cloud-config\n".to_vec(),
            vendor_data: vec![],
            network_config: b"version: 2\nethernets: {lan0: {dhcp4: true}}\n".to_vec(),
        };
        FinishPlan {
            seed: Some(seed),
            hostname: "db1.example.net".into(),
            ..FinishPlan::default()
        }
    }

    #[test]
    fn writes_a_private_seed() {
        let folder = tempfile::tempdir().unwrap();
        let root = ConfinedRoot::open(folder.path()).unwrap();
        let profile = Profile {
            cloud_init: true,
            makes_ssh_keys: true,
            ..Profile::default()
        };
        for _ in 0..2 {
            apply(&root, &profile, &plan()).unwrap();
        }
        let seed = folder.path().join(NO_CLOUD);
        for (name, content) in [
            ("meta-data", "instance-id: 1\n"),
            ("user-data", "#cloud-config\n"),
            (
                "network-config",
                "# Written by Imprint from the deployment's network data.\n\
                 version: 2\nethernets:\n  lan0:\n    dhcp4: true\n",
            ),
        ] {
            assert_eq!(fs::read_to_string(seed.join(name)).unwrap(), content);
            assert_eq!(fs::metadata(seed.join(name)).unwrap().mode() & 0o7777, 0o600);
        }
        assert!(!seed.join("vendor-data").exists());
        assert_eq!(fs::metadata(&seed).unwrap().mode() & 0o7777, 0o700);
        assert!(
            fs::read_to_string(folder.path().join(DATA_SOURCE))
                .unwrap()
                .contains("[NoCloud, None]")
        );
    }

    #[test]
    fn the_same_as_a_config_drive() {
        let profile = Profile {
            cloud_init: true,
            ..Profile::default()
        };
        let drive_network =
            br#"{"links": [{"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}],
            "networks": [{"id": "n", "type": "ipv4_dhcp", "link": "l"}], "services": []}"#;
        let given = plan().seed.unwrap().network_config;
        for (network, in_drive) in [(&drive_network[..], true), (&given, false)] {
            let folder = tempfile::tempdir().unwrap();
            let root = ConfinedRoot::open(folder.path()).unwrap();
            let mut plan = plan();
            plan.set_seed_layout(SeedLayout::ConfigDrive);
            let seed = plan.seed.as_mut().unwrap();
            seed.meta_data = b"{\"uuid\":\"1\"}".to_vec();
            seed.network_config = network.to_vec();
            for _ in 0..2 {
                apply(&root, &profile, &plan).unwrap();
            }
            let drive = folder.path().join(CONFIG_DRIVE);
            assert_eq!(
                fs::read(drive.join("meta_data.json")).unwrap(),
                b"{\"uuid\":\"1\"}"
            );
            assert_eq!(fs::read(drive.join("user_data")).unwrap(), b"#cloud-config\n");
            assert_eq!(
                fs::read(drive.join("network_data.json")).ok(),
                in_drive.then(|| network.to_vec())
            );
            let settings = folder.path().join("etc/cloud/cloud.cfg.d");
            let own = fs::read_to_string(settings.join(NETWORK)).ok();
            assert_eq!(own.is_some(), !in_drive);
            if let Some(own) = own {
                assert!(
                    own.contains("network:\n  # Written") && own.contains("\n  version: 2\n  ethernets:\n"),
                    "{own}"
                );
            }
            for name in ["user_data", "meta_data.json"] {
                assert_eq!(fs::metadata(drive.join(name)).unwrap().mode() & 0o7777, 0o600);
            }
            assert!(!folder.path().join(NO_CLOUD).exists());
            let source = fs::read_to_string(folder.path().join(DATA_SOURCE)).unwrap();
            assert!(source.contains("[ConfigDrive, None]"), "{source}");
            assert_eq!(secrets::erase_seed(&root).unwrap(), 3);
            assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_hostile_image_gets_no_seed_out_of_its_root() {
        let base = tempfile::tempdir().unwrap();
        let (inside, outside) = (base.path().join("root"), base.path().join("outside"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(inside.join("var/lib")).unwrap();
        symlink(&outside, inside.join("var/lib/cloud")).unwrap();
        symlink(outside.join("cfg"), inside.join("etc")).unwrap();
        let root = ConfinedRoot::open(&inside).unwrap();
        let profile = Profile {
            cloud_init: true,
            systemd: true,
            selinux: true,
            ..Profile::default()
        };
        assert!(apply(&root, &profile, &plan()).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn without_cloud_init_the_host_name_is_written_and_the_rest_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/ssh")).unwrap();
        fs::write(folder.path().join("etc/ssh/sshd_config"), "").unwrap();
        fs::write(
            folder.path().join("etc/hosts"),
            "127.0.0.1 localhost\n127.0.1.1 builder\n",
        )
        .unwrap();
        let root = ConfinedRoot::open(folder.path()).unwrap();
        let profile = Profile {
            systemd: true,
            ..Profile::default()
        };
        let (_, notes) = apply(&root, &profile, &plan()).unwrap();
        assert!(notes[0].contains("no cloud-init"), "{notes:?}");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(read("etc/hostname"), "db1.example.net\n");
        assert_eq!(
            read("etc/hosts"),
            "127.0.0.1 localhost\n127.0.1.1 db1.example.net db1\n"
        );
        assert!(
            folder
                .path()
                .join("etc/systemd/system/multi-user.target.wants")
                .join(SSH_KEYS)
                .is_symlink()
        );
    }
}
