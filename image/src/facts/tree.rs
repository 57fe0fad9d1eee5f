//! Paths over one or several volumes: links are followed, and what is mounted below the root is found there.

use std::io::{self, Read};

use super::fault::Fault;
use super::volume::{Entry, Kind, Node, Volume};

const MAX_LINKS: usize = 40;
const MAX_PATH_BYTES: usize = 4096;
const MAX_COMPONENTS: usize = 256;
/// Most files of one kind in one folder.
const MAX_NAMES: usize = 1000;

/// Volumes put together as a running system would see them.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    root: &'a dyn Volume,
    mounts: Vec<Mount<'a>>,
}

/// What is to be found at a path below the root.
#[derive(Debug)]
struct Mount<'a> {
    /// Without a slash at either end.
    path: String,
    /// The volume, or why it cannot be read.
    volume: Result<&'a dyn Volume, String>,
}

/// A place that a path led to.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    volume: &'a dyn Volume,
    pub node: Node,
    name: String,
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a dyn Volume) -> Self {
        Self {
            root,
            mounts: Vec::new(),
        }
    }

    /// Puts a volume at `path`; one that cannot be read makes all below it unreadable, and says so.
    pub fn mount(&mut self, path: &str, volume: Result<&'a dyn Volume, String>) {
        self.mounts.push(Mount {
            path: path.trim_matches('/').to_owned(),
            volume,
        });
    }

    /// Follows `path` and every link on the way.
    pub fn find(&self, path: &str) -> Result<Found<'a>, Fault> {
        self.resolve(path, true)
    }

    fn resolve(&self, path: &str, follow_last: bool) -> Result<Found<'a>, Fault> {
        let root = Found {
            volume: self.root,
            node: self.root.root()?,
            name: String::new(),
        };
        let mut stack = vec![root];
        let mut left: Vec<String> = components(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let here = stack.last().expect("the root stays");
            if here.node.kind != Kind::Directory {
                return Err(Fault::NotFound(path.to_owned()));
            }
            let child = here.volume.lookup(&here.node, &name)?;
            let mut child = Found {
                volume: here.volume,
                node: child.ok_or_else(|| Fault::NotFound(path.to_owned()))?,
                name,
            };
            if child.node.kind == Kind::Link && (follow_last || !left.is_empty()) {
                links += 1;
                let target = read_link(&child)?;
                let more = components(&target);
                if links > MAX_LINKS || left.len() + more.len() > MAX_COMPONENTS {
                    return Err(Fault::damaged(format!("links of {path} that go in circles")));
                }
                if target.starts_with('/') {
                    stack.truncate(1);
                }
                left.extend(more);
                continue;
            }
            if stack.len() > MAX_COMPONENTS {
                return Err(Fault::damaged(format!("{path} is too deep")));
            }
            self.cross(&stack, &mut child)?;
            stack.push(child);
        }
        Ok(stack.pop().expect("the root stays"))
    }

    /// Steps into what is mounted over `child`.
    fn cross(&self, stack: &[Found<'a>], child: &mut Found<'a>) -> Result<(), Fault> {
        if self.mounts.is_empty() || child.node.kind != Kind::Directory {
            return Ok(());
        }
        let names = stack[1..].iter().map(|found| found.name.as_str());
        let path = names.chain([child.name.as_str()]).collect::<Vec<_>>().join("/");
        if let Some(mount) = self.mounts.iter().find(|mount| mount.path == path) {
            match &mount.volume {
                Ok(volume) => {
                    child.node = volume.root()?;
                    child.volume = *volume;
                }
                Err(why) => return Err(Fault::unsupported(format!("/{path} is elsewhere: {why}"))),
            }
        }
        Ok(())
    }

    /// Whether there is something at `path`, a link that leads nowhere included.
    pub fn exists(&self, path: &str) -> Result<bool, Fault> {
        match self.resolve(path, false) {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_not_found() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The entries of a directory, sorted; none when it is not there.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Fault> {
        let found = match self.find(path) {
            Ok(found) => found,
            Err(fault) if fault.is_not_found() => return Ok(Vec::new()),
            Err(fault) => return Err(fault),
        };
        if found.node.kind != Kind::Directory {
            return Ok(Vec::new());
        }
        let mut entries = found.volume.entries(&found.node)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The names in a directory that `wanted` likes.
    pub fn names(&self, path: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Fault> {
        let entries = self.list(path)?;
        let names = entries.into_iter().map(|entry| entry.name);
        let names: Vec<String> = names.filter(|name| wanted(name)).take(MAX_NAMES + 1).collect();
        if names.len() > MAX_NAMES {
            return Err(Fault::limit(format!(
                "{path} has more than {MAX_NAMES} files of one kind"
            )));
        }
        Ok(names)
    }

    /// A whole file of at most `limit` bytes.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut file = self.open(path)?;
        if file.size() > limit {
            return Err(Fault::limit(format!(
                "{path} has {} bytes, more than the {limit} that are read",
                file.size()
            )));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| Fault::from_io(error, path))?;
        Ok(bytes)
    }

    /// The same as text; what is not UTF-8 is replaced.
    pub fn text(&self, path: &str, limit: u64) -> Result<String, Fault> {
        Ok(String::from_utf8_lossy(&self.read(path, limit)?).into_owned())
    }

    /// The text of a file, or nothing when it is not there.
    pub fn text_if_there(&self, path: &str, limit: u64) -> Result<Option<String>, Fault> {
        match self.text(path, limit) {
            Ok(text) => Ok(Some(text)),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Where a link points, or nothing when there is no link.
    pub fn link(&self, path: &str) -> Result<Option<String>, Fault> {
        match self.resolve(path, false) {
            Ok(found) if found.node.kind == Kind::Link => read_link(&found).map(Some),
            Ok(_) => Ok(None),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A regular file to read from its beginning.
    pub fn open(&self, path: &str) -> Result<FileReader<'a>, Fault> {
        let found = self.find(path)?;
        if found.node.kind != Kind::File {
            return Err(Fault::damaged(format!("{path} is no regular file")));
        }
        Ok(FileReader { found, position: 0 })
    }
}

/// The parts of a path, last first.
fn components(path: &str) -> Vec<String> {
    path.split('/')
        .rev()
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect()
}

fn read_link(found: &Found<'_>) -> Result<String, Fault> {
    let length = usize::try_from(found.node.size).unwrap_or(usize::MAX);
    if length > MAX_PATH_BYTES {
        return Err(Fault::damaged("a link that is too long"));
    }
    let mut target = vec![0; length];
    let mut done = 0;
    while done < length {
        match found.volume.read(&found.node, done as u64, &mut target[done..])? {
            0 => break,
            now => done += now,
        }
    }
    Ok(String::from_utf8_lossy(&target[..done]).into_owned())
}

/// Reads a file from front to end, or from a place that is set.
#[derive(Debug)]
pub(super) struct FileReader<'a> {
    found: Found<'a>,
    position: u64,
}

impl FileReader<'_> {
    pub fn size(&self) -> u64 {
        self.found.node.size
    }

    /// Fills as much of `out` as the file has at `offset`.
    pub fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize, Fault> {
        self.position = offset;
        let mut done = 0;
        while done < out.len() {
            match self
                .found
                .volume
                .read(&self.found.node, self.position, &mut out[done..])?
            {
                0 => break,
                now => {
                    done += now;
                    self.position += now as u64;
                }
            }
        }
        Ok(done)
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let now = self
            .found
            .volume
            .read(&self.found.node, self.position, out)
            .map_err(Fault::into_io)?;
        self.position += now as u64;
        Ok(now)
    }
}
