//! The entries of a directory. Hashed directories are read in a row like all others: their index blocks look like
//! entries that are not in use.

use super::{ENCRYPTED, Ext, INLINE};
use crate::facts::fault::Fault;
use crate::facts::volume::{Entry, Kind, MAX_DIRECTORY_BYTES, MAX_ENTRIES, Node, Place};
use crate::numbers::{le16, le32};

/// Whether to look at the next entry.
enum Next {
    More,
    Enough,
}

pub(super) fn entries(ext: &Ext<'_>, directory: &Node) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    each(ext, directory, |number, name, kind| {
        if matches!(name, b"." | b"..") {
            return Ok(Next::More);
        }
        if entries.len() >= MAX_ENTRIES {
            return Err(Fault::limit(format!(
                "a directory of more than {MAX_ENTRIES} entries"
            )));
        }
        let kind = match kind {
            1 => Kind::File,
            2 => Kind::Directory,
            7 => Kind::Link,
            0 => ext.inode(number)?.kind,
            _ => Kind::Other,
        };
        let name = String::from_utf8_lossy(name).into_owned();
        entries.push(Entry { name, kind });
        Ok(Next::More)
    })?;
    Ok(entries)
}

/// The inode number of entry `wanted`.
pub(super) fn find(ext: &Ext<'_>, directory: &Node, wanted: &str) -> Result<Option<u32>, Fault> {
    let mut found = None;
    each(ext, directory, |number, name, _| {
        if name == wanted.as_bytes() {
            found = Some(number);
            return Ok(Next::Enough);
        }
        Ok(Next::More)
    })?;
    Ok(found)
}

fn each(
    ext: &Ext<'_>,
    directory: &Node,
    mut visit: impl FnMut(u32, &[u8], u8) -> Result<Next, Fault>,
) -> Result<(), Fault> {
    let Place::Inode { flags, number, .. } = &directory.place else {
        return Err(Fault::damaged("not an inode"));
    };
    if flags & ENCRYPTED != 0 {
        return Err(Fault::unsupported("an encrypted directory"));
    }
    if flags & INLINE != 0 {
        return Err(Fault::unsupported("a directory inside its inode"));
    }
    if directory.size > MAX_DIRECTORY_BYTES {
        return Err(Fault::limit(format!("a directory of {} bytes", directory.size)));
    }
    for logical in 0..directory.size.div_ceil(ext.block_bytes) {
        let (Some(block), _) = ext.locate(directory, logical)? else {
            return Err(Fault::damaged(format!("directory {number} has a hole")));
        };
        let block = ext.read_block(block)?;
        let mut rest = &block[..];
        while rest.len() >= 8 {
            let length = match le16(rest, 4) {
                // How 64 KiB are written in 16 bits.
                0 | u16::MAX if ext.block_bytes == 65536 => rest.len(),
                length => length.into(),
            };
            let name_length = usize::from(rest[6]);
            if length < 8 || length > rest.len() || length % 4 != 0 || 8 + name_length > length {
                return Err(Fault::damaged(format!("an entry of directory {number}")));
            }
            let (entry, later) = rest.split_at(length);
            rest = later;
            let inode = le32(entry, 0);
            if inode == 0 || name_length == 0 {
                continue;
            }
            if let Next::Enough = visit(inode, &entry[8..8 + name_length], entry[7])? {
                return Ok(());
            }
        }
    }
    Ok(())
}
