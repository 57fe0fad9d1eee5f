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

/// What was found, each as "PATH: what is wrong".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Not as it was installed.
    pub different: Vec<String>,
    /// It is not known whether it is: the list, or a file, cannot be read.
    pub unknown: Vec<String>,
}

impl Findings {
    /// All of them.
    #[must_use]
    pub fn all(self) -> Vec<String> {
        let mut all = self.different;
        all.extend(self.unknown);
        all.truncate(MAX_FINDINGS);
        all
    }
}

/// Compares the plugin's files below a root with the list.
#[must_use]
pub fn find(root: &Path) -> Findings {
    let mut found = Findings::default();
    let list = match file::read_bounded(&root.join(LIST), MAX_LIST) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            found.unknown.push(format!("/{LIST}: {error}"));
            return found;
        }
    };
    let mut files = 0;
    for line in list.lines().filter(|line| !line.is_empty()) {
        files += 1;
        let Some((expected, path)) = line.split_once("  ") else {
            let text = format!("/{LIST}: line {files} is not \"DIGEST  PATH\"");
            found.unknown.push(text);
            continue;
        };
        match compare(root, expected, path) {
            Ok(None) => {}
            Ok(Some(wrong)) => found.different.push(format!("{path}: {wrong}")),
            Err(error) => found.unknown.push(format!("{path}: {error}")),
        }
    }
    if files == 0 {
        found.unknown.push(format!("/{LIST}: it names no file"));
    }
    found
}

fn compare(root: &Path, expected: &str, path: &str) -> io::Result<Option<&'static str>> {
    let below = root.join(path.trim_start_matches('/'));
    match fs::symlink_metadata(&below) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Some("missing")),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Ok(Some("not a file any more")),
        Ok(_) => {}
    }
    let bytes = file::read_bounded(&below, MAX_FILE)?;
    let same = hex::encode(digest(&SHA256, &bytes)) == expected;
    Ok((!same).then_some("changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_and_missing_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            find(root.path()).unknown[0].contains("guest-files.sha256"),
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
        assert_eq!(find(root.path()), Findings::default());
        fs::write(root.path().join(&files[0][1..]), "other").unwrap();
        fs::remove_file(root.path().join(&files[1][1..])).unwrap();
        assert_eq!(
            find(root.path()).different,
            [format!("{}: changed", files[0]), format!("{}: missing", files[1])]
        );
        fs::write(root.path().join(LIST), "nonsense\n").unwrap();
        let found = find(root.path());
        assert_eq!((found.unknown.len(), found.different.len()), (1, 0));
        fs::write(root.path().join(LIST), "").unwrap();
        assert!(find(root.path()).all()[0].contains("names no file"));
    }
}
