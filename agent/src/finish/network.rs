//! The network of the installed system: written in the words of what brings it up there.
//!
//! An image with cloud-init gets the network-config of its seed and leaves the rest to cloud-init, unless that would lose
//! something. Then, and without cloud-init, the system's own files are written, and what the image had of them is set aside.

use imprint_network::{
    Format, Network, Read, Refused, cloud_init_loses,
    kept::{Kept, PLACES},
    model::{self, Link},
    read, render,
    render::{File, Place},
};

use super::{
    confined::{ConfinedError, ConfinedRoot, Kind},
    profile::Profile,
};

/// Where files of the image are kept that ours replace.
const ASIDE: &str = "var/lib/imprint/replaced";
/// Tells cloud-init that the network is not its business.
const OFF: &str = "etc/cloud/cloud.cfg.d/99-imprint-network.cfg"; // [`super::secrets::NETWORK`], with other words
const OFF_TEXT: &str = "# Written by Imprint: the network's files were written by the installation.\nnetwork: {config: disabled}\n";
/// Longest file that is kept.
const MAX_KEPT: u64 = 1 << 20;

/// Signs that a system brings up its network with something: one of these files is there, and one of those.
struct Sign {
    format: Format,
    program: &'static [&'static str],
    enabled: &'static [&'static str],
}

/// What is more particular comes first: NetworkManager is there beside netplan, networkd comes with every systemd.
const SIGNS: &[Sign] = &[
    Sign {
        format: Format::Netplan,
        program: &["usr/sbin/netplan"],
        enabled: &["etc/netplan"],
    },
    Sign {
        format: Format::Wicked,
        program: &["usr/sbin/wicked"],
        enabled: &[
            "etc/systemd/system/multi-user.target.wants/wicked.service",
            "etc/systemd/system/network-online.target.wants/wicked.service",
        ],
    },
    Sign {
        format: Format::Ifcfg,
        program: &["etc/sysconfig/network-scripts/ifup-eth"],
        enabled: &["etc/sysconfig/network-scripts"],
    },
    Sign {
        format: Format::NetworkManager,
        program: &["usr/sbin/NetworkManager"],
        enabled: &["etc/systemd/system/multi-user.target.wants/NetworkManager.service"],
    },
    Sign {
        format: Format::Networkd,
        program: &["usr/lib/systemd/systemd-networkd", "lib/systemd/systemd-networkd"],
        enabled: &[
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "etc/systemd/system/sysinit.target.wants/systemd-networkd.service",
        ],
    },
    Sign {
        format: Format::Ifupdown,
        program: &["usr/sbin/ifup", "sbin/ifup"],
        enabled: &[
            "etc/systemd/system/multi-user.target.wants/networking.service",
            "etc/systemd/system/network-online.target.wants/networking.service",
            "etc/network/interfaces",
        ],
    },
];

/// What was done with a deployment's network data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// For cloud-init's seed; none where cloud-init has nothing to do with the network.
    pub seed: Option<Vec<u8>>,
    /// One part of the step's sentence.
    pub detail: String,
    /// What is worth keeping besides.
    pub notes: Vec<String>,
}

/// What brings up the network of the system, as far as that shows in its files.
///
/// # Errors
/// When they can't be looked at.
pub(super) fn system(root: &ConfinedRoot) -> Result<Option<Format>, ConfinedError> {
    for sign in SIGNS {
        if any(root, sign.program)? && any(root, sign.enabled)? {
            return Ok(Some(sign.format));
        }
    }
    Ok(None)
}

