//! Facts about the installed system that decide how it is finished.

use super::{
    confined::{ConfinedError, ConfinedRoot},
    extras::{self, FstabMount},
    family::{self, Family},
};

const SMALL: u64 = 256 << 10;

/// What the installed system is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// ID of os-release: "debian".
    pub id: String,
    /// PRETTY_NAME of os-release.
    pub name: String,
    /// What is known of its family.
    pub family: Family,
    /// Has cloud-init.
    pub cloud_init: bool,
    /// Has systemd.
    pub systemd: bool,
    /// SELinux is on: files without labels would be denied.
    pub selinux: bool,
    /// Makes missing ssh host keys itself.
    pub makes_ssh_keys: bool,
    /// What fstab mounts where something is read or written.
    pub fstab: Vec<FstabMount>,
}

/// Reads the facts.
///
/// # Errors
/// When a file can't be read.
pub fn read(root: &ConfinedRoot) -> Result<Profile, ConfinedError> {
    let text = |path: &str| -> Result<String, ConfinedError> {
        Ok(String::from_utf8_lossy(&root.read(path, SMALL)?.unwrap_or_default()).into_owned())
    };
    let any = |paths: &[&str]| -> Result<bool, ConfinedError> {
        paths
            .iter()
            .try_fold(false, |found, path| Ok(found || root.kind(path)?.is_some()))
    };
    let release = text("etc/os-release")?;
    let selinux = assignment(&text("etc/selinux/config")?, "SELINUX");
    let cloud_init = any(&["usr/bin/cloud-init", "bin/cloud-init", "usr/local/bin/cloud-init"])?;
    let id = assignment(&release, "ID");
    let family = family::of(&id, &assignment(&release, "ID_LIKE"));
    let makers: Vec<&str> = family.all(|family| &family.host_key_makers).collect();
    let makes_ssh_keys = cloud_init || any(&makers)?;
    Ok(Profile {
        id,
        name: assignment(&release, "PRETTY_NAME"),
        cloud_init,
        systemd: has_systemd(root)?,
        selinux: matches!(selinux.as_str(), "enforcing" | "permissive"),
        makes_ssh_keys,
        family,
        fstab: extras::read_fstab(&text("etc/fstab")?),
    })
}

/// Whether systemd is there.
///
/// # Errors
/// When a folder can't be read.
pub fn has_systemd(root: &ConfinedRoot) -> Result<bool, ConfinedError> {
    Ok(root.kind("usr/lib/systemd/systemd")?.is_some() || root.kind("lib/systemd/systemd")?.is_some())
}

/// A value of a shell-like file: `ID="debian"`.
fn assignment(text: &str, key: &str) -> String {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_assignments() {
        let release = "NAME=\"Debian GNU/Linux\"\nID=debian\nPRETTY_NAME='Debian 12'\n";
        assert_eq!(assignment(release, "ID"), "debian");
        assert_eq!(assignment(release, "PRETTY_NAME"), "Debian 12");
        assert_eq!(assignment(release, "VERSION"), "");
    }
}
