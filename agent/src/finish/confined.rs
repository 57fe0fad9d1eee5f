//! Files below the root of an installed system, without ever leaving it.
//!
//! The image is somebody else's: any of its folders may be a symbolic link to `/etc` of the ramdisk. The kernel
//! resolves every path here as if the mounted root were `/` (openat2 with RESOLVE_IN_ROOT); the last component of
//! what is written or removed is never followed.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat},
};

/// Deepest tree that is removed.
const MAX_DEPTH: usize = 64;
/// What a file is called until it is whole.
pub(super) const TEMPORARY: &str = ".imprint.new";
/// Nothing that we write is larger.
const MAX_ERASED: u64 = 64 << 20;

/// Something below the root could not be done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} /{} in the installed system", .path.display())]
pub struct ConfinedError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket or a pipe.
    Other,
}

/// A mounted root.
#[derive(Debug)]
pub struct ConfinedRoot {
    root: OwnedFd,
}

impl ConfinedRoot {
    /// Of a mount point.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> Result<Self, ConfinedError> {
        nix::fcntl::open(
            path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(|root| Self { root })
        .map_err(|error| failed("open", path)(error.into()))
    }

    /// Whether the last component exists, and as what; links are not followed at the end.
    ///
    /// # Errors
    /// When that can't be known.
    pub fn kind(&self, path: &str) -> Result<Option<Kind>, ConfinedError> {
        let found = self.parent(path, None).and_then(|(folder, name)| match folder {
            Some(folder) => stat(&folder, name),
            None => Ok(None),
        });
        Ok(found.map_err(failed("look at", path))?.map(|stat| kind(&stat)))
    }

