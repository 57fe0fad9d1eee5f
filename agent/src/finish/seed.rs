//! Who the installed system is: cloud-init's seed, or host name and network without it.

use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan};

use super::{
    cleanup,
    confined::{ConfinedError, ConfinedRoot},
    network,
    profile::Profile,
    secrets::{self, SEED},
};

const DATA_SOURCE: &str = "etc/cloud/cloud.cfg.d/99-imprint.cfg";
const DATA_SOURCE_TEXT: &str = "# Written by Imprint: the seed in /var/lib/cloud/seed/nocloud and no other source.\n\
     datasource_list: [NoCloud, None]\n";
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
                write_seed(root, seed, network.seed.as_deref())?;
                "cloud-init seed written"
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

/// `network` is what cloud-init is told of the network; nothing where that is written already.
fn write_seed(
    root: &ConfinedRoot,
    seed: &CloudInitSeed,
    network: Option<&[u8]>,
) -> Result<(), ConfinedError> {
    root.make_folder(SEED, 0o700)?;
    let optional = [
        ("vendor-data", seed.vendor_data.as_slice()),
        ("network-config", network.unwrap_or_default()),
    ];
    for (name, bytes) in optional {
        let path = format!("{SEED}/{name}");
        if bytes.is_empty() {
            root.remove_file(&path)?;
        } else {
            root.write(&path, bytes, 0o600)?;
        }
    }
    // The data source takes the folder only when both are there.
    root.write(&format!("{SEED}/user-data"), &seed.user_data, 0o600)?;
    root.write(&format!("{SEED}/meta-data"), &seed.meta_data, 0o600)?;
    root.write(DATA_SOURCE, DATA_SOURCE_TEXT.as_bytes(), 0o644)
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
        let seed = folder.path().join(SEED);
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