fn any(root: &ConfinedRoot, paths: &[&str]) -> Result<bool, ConfinedError> {
    for path in paths {
        if root.kind(path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the network of a deployment.
///
/// # Errors
/// When a file can't be written.
pub(super) fn apply(root: &ConfinedRoot, profile: &Profile, data: &[u8]) -> Result<Written, ConfinedError> {
    if data.is_empty() {
        return Ok(Written::default());
    }
    let (network, mut written) = match read(data) {
        Ok(read) => (read.network.clone(), noted(&read)),
        Err(refused) => return Ok(unread(profile, data, &refused)),
    };
    let system = system(root)?;
    let native = match (profile.cloud_init, system) {
        (true, Some(system)) => {
            // Where both are there, older versions of cloud-init write for ifupdown.
            let first = if any(root, &["usr/sbin/ifup", "sbin/ifup"])? {
                Format::Ifupdown
            } else {
                system
            };
            cloud_init_loses(&network, first).map(|why| (system, Some(why)))
        }
        (true, None) => None,
        (false, Some(system)) => Some((system, None)),
        (false, None) => {
            written.notes.push(
                "the network data has no effect: the image has neither cloud-init nor a network system that is known"
                    .to_owned(),
            );
            return Ok(written);
        }
    };
    // The guest plugin compares with it, and restores from it.
    let kept = Kept {
        network: network.clone(),
        system: native.as_ref().map(|(system, _)| *system),
        accepted: None,
        learned: None,
    };
    for place in PLACES {
        root.write(place, kept.to_text().as_bytes(), 0o600)?;
    }
    match native {
        None => {
            written.seed = Some(seed(&network));
            written.detail = "network-config for cloud-init".to_owned();
        }
        Some((system, why)) => {
            own_files(root, &network, system, &mut written)?;
            if profile.cloud_init {
                root.write(OFF, OFF_TEXT.as_bytes(), 0o644)?;
            }
            written.detail = format!("network files of {}", system.word());
            written
                .notes
                .extend(why.map(|why| format!("{why}: the network files were written here instead")));
        }
    }
    Ok(written)
}

fn noted(read: &Read) -> Written {
    Written {
        notes: read
            .warnings
            .iter()
            .map(|warning| format!("network data, {warning}"))
            .collect(),
        ..Written::default()
    }
}

/// The controller checks network data before it takes a deployment: this is one of another version. cloud-init is asked.
fn unread(profile: &Profile, data: &[u8], refused: &Refused) -> Written {
    if profile.cloud_init {
        Written {
            seed: Some(data.to_vec()),
            detail: "network-config for cloud-init, as it was given".to_owned(),
            notes: vec![format!("the network data was not understood here: {refused}")],
        }
    } else {
        Written {
            notes: vec![format!("the network data has no effect: {refused}")],
            ..Written::default()
        }
    }
}

/// The network for a system whose files cannot be reached: cloud-init brings it up. Pure.
pub(super) fn for_cloud_init(data: &[u8]) -> Written {
    if data.is_empty() {
        return Written::default();
    }
    match read(data) {
        Ok(read) => Written {
            seed: Some(seed(&read.network)),
            ..noted(&read)
        },
        Err(refused) => {
            let profile = Profile {
                cloud_init: true,
                ..Profile::default()
            };
            unread(&profile, data, &refused)
        }
    }
}

/// Whether it asks for nothing but addresses by DHCP, which cloud-init does without being told. Pure.
pub(super) fn is_plain_dhcp(data: &[u8]) -> bool {
    let is_plain = |link: &Link| {
        let ip = &link.ip;
        matches!(link.kind, model::Kind::Nic(_))
            && ip.dhcp4.is_some()
            && ip.addresses.is_empty()
            && ip.routes.is_empty()
            && ip.servers.is_empty()
            && link.mac.is_none()
            && link.mtu.is_none()
    };
    read(data).is_ok_and(|read| read.network.links.values().all(is_plain))
}

fn seed(network: &Network) -> Vec<u8> {
    let files = render(network, Format::CloudInit).files;
    files
        .into_iter()
        .next()
        .map(|file| file.content.into_bytes())
        .unwrap_or_default()
}

fn own_files(
    root: &ConfinedRoot,
    network: &Network,
    system: Format,
    written: &mut Written,
) -> Result<(), ConfinedError> {
    let rendered = render(network, system);
    for place in system.places() {
        set_aside(root, place, &rendered.files, written)?;
    }
    for file in &rendered.files {
        root.write(&file.path, file.content.as_bytes(), file.mode)?;
    }
    written.notes.extend(rendered.warnings);
    Ok(())
}

/// Takes other opinions about the network out of the system's sight, and keeps them.
fn set_aside(
    root: &ConfinedRoot,
    place: &Place,
    ours: &[File],
    written: &mut Written,
) -> Result<(), ConfinedError> {
    // Names of interfaces are no opinion about their addresses.
    if place.suffix == ".link" || root.kind(place.folder)? != Some(Kind::Folder) {
        return Ok(());
    }
    for name in root.list(place.folder)? {
        let path = format!("{}/{name}", place.folder);
        let counts = name.starts_with(place.prefix) && name.ends_with(place.suffix);
        let loopback = name == "ifcfg-lo";
        if !counts || loopback || ours.iter().any(|file| file.path == path) {
            continue;
        }
        match root.kind(&path)? {
            Some(Kind::File) => {
                if let Some(bytes) = root.read(&path, MAX_KEPT)? {
                    root.make_folder(ASIDE, 0o700)?;
                    root.write(&format!("{ASIDE}/{path}"), &bytes, 0o600)?;
                }
            }
            // Links to nothing switch a file of the distribution off.
            Some(Kind::Link) => {}
            _ => continue,
        }
        root.remove_file(&path)?;
        written
            .notes
            .push(format!("/{path} of the image was set aside in /{ASIDE}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