    /// Reads a regular file of at most `limit` bytes, links followed inside the root; none when it is not there.
    ///
    /// # Errors
    /// When it is no regular file or too long.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ConfinedError> {
        let read = || {
            // Non-blocking, so that a pipe left in the image can't hold the agent.
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let Some(file) = found(self.open_at(&relative(path)?, flags))? else {
                return Ok(None);
            };
            if kind(&fstat(&file)?) != Kind::File {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is no regular file",
                ));
            }
            let mut bytes = Vec::new();
            File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has more than {limit} bytes"),
                ));
            }
            Ok(Some(bytes))
        };
        read().map_err(failed("read", path))
    }

    /// Names in a folder, sorted; none of a folder that is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, ConfinedError> {
        let list = || {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let Some(folder) = found(self.open_at(&relative(path)?, flags))? else {
                return Ok(Vec::new());
            };
            let mut names = names(folder)?;
            names.sort();
            Ok(names)
        };
        list().map_err(failed("list", path))
    }

    /// Makes a folder and those above it, owned by root.
    ///
    /// # Errors
    /// When one of them can't be made.
    pub fn make_folder(&self, path: &str, mode: u32) -> Result<(), ConfinedError> {
        let make = || self.folder(&relative(path)?, Some(mode)).map(|_| ());
        make().map_err(failed("make the folder", path))
    }

    /// Sets the mode of a folder that is there, links followed inside the root. True when it had another one.
    ///
    /// # Errors
    /// When it can't be changed.
    pub fn set_folder_mode(&self, path: &str, mode: u32) -> Result<bool, ConfinedError> {
        let set = || {
            let folder = self.open_at(&relative(path)?, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            if fstat(&folder)?.st_mode & 0o7777 == mode {
                return Ok(false);
            }
            fchmod(&folder, Mode::from_bits_truncate(mode))?;
            Ok(true)
        };
        set().map_err(failed("set the mode of", path))
    }

    /// Replaces a file as a whole: the old content or the new, never a half. A link at its place is replaced, not
    /// followed. Folders above it are made 0755.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), ConfinedError> {
        self.put(path, bytes, |_| (0, 0, mode))
    }

    /// The same for a file that is there: it keeps its owner and mode.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ConfinedError> {
        self.put(path, bytes, |old| {
            old.map_or((0, 0, 0o600), |old| {
                (old.st_uid, old.st_gid, old.st_mode & 0o7777)
            })
        })
    }

    /// `dress` says owner, group and mode, given what is there.
    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        dress: impl Fn(Option<&FileStat>) -> (u32, u32, u32),
    ) -> Result<(), ConfinedError> {
        let write = || {
            let (Some(folder), name) = self.parent(path, Some(0o755))? else {
                return Err(not_found());
            };
            let old = stat(&folder, name)?;
            if old.as_ref().is_some_and(|stat| kind(stat) == Kind::Folder) {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            let (uid, gid, mode) = dress(old.as_ref());
            remove_name(&folder, OsStr::new(TEMPORARY))?;
            let how = OpenHow::new()
                .flags(
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                )
                .mode(Mode::from_bits_truncate(0o600))
                .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
            let mut file = File::from(open_below(&folder, OsStr::new(TEMPORARY), how)?);
            file.write_all(bytes)?;
            match fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                Ok(()) | Err(Errno::EPERM) => {} // vfat has no owners
                Err(error) => return Err(error.into()),
            }
            match fchmod(&file, Mode::from_bits_truncate(mode)) {
                Ok(()) | Err(Errno::EPERM) => {}
                Err(error) => return Err(error.into()),
            }
            label::inherit(&folder, TEMPORARY.as_ref(), Some(name))?;
            file.sync_all()?;
            renameat(&folder, TEMPORARY, &folder, name)?;
            Ok(())
        };
        write().map_err(failed("write", path))
    }

    /// Changes a regular file where it lies, links followed inside the root: it keeps its blocks, owner, mode and label.
    /// `edit` answers text of the same length, or nothing to leave it. True when it was changed.
    ///
    /// # Errors
    /// When it is no regular file, too long, of another length afterwards, or can't be written.
    pub fn rewrite(
        &self,
        path: &str,
        limit: u64,
        edit: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<bool, ConfinedError> {
        let Some(old) = self.read(path, limit)? else {
            return Ok(false);
        };
        let Some(new) = edit(&old) else {
            return Ok(false);
        };
        let write = || {
            if new.len() != old.len() {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            let file = File::from(self.open_at(&relative(path)?, OFlag::O_WRONLY | OFlag::O_NONBLOCK)?);
            file.write_all_at(&new, 0)?;
            file.sync_all()
        };
        write().map(|()| true).map_err(failed("change", path))
    }

    /// Makes a symbolic link, in place of what is there. Folders above it are made 0755.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn link(&self, path: &str, target: &str) -> Result<(), ConfinedError> {
        let link = || {
            let (Some(folder), name) = self.parent(path, Some(0o755))? else {
                return Err(not_found());
            };
            remove_name(&folder, OsStr::new(TEMPORARY))?;
            symlinkat(target, &folder, TEMPORARY)?;
            label::inherit(&folder, TEMPORARY.as_ref(), Some(name))?;
            renameat(&folder, TEMPORARY, &folder, name)?;
            Ok(())
        };
        link().map_err(failed("make the link", path))
    }

    /// Removes a file or a link (not what it points at). True when there was one; folders are left alone.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_file(&self, path: &str) -> Result<bool, ConfinedError> {
        let remove = || {
            let (Some(folder), name) = self.parent(path, None)? else {
                return Ok(false);
            };
            match stat(&folder, name)? {
                Some(stat) if kind(&stat) != Kind::Folder => remove_name(&folder, name),
                _ => Ok(false),
            }
        };
        remove().map_err(failed("remove", path))
    }

    /// Overwrites a regular file with zeroes where it lies, flushes and removes it. True when it was there. What can't
    /// be a file of ours (a link, a file with a second name, a very large one) is left as it is.
    ///
    /// # Errors
    /// When it can't be overwritten or removed.
    pub fn erase(&self, path: &str) -> Result<bool, ConfinedError> {
        let erase = || {
            let (Some(folder), name) = self.parent(path, None)? else {
                return Ok(false);
            };
            let ours = |found: &FileStat| kind(found) == Kind::File && found.st_nlink == 1;
            if !stat(&folder, name)?.is_some_and(|found| ours(&found)) {
                return Ok(false);
            }
            let how = OpenHow::new()
                .flags(OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
            let mut file = File::from(open_below(&folder, name, how)?);
            let len = file.metadata()?.len();
            if len > MAX_ERASED {
                return Ok(false);
            }
            io::copy(&mut io::repeat(0).take(len), &mut file)?;
            file.sync_all()?;
            remove_name(&folder, name)
        };
        erase().map_err(failed("overwrite", path))
    }

    /// Removes whatever is there, folders with all in them; links inside are removed, not followed.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn remove_tree(&self, path: &str) -> Result<bool, ConfinedError> {
        let remove = || {
            let (Some(folder), name) = self.parent(path, None)? else {
                return Ok(false);
            };
            remove_below(&folder, name, MAX_DEPTH)
        };
        remove().map_err(failed("remove", path))
    }

    /// Removes all in a folder and leaves the folder. True when there was something.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn empty_folder(&self, path: &str) -> Result<bool, ConfinedError> {
        let names = match self.kind(path)? {
            Some(Kind::Folder) => self.list(path)?,
            _ => return Ok(false),
        };
        names.iter().try_fold(false, |any, name| {
            Ok(self.remove_tree(&format!("{path}/{name}"))? || any)
        })
    }

    /// Whether something has an SELinux label; what is not there has none.
    ///
    /// # Errors
    /// When that can't be known.
    pub fn is_labelled(&self, path: &str) -> Result<bool, ConfinedError> {
        let label = || match self.parent(path, None)? {
            (Some(folder), name) => label::of(&folder, name),
            (None, _) => Ok(None),
        };
        Ok(label().map_err(failed("read the label of", path))?.is_some())
    }

    /// Gives a file the SELinux label that the first of the others has; without one it keeps its own.
    ///
    /// # Errors
    /// When it can't be labelled.
    pub fn label_like(&self, path: &str, others: &[&str]) -> Result<(), ConfinedError> {
        let set = || {
            for other in others {
                if let (Some(folder), name) = self.parent(other, None)?
                    && let Some(found) = label::of(&folder, name)?
                {
                    let (folder, name) = self.parent(path, None)?;
                    return label::set(&folder.ok_or_else(not_found)?, name, &found);
                }
            }
            Ok(())
        };
        set().map_err(failed("label", path))
    }

    fn open_at(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        open_below(&self.root, path.as_os_str(), how)
    }

    /// The folder that holds the last component; none when it is not there and is not to be made.
    fn parent<'p>(&self, path: &'p str, make: Option<u32>) -> io::Result<(Option<OwnedFd>, &'p OsStr)> {
        let name = Path::new(path).file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let relative = relative(path)?;
        let above = relative.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok((found(self.folder(&above, make))?, name))
    }

    fn folder(&self, path: &Path, make: Option<u32>) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match (self.open_at(path, flags), make) {
            (Err(error), Some(mode)) if error.kind() == io::ErrorKind::NotFound => {
                let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                let above = self.folder(path.parent().unwrap_or(Path::new("")), make)?;
                match mkdirat(&above, name, Mode::from_bits_truncate(mode)) {
                    // It exists and yet leads nowhere: a link to nothing. Following it is up to nobody.
                    Err(Errno::EEXIST) => return Err(io::Error::other("a link on the way points nowhere")),
                    other => other?,
                }
                label::inherit(&above, name, None)?;
                let made = self.open_at(path, flags)?;
                match fchmod(&made, Mode::from_bits_truncate(mode)) {
                    Ok(()) | Err(Errno::EPERM) => Ok(made),
                    Err(error) => Err(error.into()),
                }
            }
            (result, _) => result,
        }
    }
}

