//! Is the ramdisk complete?
//!
//! A machine with too little RAM doesn't panic: the kernel unpacks as much of the initramfs as fits and starts what
//! is there. So the first file of the ramdisk lists all the others, and the agent compares.

use std::{collections::HashSet, fs, path::Path};

use serde::Deserialize;

/// The list, the first file of the ramdisk's archive.
pub const LIST: &str = "etc/imprint/ramdisk.json";
/// The same of the second initrd that a machine is given for a rescue.
pub const RESCUE_LIST: &str = "etc/imprint/rescue.json";
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
    let list = match read(root, LIST) {
        Ok(list) => list,
        Err(defect) => return vec![defect],
    };
    // What a rescue puts in the place of the ramdisk's own is in its list.
    let replaced: HashSet<String> = match read(root, RESCUE_LIST) {
        Ok(rescue) => rescue.files.into_iter().map(|entry| entry.path).collect(),
        Err(_) => HashSet::new(),
    };
    let mut found = compare(root, &list, &replaced, memory_bytes);
    if !list.kernel.is_empty() && !kernel.is_empty() && list.kernel != kernel {
        found.push(format!(
            "the kernel is {kernel}, the ramdisk was made for {}: its modules cannot be loaded",
            list.kernel
        ));
    }
    if root.join(RESCUE_LIST).exists() {
        found.append(&mut rescue_defects(root, memory_bytes));
    }
    found
}

/// The same of what a rescue needs besides.
#[must_use]
pub fn rescue_defects(root: &Path, memory_bytes: Option<u64>) -> Vec<String> {
    let list = match read(root, RESCUE_LIST) {
        Ok(list) => list,
        Err(defect) => return vec![defect],
    };
    let mut found = compare(root, &list, &HashSet::new(), memory_bytes);
    if let Ok(ramdisk) = read(root, LIST)
        && ramdisk.kernel != list.kernel
    {
        found.push(format!(
            "rescue.img was built for {}, initrd.img for {}: they do not belong together",
            list.kernel, ramdisk.kernel
        ));
    }
    found
}

fn read(root: &Path, list: &str) -> Result<List, String> {
    let bytes = fs::read(root.join(list))
        .map_err(|_| format!("the list of the ramdisk's files (/{list}) is missing"))?;
    let list: List = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the list of the ramdisk's files is malformed: {error}"))?;
    if list.version != 1 {
        return Err(format!(
            "the list of the ramdisk's files has version {}, this agent knows 1",
            list.version
        ));
    }
    Ok(list)
}

fn compare(root: &Path, list: &List, without: &HashSet<String>, memory_bytes: Option<u64>) -> Vec<String> {
    let mut broken: Vec<String> = list
        .files
        .iter()
        .filter(|entry| !without.contains(&entry.path))
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
        fs::write(root.path().join("a"), "abcd").unwrap();
        fs::write(root.path().join("b"), "b").unwrap();
        let rescue = r#"{"version":1,"kernel":"6.1","min_memory_mib":900,"files":[{"path":"/a","size":4},{"path":"/c","size":1}]}"#;
        fs::write(root.path().join(RESCUE_LIST), rescue).unwrap();
        let found = defects(root.path(), None, "6.1");
        assert_eq!(
            found,
            [
                "the ramdisk is incomplete (1 of 2 files): it needs 900 MiB of RAM",
                "/c is missing"
            ],
            "/a is the one of the rescue"
        );
        fs::write(root.path().join("c"), "c").unwrap();
        assert_eq!(defects(root.path(), None, "6.1"), [""; 0]);
        fs::write(root.path().join(RESCUE_LIST), rescue.replace("6.1", "6.2")).unwrap();
        assert!(rescue_defects(root.path(), None)[0].contains("do not belong together"));
        fs::remove_file(root.path().join(RESCUE_LIST)).unwrap();
        fs::write(root.path().join(LIST), "{").unwrap();
        assert!(defects(root.path(), None, "6.1")[0].contains("malformed"));
    }
}
