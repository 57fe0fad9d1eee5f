//! The contents of the initrd before it is packed: paths in order, each a folder, a file or a link.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// What stands at a path.
#[derive(Debug, Clone)]
pub enum Node {
    Folder,
    /// A file of this machine.
    File {
        source: PathBuf,
        mode: u32,
    },
    /// A file made by the builder.
    Made {
        content: Vec<u8>,
        mode: u32,
    },
    Link {
        target: String,
    },
}

/// Paths without a leading slash.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    pub fn folder(&mut self, path: &str) -> Result<()> {
        self.put(path, Node::Folder)
    }

    /// A file of this machine; executable for all if it is for anybody.
    pub fn file(&mut self, path: &str, source: &Path) -> Result<()> {
        let metadata = fs::metadata(source).with_context(|| format!("cannot read {}", source.display()))?;
        ensure!(metadata.is_file(), "{} is not a file", source.display());
        // Only whether it can be executed is taken over: the rest depends on the umask of whoever checked out.
        let mode = if metadata.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        self.put(
            path,
            Node::File {
                source: source.to_owned(),
                mode,
            },
        )
    }

    pub fn file_with(&mut self, path: &str, content: Vec<u8>, mode: u32) -> Result<()> {
        self.put(path, Node::Made { content, mode })
    }

    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.put(
            path,
            Node::Link {
                target: target.to_owned(),
            },
        )
    }

    /// Size of all files.
    pub fn bytes(&self) -> Result<u64> {
        self.0.values().map(Node::size).sum()
    }

    /// What is not in another tree in the same way, with the folders that lead there.
    pub fn without(&self, other: &Self) -> Result<Self> {
        let mut rest = Self::default();
        for (path, node) in &self.0 {
            if !matches!(node, Node::Folder) && other.0.get(path).is_none_or(|there| !there.is_same(node)) {
                rest.put(path, node.clone())?;
            }
        }
        Ok(rest)
    }

    /// Puts a node in place of what is there, and the folders above it.
    fn put(&mut self, path: &str, node: Node) -> Result<()> {
        let path = path.trim_matches('/');
        ensure!(
            !path.is_empty() && !path.split('/').any(|part| part == ".."),
            "{path:?} is no path"
        );
        for (end, _) in path.match_indices('/') {
            match self.0.get(&path[..end]) {
                None => drop(self.0.insert(path[..end].to_owned(), Node::Folder)),
                Some(Node::Folder) => {}
                Some(_) => bail!("{path}: {} is not a folder", &path[..end]),
            }
        }
        if let (Some(Node::Folder), Node::Folder) = (self.0.get(path), &node) {
            return Ok(());
        }
        self.0.insert(path.to_owned(), node);
        Ok(())
    }
}

impl Node {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { source, .. }, Self::File { source: twin, .. }) => source == twin,
            (Self::Made { content, .. }, Self::Made { content: twin, .. }) => content == twin,
            (Self::Link { target }, Self::Link { target: twin }) => target == twin,
            _ => false,
        }
    }

    /// Size of a file; a link or folder has none.
    pub fn size(&self) -> Result<u64> {
        Ok(match self {
            Self::File { source, .. } => fs::metadata(source)
                .with_context(|| format!("cannot read {}", source.display()))?
                .len(),
            Self::Made { content, .. } => content.len() as u64,
            Self::Folder | Self::Link { .. } => 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_is_left_out() {
        let mut ramdisk = Tree::default();
        ramdisk.file_with("usr/lib/libc", b"c".to_vec(), 0o755).unwrap();
        ramdisk.file_with("etc/passwd", b"old".to_vec(), 0o644).unwrap();
        ramdisk.link("usr/bin/x", "y").unwrap();
        let mut rescue = ramdisk.clone();
        rescue.file_with("etc/passwd", b"new".to_vec(), 0o644).unwrap();
        rescue
            .file_with("usr/sbin/dropbear", b"d".to_vec(), 0o755)
            .unwrap();
        rescue.link("usr/bin/x", "z").unwrap();
        let rest = rescue.without(&ramdisk).unwrap();
        let paths: Vec<&str> = rest.iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "etc",
                "etc/passwd",
                "usr",
                "usr/bin",
                "usr/bin/x",
                "usr/sbin",
                "usr/sbin/dropbear"
            ]
        );
    }
}
