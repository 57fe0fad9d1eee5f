//! The archive itself: written from files, read into a folder. Every byte that comes out was compared with its digest.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::BackupError;

const LIST: &str = "backup.json";
const FORMAT: u32 = 1;
const MAX_LIST_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 1000;
const LEVEL: i32 = 3;
const PIECE: usize = 1 << 20;

/// What an archive holds, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    /// Of the archive.
    pub format: u32,
    /// Of the controller that made it.
    pub controller_version: String,
    /// When the snapshot was taken, in milliseconds since 1970.
    pub taken_at_ms: i64,
    /// The last schema step of the database.
    pub schema: i64,
    /// The newest event of the database.
    pub newest_event: i64,
    pub files: Vec<Listed>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Relative to the data folder.
    pub path: String,
    pub bytes: u64,
    /// Hex.
    pub blake3: String,
}

impl List {
    pub(super) fn new(taken_at_ms: i64, schema: i64, newest_event: i64) -> Self {
        Self {
            format: FORMAT,
            controller_version: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at_ms,
            schema,
            newest_event,
            files: Vec::new(),
        }
    }
}

/// Reads a file through: its length and its digest.
pub(super) fn look(file: &Path) -> io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(
        &mut BufReader::with_capacity(PIECE, File::open(file)?),
        &mut hasher,
    )?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

/// Writes an archive of these files, each with its name in it. The list gets their lengths and digests.
pub(super) fn write(to: &File, mut list: List, files: &[(String, PathBuf)]) -> Result<List, BackupError> {
    for (path, from) in files {
        let (bytes, blake3) = look(from).map_err(BackupError::read(from))?;
        list.files.push(Listed {
            path: path.clone(),
            bytes,
            blake3,
        });
    }
    let failed = |source| BackupError::Write {
        path: "the archive".into(),
        source,
    };
    let text = serde_json::to_vec_pretty(&list).map_err(|error| failed(error.into()))?;
    let mut packed = zstd::Encoder::new(BufWriter::with_capacity(PIECE, to), LEVEL).map_err(failed)?;
    packed.include_checksum(true).map_err(failed)?;
    let mut tar = tar::Builder::new(packed);
    append(&mut tar, LIST, text.len() as u64, text.as_slice()).map_err(failed)?;
    for ((path, from), listed) in files.iter().zip(&list.files) {
        let content = File::open(from).map_err(BackupError::read(from))?;
        append(&mut tar, path, listed.bytes, content.take(listed.bytes)).map_err(failed)?;
    }
    let mut packed = tar.into_inner().and_then(zstd::Encoder::finish).map_err(failed)?;
    packed.flush().and_then(|()| to.sync_all()).map_err(failed)?;
    Ok(list)
}

fn append(to: &mut tar::Builder<impl Write>, path: &str, bytes: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    to.append_data(&mut header, path, content)
}

/// Reads an archive into `folder`, which is there. `place` says where a file goes, or that such a file is none of a
/// backup. Nothing is written but the files that the list names, in its order, in their full length.
pub(super) fn read(
    from: &Path,
    folder: &Path,
    place: impl Fn(&str) -> Option<PathBuf>,
) -> Result<List, BackupError> {
    let damaged = |reason: String| BackupError::Damaged {
        path: from.to_owned(),
        reason,
    };
    let broken = |error: io::Error| damaged(error.to_string());
    let file = File::open(from).map_err(BackupError::read(from))?;
    let unpacked = zstd::Decoder::new(file).map_err(broken)?;
    let mut tar = tar::Archive::new(unpacked);
    let mut entries = tar.entries().map_err(broken)?;
    let mut next = |wanted: &str| -> Result<_, BackupError> {
        let entry = entries
            .next()
            .ok_or_else(|| damaged(format!("it ends before {wanted}")))?
            .map_err(broken)?;
        let is = entry.path_bytes() == wanted.as_bytes() && entry.header().entry_type().is_file();
        if is {
            return Ok(entry);
        }
        Err(damaged(format!("{wanted} is not where it should be")))
    };
    let mut text = Vec::new();
    let first = next(LIST)?;
    first
        .take(MAX_LIST_BYTES)
        .read_to_end(&mut text)
        .map_err(broken)?;
    let list = parse(from, &text)?;
    for listed in &list.files {
        let to = place(&listed.path)
            .map(|to| folder.join(to))
            .ok_or_else(|| damaged(format!("`{}` is no file of a backup", listed.path)))?;
        let mut entry = next(&listed.path)?;
        if entry.size() != listed.bytes {
            return Err(damaged(format!(
                "{} has another length than it should",
                listed.path
            )));
        }
        let digest = unpack(&mut entry, &to).map_err(|fault| match fault {
            Fault::Reading(error) => broken(error),
            Fault::Writing(source) => BackupError::Write { path: to, source },
        })?;
        if digest != (listed.bytes, listed.blake3.clone()) {
            return Err(damaged(format!("{} has other bytes than it should", listed.path)));
        }
    }
    // The checksum of the compressed stream stands behind all of it.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    Ok(list)
}

fn parse(from: &Path, text: &[u8]) -> Result<List, BackupError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
        controller_version: String,
    }
    let damaged = |reason: String| BackupError::Damaged {
        path: from.to_owned(),
        reason,
    };
    let unreadable = |error: serde_json::Error| damaged(format!("{LIST} cannot be read ({error})"));
    let head: Head = serde_json::from_slice(text).map_err(unreadable)?;
    if head.format > FORMAT {
        return Err(BackupError::Newer {
            path: from.to_owned(),
            version: head.controller_version.chars().take(64).collect(),
        });
    }
    let list: List = serde_json::from_slice(text).map_err(unreadable)?;
    if list.files.len() > MAX_FILES {
        return Err(damaged(format!("it lists more than {MAX_FILES} files")));
    }
    Ok(list)
}

enum Fault {
    Reading(io::Error),
    Writing(io::Error),
}

/// Writes a new file that only this user can read; its length and digest.
fn unpack(from: &mut impl Read, to: &Path) -> Result<(u64, String), Fault> {
    if let Some(folder) = to.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .create(folder)
            .map_err(Fault::Writing)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(Fault::Writing)?;
    let (mut hasher, mut bytes, mut piece) = (blake3::Hasher::new(), 0, vec![0; PIECE]);
    loop {
        let read = from.read(&mut piece).map_err(Fault::Reading)?;
        if read == 0 {
            break;
        }
        file.write_all(&piece[..read]).map_err(Fault::Writing)?;
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
    file.sync_all().map_err(Fault::Writing)?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}
