//! From a tree to `initrd.img`: cpio through zstd, padded.

use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cpio::{self, Writer};
use super::tree::{Node, Tree};

/// Boot loaders put the next initrd right behind this one; the kernel skips zeroes between them.
const ALIGNMENT: u64 = 4096;

/// Writes an initrd, the list at `manifest` first: one zstd frame, then zeroes up to a whole page.
pub fn pack(tree: &Tree, manifest: &str, initrd: &Path, level: u8) -> Result<()> {
    let new = initrd.with_extension("new");
    let out = File::create(&new).with_context(|| format!("cannot create {}", new.display()))?;
    // The tool works with several threads and makes the same bytes with any number of them.
    let mut zstd = Command::new("zstd")
        .args(["--quiet", "--stdout", "--threads=0", &format!("-{level}")])
        .stdin(Stdio::piped())
        .stdout(out)
        .spawn()
        .context("cannot start zstd (package zstd)")?;
    let input = zstd.stdin.take().context("zstd has no input")?;
    let written = archive(tree, manifest, BufWriter::with_capacity(1 << 20, input));
    let status = zstd.wait().context("cannot wait for zstd")?;
    written?;
    ensure!(status.success(), "zstd failed ({status})");
    let file = OpenOptions::new().write(true).open(&new)?;
    file.set_len(file.metadata()?.len().next_multiple_of(ALIGNMENT))?;
    file.sync_all()?;
    fs::rename(&new, initrd).with_context(|| format!("cannot write {}", initrd.display()))
}

/// The list of contents comes first: when there is too little RAM the kernel silently drops the end, and the agent must
/// still be able to tell what is missing.
fn archive(tree: &Tree, manifest: &str, out: impl std::io::Write) -> Result<()> {
    let mut writer = Writer::new(out);
    let above = |path: &str| {
        manifest
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for (path, node) in tree.iter().filter(|(path, _)| above(path)) {
        entry(&mut writer, path, node)?;
    }
    for (path, node) in tree.iter().filter(|(path, _)| !above(path)) {
        entry(&mut writer, path, node)?;
    }
    writer.finish().context("cannot write to zstd")?;
    Ok(())
}

fn entry<W: std::io::Write>(writer: &mut Writer<W>, path: &str, node: &Node) -> Result<()> {
    match node {
        Node::Folder => writer.entry(path, cpio::FOLDER | 0o755, &[]),
        Node::File { source, mode } => {
            let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            writer.entry(path, cpio::FILE | mode, &content)
        }
        Node::Made { content, mode } => writer.entry(path, cpio::FILE | mode, content),
        Node::Link { target } => writer.entry(path, cpio::LINK | 0o777, target.as_bytes()),
    }
    .context("cannot write to zstd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramdisk::contents::MANIFEST_PATH;

    #[test]
    fn the_list_of_contents_is_the_first_file() {
        let mut tree = Tree::default();
        for path in ["a/first", "etc/a", MANIFEST_PATH, "etc/imprint/a", "zzz"] {
            tree.file_with(path, path.as_bytes().to_vec(), 0o644).unwrap();
        }
        let mut bytes = Vec::new();
        archive(&tree, MANIFEST_PATH, &mut bytes).unwrap();
        let at = |content: &str| {
            let name = format!("{content}\0");
            let found: Vec<usize> = bytes
                .windows(name.len())
                .enumerate()
                .filter(|(_, window)| *window == name.as_bytes())
                .map(|(at, _)| at)
                .collect();
            assert!(!found.is_empty(), "{content}");
            found[0]
        };
        for other in ["a/first", "etc/a", "etc/imprint/a", "zzz"] {
            assert!(at(MANIFEST_PATH) < at(other), "{other}");
        }
    }
}
