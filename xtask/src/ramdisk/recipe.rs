//! The recipe: lists of names in `ramdisk/*.txt` and files in `ramdisk/root/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A name of a list; those with a leading `?` may be missing in this release of the distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub optional: bool,
}

/// What goes into an initrd.
#[derive(Debug)]
pub struct Recipe {
    pub packages: Vec<Item>,
    pub modules: Vec<Item>,
    /// Files and symbolic links of the packages, as absolute paths.
    pub files: Vec<Item>,
    /// Symbolic links: path and target.
    pub links: Vec<(String, String)>,
    /// Folder whose files are laid over the rest.
    pub root: PathBuf,
}

impl Recipe {
    /// The ramdisk's own, and what a rescue needs besides.
    pub fn read(folder: &Path) -> Result<(Self, Self)> {
        let mut own = Self::of(folder)?;
        own.modules = items(&list(folder, "modules.txt")?);
        let rescue = Self::of(&folder.join("rescue"))?;
        Ok((own, rescue))
    }

    fn of(folder: &Path) -> Result<Self> {
        Ok(Self {
            packages: items(&list(folder, "packages.txt")?),
            modules: Vec::new(),
            files: items(&list(folder, "files.txt")?),
            links: links(&list(folder, "links.txt")?)?,
            root: folder.join("root"),
        })
    }
}

fn list(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Names, several on a line; `#` starts a comment.
fn items(text: &str) -> Vec<Item> {
    let words = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
    words
        .map(|word| match word.strip_prefix('?') {
            Some(name) => Item {
                name: name.to_owned(),
                optional: true,
            },
            None => Item {
                name: word.to_owned(),
                optional: false,
            },
        })
        .collect()
}

/// Lines of `path -> target`.
fn links(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|l| !l.is_empty());
    lines
        .map(|line| match line.split_once(" -> ") {
            Some((path, target)) => Ok((path.trim().to_owned(), target.trim().to_owned())),
            None => bail!("links.txt: {line:?} is not `path -> target`"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_comments_and_optional_names() {
        let item = |name: &str, optional| Item {
            name: name.to_owned(),
            optional,
        };
        assert_eq!(
            items("# disks\nnvme ahci # both\n\n?mpi3mr\n"),
            [item("nvme", false), item("ahci", false), item("mpi3mr", true)]
        );
        assert_eq!(
            links("/init -> usr/lib/systemd/systemd\n").unwrap(),
            [("/init".into(), "usr/lib/systemd/systemd".into())]
        );
        assert!(links("/init usr/lib").is_err());
    }
}
