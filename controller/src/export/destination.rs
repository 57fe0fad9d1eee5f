//! Where files go: a bucket that the configuration names, and a key in it.

use std::fmt;

use super::{ExportFault, Exports};
pub use crate::config::DestinationConfig as Destination;

const MAX_KEY_BYTES: usize = 512;

/// Key of an object, below the prefix of its bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Letters, digits, dots, hyphens, underscores and single slashes.
    pub fn parse(text: &str) -> Result<Self, ExportFault> {
        let wrong = |why| {
            Err(ExportFault::Key {
                key: text.chars().take(100).collect(),
                why,
            })
        };
        if text.is_empty() || text.len() > MAX_KEY_BYTES {
            return wrong("it is empty or longer than 512 characters");
        }
        for part in text.split('/') {
            if matches!(part, "" | "." | "..") {
                return wrong("it has an empty part, or one that is a dot or two");
            }
            if !part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            {
                return wrong("it has a character that is not a letter, a digit, `.`, `_` or `-`");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// As a file name that may have characters that keys may not.
    #[must_use]
    pub fn of_file_name(name: &str) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        };
        Self(name.chars().take(200).map(plain).collect())
    }

    /// Below a folder.
    fn below(self, folder: &str) -> Self {
        Self(format!("{folder}/{}", self.0))
    }

    /// Where a project's object of this name lies: several projects in one bucket have a folder each.
    pub(super) fn of_project(self, destination: &Destination, project_id: &str) -> Self {
        match destination.folder_of(project_id) {
            Some(folder) => self.below(folder),
            None => self,
        }
    }

    /// With an ending.
    pub(super) fn with(&self, ending: &str) -> Self {
        Self(format!("{}{ending}", self.0))
    }

    /// The part behind the last slash.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn path(&self) -> object_store::path::Path {
        object_store::path::Path::from(self.0.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Exports {
    /// The destination of this name, if the project may write to it.
    pub(super) fn destination(&self, project_id: &str, name: &str) -> Result<&Destination, ExportFault> {
        let mut open = self.0.destinations.iter().filter(|d| d.is_open_to(project_id));
        open.clone()
            .find(|destination| destination.name == name)
            .ok_or_else(|| ExportFault::NoDestination {
                name: name.chars().take(100).collect(),
                known: open
                    .by_ref()
                    .map(|destination| destination.name.clone())
                    .collect(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_prefix() {
        for good in ["a", "images/debian-12.qcow2", "A_1/b.c/d"] {
            assert_eq!(ObjectKey::parse(good).unwrap().to_string(), good);
        }
        let long = "a".repeat(513);
        for bad in [
            "", "/a", "a/", "a//b", "../a", "a/./b", "a b", "ä", "a\\b", "a\n", &long,
        ] {
            assert!(
                matches!(ObjectKey::parse(bad), Err(ExportFault::Key { .. })),
                "{bad:?}"
            );
        }
        let key = ObjectKey::of_file_name("My image (1).raw");
        assert_eq!(key.to_string(), "My_image__1_.raw");
        assert_eq!(key.below("p").with(".sha256").name(), "My_image__1_.raw.sha256");
    }
}
