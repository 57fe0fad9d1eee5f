//! Is the ramdisk complete?
//!
//! A machine with too little RAM doesn't panic: the kernel unpacks as much of the initramfs as fits and starts what
//! is there. So the first file of the ramdisk lists all the others, and the agent compares.

use std::{fs, path::Path};

use serde::Deserialize;

/// The list, the first file of the ramdisk's archive.
pub const LIST: &str = "etc/imprint/ramdisk.json";
/// More than this many lines would say the same thing again.
const MOST_NAMED: usize = 5;

#[derive(Deserialize)]
struct List {
    version: u32,
    #[serde(default)]
    kernel: String,
    min_memory_mib: u64,
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    size: u64,
}

/// Compares the files below a root folder with the list; the answer is what an operator has to know, empty when all
/// is there. Outside of a ramdisk, without a list, there is nothing to compare.
#[must_use]
pub fn defects(root: &Path, memory_bytes: Option<u64>, kernel: &str) -> Vec<String> {
    let path = root.join(LIST);
    let Ok(bytes) = fs::read(&path) else {
        return vec!["the list of the ramdisk's files (/etc/imprint/ramdisk.json) is missing".to_owned()];
    };
    let list: List = match serde_json::from_slice(&bytes) {
        Ok(list) => list,
        Err(error) => return vec![format!("the list of the ramdisk's files is malformed: {error}")],
    };
    if list.version != 1 {
        return vec![format!(
            "the list of the ramdisk's files has version {}, this agent knows 1",
            list.version
        )];
    }
    let mut broken: Vec<String> = list
        .files
        .iter()
        .filter_map(|entry| broken(root, entry))
        .collect();
    let mut found = Vec::new();
    if !broken.is_empty() {
        let has = memory_bytes.map_or(String::new(), |bytes| format!(", has {} MiB", bytes >> 20));
        let (count, all) = (broken.len(), list.files.len());
        found.push(format!(
            "the ramdisk is incomplete ({count} of {all} files): it needs {} MiB of RAM{has}",
            list.min_memory_mib
        ));
        if count > MOST_NAMED {
            broken.truncate(MOST_NAMED);
            broken.push(format!("and {} more", count - MOST_NAMED));
        }
        found.append(&mut broken);
    }
    if !list.kernel.is_empty() && !kernel.is_empty() && list.kernel != kernel {
        found.push(format!(
            "the kernel is {kernel}, the ramdisk was made for {}: its modules cannot be loaded",
            list.kernel
        ));
    }
    found
}

fn broken(root: &Path, entry: &Entry) -> Option<String> {
    match fs::metadata(root.join(entry.path.trim_start_matches('/'))) {
        Ok(found) if found.len() == entry.size => None,
        Ok(found) => Some(format!(
            "{} has {} bytes instead of {}",
            entry.path,
            found.len(),
            entry.size
        )),
        Err(_) => Some(format!("{} is missing", entry.path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_short_files_are_named_with_the_memory_that_is_needed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/imprint")).unwrap();
        assert_eq!(defects(root.path(), None, "k").len(), 1, "no list");
        let list = r#"{"version":1,"kernel":"6.1","min_memory_mib":768,"files":[{"path":"/a","size":3},{"path":"/b","size":1}]}"#;
        fs::write(root.path().join(LIST), list).unwrap();
        fs::write(root.path().join("a"), "abc").unwrap();
        fs::write(root.path().join("b"), "b").unwrap();
        assert_eq!(defects(root.path(), None, "6.1"), [""; 0]);
        assert!(defects(root.path(), None, "6.9")[0].contains("6.9"));
        fs::write(root.path().join("a"), "ab").unwrap();
        fs::remove_file(root.path().join("b")).unwrap();
        let found = defects(root.path(), Some(512 << 20), "6.1");
        assert_eq!(
            found[0],
            "the ramdisk is incomplete (2 of 2 files): it needs 768 MiB of RAM, has 512 MiB"
        );
        assert_eq!(found[1..], ["/a has 2 bytes instead of 3", "/b is missing"]);
        fs::write(root.path().join(LIST), "{").unwrap();
        assert!(defects(root.path(), None, "6.1")[0].contains("malformed"));
    }
}
