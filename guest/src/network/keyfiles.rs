//! NetworkManager's connections, as its files name them: ours, cloud-init's and netplan's are named differently.

use std::{fs, path::Path};

use imprint_network::File;

use super::state::read_bounded;

/// Most files that are looked at.
const MAX_FILES: usize = 4096;

/// Words of nmcli that name the connections of these files: those that rest on others last, and not those that come up with
/// the bond or bridge they are members of.
#[must_use]
pub fn connections(files: &[File]) -> Vec<String> {
    let mut found: Vec<(u8, String)> = files
        .iter()
        .filter(|file| file.path.ends_with(".nmconnection"))
        .filter_map(|file| connection(&file.content))
        .collect();
    found.sort();
    found.into_iter().map(|(_, words)| words).collect()
}

fn connection(text: &str) -> Option<(u8, String)> {
    let value = |key: &str| {
        let lines = text
            .lines()
            .skip_while(|line| line.trim() != "[connection]")
            .skip(1);
        let mut lines = lines.take_while(|line| !line.starts_with('['));
        lines.find_map(|line| {
            let (found, value) = line.split_once('=')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        })
    };
    if ["master", "controller"].iter().any(|key| value(key).is_some()) {
        return None;
    }
    let rank = match value("type").as_deref() {
        Some("vlan") => 2,
        Some("bond" | "bridge") => 1,
        _ => 0,
    };
    let words = match value("uuid") {
        Some(uuid) => format!("uuid {uuid}"),
        None => format!("id {}", value("id")?),
    };
    // A name of several words could not be told from several words.
    (words.split(' ').count() == 2).then_some((rank, words))
}

/// The same for ifcfg files, whose connections are called as their interfaces are.
#[must_use]
pub fn ifcfg_names(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let Some((_, name)) = file.path.rsplit_once("/ifcfg-") else {
            continue;
        };
        let says = |key: &str| file.content.lines().any(|line| line.starts_with(key));
        if name == "lo" || says("MASTER=") || says("BRIDGE=") {
            continue;
        }
        let rank = match (says("VLAN=yes"), says("BONDING_MASTER=") || says("TYPE=Bridge")) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        found.push((rank, format!("id {name}")));
    }
    found.sort();
    found.into_iter().map(|(_, words)| words).collect()
}

/// The keyfiles of a folder whose names begin so.
pub fn below(root: &Path, folder: &str, prefix: &str) -> Vec<File> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return Vec::new();
    };
    let mut files: Vec<File> = entries
        .take(MAX_FILES)
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if !name.starts_with(prefix) {
                return None;
            }
            let content = read_bounded(&entry.path()).ok()?;
            Some(File {
                path: format!("{folder}/{name}"),
                mode: 0o600,
                content: String::from_utf8_lossy(&content).into_owned(),
            })
        })
        .collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_kinds() {
        for (text, expected) in [
            (
                "# by cloud-init\n[connection]\nid=cloud-init ens3\nuuid=12-34\ntype=ethernet\n",
                Some((0, "uuid 12-34")),
            ),
            (
                "[connection]\nid=a\ntype=vlan\n[vlan]\nmaster=not this one\n",
                Some((2, "id a")),
            ),
            ("[connection]\nid=a\ntype=bond\n", Some((1, "id a"))),
            ("[connection]\nid=a\nmaster=b\n", None),
            ("[connection]\nid=a\ncontroller=b\n", None),
            ("[connection]\nid=two words\n", None),
            ("[ipv4]\nid=a\n", None),
            ("", None),
        ] {
            let found = connection(text);
            let found = found.as_ref().map(|(rank, words)| (*rank, words.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
