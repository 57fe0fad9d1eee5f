//! Whether the plugin's own files are as they were installed.
//!
//! `/etc/imprint/guest-files.sha256` has the form of sha256sum(1), so that `sha256sum --check` reads it as well. It finds
//! accidents and half-done removals, not somebody with root: who may change the files may change the list.

use std::{fs, io, path::Path};

use aws_lc_rs::digest::{SHA256, digest};

use crate::file;

/// The list, below the root.
pub const LIST: &str = "etc/imprint/guest-files.sha256";

const MAX_LIST: u64 = 64 << 10;
const MAX_FILE: u64 = 64 << 20;
/// Findings that are told.
const MAX_FINDINGS: usize = 64;

/// What is not as it was installed, each as "PATH: what is wrong"; empty when all is well.
#[must_use]
pub fn find(root: &Path) -> Vec<String> {
    let list = match file::read_bounded(&root.join(LIST), MAX_LIST) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return vec![format!("/{LIST}: {error}")],
    };
    let mut findings = Vec::new();
    let mut files = 0;
    for line in list.lines().filter(|line| !line.is_empty()) {
        files += 1;
        let Some((expected, path)) = line.split_once("  ") else {
            findings.push(format!("/{LIST}: line {files} is not \"DIGEST  PATH\""));
            continue;
        };
        if let Some(wrong) = compare(root, expected, path) {
            findings.push(format!("{path}: {wrong}"));
        }
    }
    if files == 0 {
        findings.push(format!("/{LIST}: it names no file"));
    }
    findings.truncate(MAX_FINDINGS);
    findings
}

fn compare(root: &Path, expected: &str, path: &str) -> Option<String> {
    let below = root.join(path.trim_start_matches('/'));
    match fs::symlink_metadata(&below) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Some("missing".into()),
        Err(error) => return Some(error.to_string()),
        Ok(metadata) if !metadata.is_file() => return Some("not a file any more".into()),
        Ok(_) => {}
    }
    match file::read_bounded(&below, MAX_FILE) {
        Err(error) => Some(error.to_string()),
        Ok(bytes) if hex::encode(digest(&SHA256, &bytes)) == expected => None,
        Ok(_) => Some("changed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_and_missing_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            find(root.path())[0].contains("guest-files.sha256"),
            "no list at all"
        );
        for folder in ["etc/imprint", "opt/imprint", "etc/systemd/system"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let files = [
            "/opt/imprint/imprint-guest",
            "/etc/systemd/system/imprint-guest.service",
        ];
        let mut list = String::new();
        for path in files {
            fs::write(root.path().join(&path[1..]), path).unwrap();
            list += &format!("{}  {path}\n", hex::encode(digest(&SHA256, path.as_bytes())));
        }
        fs::write(root.path().join(LIST), &list).unwrap();
        assert_eq!(find(root.path()), Vec::<String>::new());
        fs::write(root.path().join(&files[0][1..]), "other").unwrap();
        fs::remove_file(root.path().join(&files[1][1..])).unwrap();
        assert_eq!(
            find(root.path()),
            [format!("{}: changed", files[0]), format!("{}: missing", files[1])]
        );
        fs::write(root.path().join(LIST), "nonsense\n").unwrap();
        assert_eq!(find(root.path()).len(), 1);
        fs::write(root.path().join(LIST), "").unwrap();
        assert!(find(root.path())[0].contains("names no file"));
    }
}
