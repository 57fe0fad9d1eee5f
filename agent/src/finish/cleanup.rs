//! What makes one machine out of a copy: the identity of the image's builder goes.
//!
//! Tables, not code, say what goes where; what a distribution doesn't have is not there and does no harm.

use super::{
    confined::{ConfinedError, ConfinedRoot, Kind},
    family::Family,
    profile::{self, Profile},
};

const SMALL: u64 = 64 << 10;

/// Removes the identity of the image. Done twice it finds nothing to do. The answer names what was done.
///
/// # Errors
/// When something can't be removed.
pub fn identity(root: &ConfinedRoot, profile: &Profile) -> Result<Vec<String>, ConfinedError> {
    let family = &profile.family;
    let mut done = Vec::new();
    let mut note = |what: &str| done.push(what.to_owned());
    if profile::has_systemd(root)? || root.kind("etc/machine-id")?.is_some() {
        // Empty, not absent: systemd makes a new one and takes this boot for no first boot with all its questions.
        root.write("etc/machine-id", b"", 0o444)?;
        note("machine-id");
    }
    // As a link it leads to the other one.
    let dbus = "var/lib/dbus/machine-id";
    if root.kind(dbus)? == Some(Kind::File) && root.remove_file(dbus)? {
        note(dbus);
    }
    for path in family.all(|family| &family.identity_files) {
        if root.remove_file(path)? {
            note(path);
        }
    }
    for path in family.all(|family| &family.identity_trees) {
        if root.remove_tree(path)? {
            note(path);
        }
    }
    if remove_matching(root, "etc/ssh", |name| name.starts_with("ssh_host_"))? {
        note("ssh host keys");
    }
    let mut leases = false;
    for folder in family.all(|family| &family.lease_folders) {
        let lease = |name: &str| name.contains("lease") || name == "timestamps" || name.starts_with("duid");
        leases |= remove_matching(root, folder, lease)?;
    }
    if leases {
        note("DHCP leases");
    }
    if profile.cloud_init {
        for path in family.all(|family| &family.cloud_init_leftovers) {
            if root.remove_file(path)? {
                note(path);
            }
        }
    }
    storage_names(root)?.into_iter().for_each(&mut note);
    if resolv_conf(root, family)? {
        note("resolv.conf");
    }
    if root.kind("var")? == Some(Kind::Folder) && shared_folder(root, "var/tmp")? {
        note("var/tmp");
    }
    Ok(done)
}

/// Everybody may write there and only remove what is theirs. True when it was not so.
fn shared_folder(root: &ConfinedRoot, path: &str) -> Result<bool, ConfinedError> {
    const SHARED: u32 = 0o1777;
    match root.kind(path)? {
        None => root.make_folder(path, SHARED).map(|()| true),
        Some(Kind::Folder) => root.set_folder_mode(path, SHARED),
        // Wherever a link leads: that is the image's own choice.
        Some(_) => Ok(false),
    }
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

/// A file that the builder's network left, or none at all; what resolves names wants its link.
fn resolv_conf(root: &ConfinedRoot, family: &Family) -> Result<bool, ConfinedError> {
    const PATH: &str = "etc/resolv.conf";
    if !matches!(root.kind(PATH)?, None | Some(Kind::File)) {
        return Ok(false);
    }
    match family.resolv_conf(root)? {
        Some(target) => root.link(PATH, target).map(|()| true),
        None => Ok(false),
    }
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
mod tests;