fn failed(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> ConfinedError {
    let path = path.as_ref().to_path_buf();
    move |source| ConfinedError {
        operation,
        path,
        source,
    }
}

/// openat2(2) answers EAGAIN when something was mounted or renamed anywhere while it followed a "..": it can't be sure then.
fn open_below(folder: &OwnedFd, path: &OsStr, how: OpenHow) -> io::Result<OwnedFd> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match openat2(folder, path, how) {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            other => return Ok(other?),
        }
    }
    Err(Errno::EAGAIN.into())
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Our own paths have plain components only.
fn relative(path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    let plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    plain
        .then(|| path.to_path_buf())
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn stat(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<FileStat>> {
    found(fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from))
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Folder,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

fn names(folder: OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(folder)?.iter() {
        // Names that are no text are nothing we look for.
        if let Ok(name) = entry?.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn remove_name(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_below(folder: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<bool> {
    let Some(stat) = stat(folder, name)? else {
        return Ok(false);
    };
    if kind(&stat) != Kind::Folder {
        return remove_name(folder, name);
    }
    if depth == 0 {
        return Err(io::Error::other("the folders are nested too deep"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner = nix::fcntl::openat(folder.as_fd(), name, flags, Mode::empty())?;
    for entry in Dir::from_fd(inner.try_clone()?)?.iter() {
        let entry = entry?;
        let child = entry.file_name();
        if child.to_bytes() != b"." && child.to_bytes() != b".." {
            let child = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(child.to_bytes());
            remove_below(&inner, child, depth - 1)?;
        }
    }
    unlinkat(folder, name, UnlinkatFlags::RemoveDir)?;
    Ok(true)
}

mod label;
#[cfg(test)]
mod tests;
