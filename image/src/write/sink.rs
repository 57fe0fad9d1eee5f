//! Where packs go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Digest;

/// Takes finished packs. Called from one thread, one pack at a time, in order.
pub trait PackSink: Send {
    /// Stores a pack under its digest, durably. One that is there already may be kept as it is.
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()>;
}

impl<S: PackSink + ?Sized> PackSink for &mut S {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        (**self).put_pack(digest, bytes)
    }
}

/// Stores packs as `<dir>/packs/<digest>`: written aside, synced, then renamed, so that a name is never half a pack.
#[derive(Debug)]
pub struct DirSink {
    packs: PathBuf,
}

impl DirSink {
    /// A sink in `dir`, which is made when it is missing.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let packs = dir.join("packs");
        fs::create_dir_all(&packs)?;
        Ok(Self { packs })
    }
}

impl PackSink for DirSink {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> io::Result<()> {
        let name = digest.to_string();
        let path = self.packs.join(&name);
        if path.metadata().is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            return Ok(());
        }
        let aside = self.packs.join(format!(".{name}.{}", std::process::id()));
        let written = write_synced(&aside, &bytes).and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = written {
            return match fs::remove_file(&aside) {
                Err(cleanup) if cleanup.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
                    error.kind(),
                    format!("{error}; and {} could not be removed: {cleanup}", aside.display()),
                )),
                _ => Err(error),
            };
        }
        File::open(&self.packs)?.sync_all()
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}
