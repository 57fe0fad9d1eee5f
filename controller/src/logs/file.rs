//! One log: lines are added at its end, and the oldest go when it is too large.
//!
//! A log that was cut begins with a line that says how much is gone. Places in a log count all bytes that were ever in it,
//! so that they stay when it is cut.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

pub(super) const EXTENSION: &str = "log";
/// Of a file that is to take the place of another one.
pub(super) const UNFINISHED: &str = "new";

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All that is kept.
    All,
    /// The last lines.
    Tail(usize),
    /// What is behind this place.
    From(u64),
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Whole lines. The first one says how much is gone, where it begins earlier than what is kept.
    pub text: String,
    /// The place behind it, where the next part begins.
    pub next: u64,
}

/// What is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Gone {
    lines: u64,
    bytes: u64,
}

impl Gone {
    fn line(self) -> String {
        format!(
            "# {} older lines, {} bytes, are gone: the log was full\n",
            self.lines, self.bytes
        )
    }

    /// What the first line says, and its length.
    fn read(log: &[u8]) -> (Self, usize) {
        let end = log.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let read = |line: &[u8]| {
            let line = std::str::from_utf8(line).ok()?.strip_prefix("# ")?;
            let (lines, rest) = line.split_once(" older lines, ")?;
            let (bytes, _) = rest.split_once(" bytes, are gone")?;
            Some(Self {
                lines: lines.parse().ok()?,
                bytes: bytes.parse().ok()?,
            })
        };
        read(&log[..end]).map_or((Self::default(), 0), |gone| (gone, end))
    }
}

/// Adds bytes; a file larger than the limit loses its older half.
pub(super) fn append(path: &Path, bytes: &[u8], limit: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    let length = file.metadata()?.len();
    drop(file);
    if length > limit {
        cut(path, limit / 2)?;
    }
    Ok(())
}

/// Leaves about as many bytes, of whole lines.
fn cut(path: &Path, leave: u64) -> io::Result<()> {
    let log = fs::read(path)?;
    let (mut gone, head) = Gone::read(&log);
    let body = &log[head..];
    let leave = usize::try_from(leave).unwrap_or(usize::MAX);
    let about = body.len().saturating_sub(leave);
    let newline = body[about..].iter().position(|byte| *byte == b'\n');
    let start = newline.map_or(about, |at| about + at + 1);
    gone.lines += body[..start].iter().filter(|byte| **byte == b'\n').count() as u64;
    gone.bytes += start as u64;
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(gone.line().as_bytes())?;
    file.write_all(&body[start..])?;
    drop(file);
    fs::rename(&unfinished, path)
}

/// A part; nothing of a log that is not there.
pub(super) fn read(path: &Path, part: Part) -> io::Result<Excerpt> {
    let log = match fs::read(path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let (gone, head) = Gone::read(&log);
    let body = &log[head..];
    let next = gone.bytes + body.len() as u64;
    let start = match part {
        Part::All => 0,
        Part::Tail(lines) => tail(&log, lines),
        Part::From(place) if place < gone.bytes => 0,
        Part::From(place) => {
            head + usize::try_from(place - gone.bytes).map_or(body.len(), |at| at.min(body.len()))
        }
    };
    Ok(Excerpt {
        text: String::from_utf8_lossy(&log[start..]).into_owned(),
        next,
    })
}

/// Where the last lines begin.
fn tail(log: &[u8], lines: usize) -> usize {
    let mut ends = log
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    // The first one ends the last line.
    ends.nth(lines).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(from: u64, to: u64) -> String {
        (from..to).map(|n| format!("line {n}\n")).collect()
    }

    #[test]
    fn parts_are_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let of = |part| read(&path, part).unwrap();
        assert_eq!(of(Part::All).text, "");
        assert_eq!(
            of(Part::From(7)),
            Excerpt {
                text: String::new(),
                next: 0
            }
        );
        append(&path, b"one\ntwo\n", 1000).unwrap();
        append(&path, b"three\n", 1000).unwrap();
        assert_eq!(
            of(Part::All),
            Excerpt {
                text: "one\ntwo\nthree\n".into(),
                next: 14
            }
        );
        for (lines, text) in [
            (0, ""),
            (1, "three\n"),
            (2, "two\nthree\n"),
            (9, "one\ntwo\nthree\n"),
        ] {
            assert_eq!(of(Part::Tail(lines)).text, text, "{lines}");
        }
        for (place, text) in [(4, "two\nthree\n"), (14, ""), (99, "")] {
            assert_eq!(of(Part::From(place)).text, text, "{place}");
        }
    }

    #[test]
    fn a_log_stays_small_says_what_is_gone_and_keeps_its_places() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let (limit, mut place, mut followed) = (2000, 0, String::new());
        for n in 0..1000 {
            append(&path, numbered(n, n + 1).as_bytes(), limit).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= limit);
            if n % 50 == 0 {
                let more = read(&path, Part::From(place)).unwrap();
                (place, followed) = (more.next, followed + &more.text);
            }
        }
        followed += &read(&path, Part::From(place)).unwrap().text;
        assert_eq!(followed, numbered(0, 1000), "who follows misses nothing");
        let all = read(&path, Part::All).unwrap();
        assert_eq!(all.next, numbered(0, 1000).len() as u64);
        let kept = all.text.lines().skip(1).collect::<Vec<_>>();
        let first: u64 = kept[0].strip_prefix("line ").unwrap().parse().unwrap();
        assert_eq!(kept.len() as u64, 1000 - first);
        let gone = numbered(0, first).len();
        assert_eq!(
            all.text.lines().next().unwrap(),
            format!("# {first} older lines, {gone} bytes, are gone: the log was full")
        );
        // Whoever was away for too long is told so, too.
        assert_eq!(read(&path, Part::From(3)).unwrap().text, all.text);
        assert_eq!(read(&path, Part::Tail(1)).unwrap().text, "line 999\n");
    }

    #[test]
    fn one_line_without_an_end_is_cut_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        append(&path, &vec![b'x'; 5000], 1000).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 1000);
        let all = read(&path, Part::All).unwrap();
        assert_eq!(all.next, 5000);
        assert!(all.text.starts_with("# 0 older lines, 4500 bytes, are gone"));
    }
}
