//! The links by which systemd starts what brings the network up: an operator's `systemctl disable` or `mask` is one of
//! these, gone or changed.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use imprint_network::{Format, kept::ServiceLink};

const UNITS: &str = "etc/systemd/system";
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// A link can't be looked at or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub struct ServicesError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn units(system: Format) -> &'static [&'static str] {
    match system {
        Format::Netplan => &["systemd-networkd", "NetworkManager"],
        Format::Networkd => &["systemd-networkd", "systemd-network-generator"],
        Format::NetworkManager => &["NetworkManager"],
        Format::Ifupdown => &["networking"],
        Format::Ifcfg => &["network", "NetworkManager"],
        Format::Wicked => &[
            "wicked",
            "wickedd",
            "wickedd-nanny",
            "wickedd-dhcp4",
            "wickedd-dhcp6",
        ],
        Format::CloudInit => &[],
    }
}

/// Whether a file of systemd's belongs to a network service of this system, or to a part of one ("NetworkManager-dispatcher").
fn belongs(system: Format, name: &str) -> bool {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let part_of = |unit: &str| {
        stem.strip_prefix(unit)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    units(system).iter().any(|unit| part_of(unit))
        || (name.starts_with("dbus-org") && name.contains("network"))
}

/// The links that there are, sorted.
///
/// # Errors
/// When a folder can't be read.
pub fn read(root: &Path, system: Format) -> Result<Vec<ServiceLink>, ServicesError> {
    let mut links = Vec::new();
    let top = root.join(UNITS);
    for name in names(&top)? {
        if name.ends_with(".wants") || name.ends_with(".requires") {
            for unit in names(&top.join(&name))? {
                add(root, system, format!("{UNITS}/{name}/{unit}"), &unit, &mut links);
            }
        } else {
            add(root, system, format!("{UNITS}/{name}"), &name, &mut links);
        }
    }
    links.sort();
    Ok(links)
}

fn add(root: &Path, system: Format, path: String, name: &str, links: &mut Vec<ServiceLink>) {
    if let Ok(target) = fs::read_link(root.join(&path))
        && let Some(target) = target.to_str()
        // Some have another name than what they start.
        && (belongs(system, name) || belongs(system, target.rsplit('/').next().unwrap_or_default()))
    {
        links.push(ServiceLink {
            path,
            target: target.to_owned(),
        });
    }
}

fn names(folder: &Path) -> Result<Vec<String>, ServicesError> {
    let failed = |source| ServicesError {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries.take(MAX_ENTRIES) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// What is not as it was learned, each as a sentence.
///
/// # Errors
/// When a folder can't be read.
pub fn differences(
    root: &Path,
    system: Format,
    learned: &[ServiceLink],
) -> Result<Vec<String>, ServicesError> {
    let there = read(root, system)?;
    let gone = learned
        .iter()
        .filter(|link| !there.contains(link))
        .map(|link| format!("/{} is gone: its service does not start by itself", link.path));
    let masked = there
        .iter()
        .filter(|link| is_mask(link) && !learned.contains(link))
        .map(|link| format!("/{} masks its service", link.path));
    Ok(gone.chain(masked).collect())
}

fn is_mask(link: &ServiceLink) -> bool {
    link.target == "/dev/null"
}

/// Makes the links again, and takes masks away. Whether anything has changed.
///
/// # Errors
/// When one can't be made or removed.
pub fn restore(root: &Path, system: Format, learned: &[ServiceLink]) -> Result<bool, ServicesError> {
    let there = read(root, system)?;
    let mut changed = false;
    for link in there
        .iter()
        .filter(|link| is_mask(link) && !learned.contains(link))
    {
        let path = root.join(&link.path);
        fs::remove_file(&path).map_err(|source| ServicesError { path, source })?;
        changed = true;
    }
    for link in learned.iter().filter(|link| !there.contains(link)) {
        let path = root.join(&link.path);
        let make = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(&path) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            symlink(&link.target, &path)
        };
        make().map_err(|source| ServicesError {
            path: path.clone(),
            source,
        })?;
        changed = true;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_belong_by_their_name_or_by_what_they_start() {
        let root = tempfile::tempdir().unwrap();
        let link = |path: &str, target: &str| {
            let path = root.path().join(UNITS).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        };
        for (path, target) in [
            (
                "multi-user.target.wants/NetworkManager.service",
                "NetworkManager.service",
            ),
            (
                "dbus-org.freedesktop.nm-dispatcher.service",
                "NetworkManager-dispatcher.service",
            ),
            (
                "network-online.target.wants/NetworkManager-wait-online.service",
                "NetworkManager-wait-online.service",
            ),
            (
                "network-online.target.wants/networking.service",
                "networking.service",
            ),
            ("multi-user.target.wants/ssh.service", "ssh.service"),
        ] {
            link(path, &format!("/lib/systemd/system/{target}"));
        }
        assert_eq!(read(root.path(), Format::NetworkManager).unwrap().len(), 3);
        assert_eq!(read(root.path(), Format::Ifupdown).unwrap().len(), 1);
    }

    #[test]
    fn a_service_that_was_disabled_or_masked_starts_again() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(UNITS).join(path);
        let unit = "/lib/systemd/system/systemd-networkd.service";
        for (path, target) in [
            ("multi-user.target.wants/systemd-networkd.service", unit),
            (
                "sockets.target.wants/systemd-networkd.socket",
                "/lib/systemd/system/systemd-networkd.socket",
            ),
            ("dbus-org.freedesktop.network1.service", unit),
            (
                "multi-user.target.wants/cron.service",
                "/lib/systemd/system/cron.service",
            ),
        ] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            symlink(target, at(path)).unwrap();
        }
        let learned = read(root.path(), Format::Networkd).unwrap();
        assert_eq!(learned.len(), 3, "{learned:?}");
        assert!(!restore(root.path(), Format::Networkd, &learned).unwrap());
        fs::remove_file(at("multi-user.target.wants/systemd-networkd.service")).unwrap();
        symlink("/dev/null", at("systemd-networkd.service")).unwrap();
        fs::remove_file(at("multi-user.target.wants/cron.service")).unwrap();
        let said = differences(root.path(), Format::Networkd, &learned).unwrap();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(restore(root.path(), Format::Networkd, &learned).unwrap());
        assert_eq!(read(root.path(), Format::Networkd).unwrap(), learned);
        assert!(
            !at("multi-user.target.wants/cron.service").exists(),
            "that is nobody's business here"
        );
    }
}
