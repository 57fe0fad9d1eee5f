//! What is done, noted in a file, so that a restarted agent goes on where the killed one stopped.
//!
//! One line of JSON names the image, the disk and the boot of the machine; then come lines `ends` (both ends of the
//! disk were cleared and flushed) and `done FIRST COUNT` (chunks that are on the disk). A line is added after the
//! disk took the data: what a process wrote survives its death, with direct I/O as in the page cache, so no flush is
//! needed before it. It doesn't survive a loss of power, which is why a journal is good for one boot only. A torn
//! last line is ignored.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The journal of an earlier write can't be replaced, so that a later one could trust it wrongly.
#[derive(Debug, thiserror::Error)]
#[error("cannot begin the journal {}", path.display())]
pub struct JournalError {
    /// Where.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// What a journal is about. All of it must be equal for a write to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) image_digest: String,
    pub(super) target: String,
    pub(super) target_bytes: u64,
    pub(super) boot_id: String,
}

impl Header {
    pub(super) fn new(image_digest: String, target: String, target_bytes: u64) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Header {
            version: 1,
            image_digest,
            target,
            target_bytes,
            boot_id: boot_id.trim().to_owned(),
        }
    }
}

/// What an earlier run had done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    pub(super) ends_cleared: bool,
    pub(super) done: Vec<Range<u64>>,
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal at `path`. One that is about the same write is continued, any other is replaced.
    pub(super) fn open(
        path: &Path,
        header: &Header,
        chunk_count: u64,
    ) -> Result<(Self, Earlier), JournalError> {
        let failed = |source| JournalError {
            path: path.to_owned(),
            source,
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        if let Some((earlier, sound)) = parse(&text, header, chunk_count) {
            let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
            file.set_len(sound as u64).map_err(failed)?;
            return Ok((
                Journal {
                    path: path.to_owned(),
                    file,
                },
                earlier,
            ));
        }
        let mut line = serde_json::to_string(header).expect("strings and numbers can be written as JSON");
        line.push('\n');
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let file = File::create(path).map_err(failed)?;
        let mut journal = Journal {
            path: path.to_owned(),
            file,
        };
        journal.append(&line).map_err(failed)?;
        Ok((journal, Earlier::default()))
    }

    /// Both ends of the disk are clear.
    pub(super) fn ends_cleared(&mut self) -> io::Result<()> {
        self.append("ends\n")
    }

    /// These chunks are on the disk.
    pub(super) fn done(&mut self, chunks: &Range<u64>) -> io::Result<()> {
        self.append(&format!("done {} {}\n", chunks.start, chunks.end - chunks.start))
    }

    /// The write is over.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(line.as_bytes())
    }
}

/// What a journal about `header` says, and how many of its bytes are sound; `None` when it is about something else.
fn parse(text: &[u8], header: &Header, chunk_count: u64) -> Option<(Earlier, usize)> {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next()?;
    let found: Header = serde_json::from_slice(first.strip_suffix(b"\n")?).ok()?;
    if found != *header {
        return None;
    }
    let mut sound = first.len();
    let mut earlier = Earlier::default();
    for line in lines {
        match line_of(line, chunk_count) {
            Some(Line::Ends) => earlier.ends_cleared = true,
            Some(Line::Done(chunks)) => earlier.done.push(chunks),
            None => break,
        }
        sound += line.len();
    }
    Some((earlier, sound))
}

enum Line {
    Ends,
    Done(Range<u64>),
}

fn line_of(line: &[u8], chunk_count: u64) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    if line == "ends" {
        return Some(Line::Ends);
    }
    let (first, count) = line.strip_prefix("done ")?.split_once(' ')?;
    let (first, count) = (first.parse::<u64>().ok()?, count.parse::<u64>().ok()?);
    let end = first.checked_add(count)?;
    (count > 0 && end <= chunk_count).then_some(Line::Done(first..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::new("abc".to_owned(), "disk 7".to_owned(), 5000)
    }

    #[test]
    fn a_killed_write_is_found_again_by_the_same_write_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/journal");
        let (mut journal, earlier) = Journal::open(&path, &header(), 100).unwrap();
        assert_eq!(earlier, Earlier::default());
        journal.ends_cleared().unwrap();
        journal.done(&(1..2)).unwrap();
        journal.done(&(10..30)).unwrap();
        drop(journal);

        let (journal, earlier) = Journal::open(&path, &header(), 100).unwrap();
        assert_eq!(
            earlier,
            Earlier {
                ends_cleared: true,
                done: vec![1..2, 10..30]
            }
        );
        drop(journal);

        let others = [
            Header {
                image_digest: "abd".to_owned(),
                ..header()
            },
            Header {
                target: "disk 8".to_owned(),
                ..header()
            },
            Header {
                target_bytes: 5001,
                ..header()
            },
            Header {
                boot_id: "another boot".to_owned(),
                ..header()
            },
        ];
        for other in others {
            fs::copy(&path, dir.path().join("copy")).unwrap();
            let (_, earlier) = Journal::open(&dir.path().join("copy"), &other, 100).unwrap();
            assert_eq!(earlier, Earlier::default(), "{other:?}");
        }
    }

    #[test]
    fn a_torn_tail_is_cut_off_wherever_it_tore() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path, &header(), 100).unwrap();
        journal.ends_cleared().unwrap();
        journal.done(&(10..11)).unwrap();
        let sound = fs::metadata(&path).unwrap().len();
        journal.done(&(23..24)).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in usize::try_from(sound).unwrap()..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let (mut journal, earlier) = Journal::open(&path, &header(), 100).unwrap();
            assert_eq!(
                earlier.done.into_iter().flatten().collect::<Vec<_>>(),
                [10],
                "{len} bytes"
            );
            // What is added next isn't glued to the torn line.
            journal.done(&(50..60)).unwrap();
            let (_, earlier) = Journal::open(&path, &header(), 100).unwrap();
            assert_eq!(earlier.done, [10..11, 50..60], "{len} bytes");
        }
    }

    #[test]
    fn nonsense_is_not_believed() {
        let head = serde_json::to_string(&header()).unwrap();
        for text in ["", "x", "{}\n", "done 1 2\n", &head] {
            assert!(parse(text.as_bytes(), &header(), 100).is_none(), "{text}");
        }
        for line in [
            "done 1 0",
            "done 99 2",
            "done 1",
            "done a b",
            "done -1 3",
            "done 18446744073709551615 2",
            "x",
        ] {
            let text = format!("{head}\n{line}\nends\n");
            assert_eq!(
                parse(text.as_bytes(), &header(), 100).unwrap().0,
                Earlier::default(),
                "{line}"
            );
        }
    }
}
