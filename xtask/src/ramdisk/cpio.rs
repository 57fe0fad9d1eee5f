//! Writing a newc cpio archive, the format the kernel unpacks an initrd from.

use std::io::{self, Write};

/// Writes entries one after the other; owners are root and times are zero.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    inode: u32,
    written: u64,
}

/// Types of entries, as in `st_mode`.
pub const FOLDER: u32 = 0o040_000;
pub const FILE: u32 = 0o100_000;
pub const LINK: u32 = 0o120_000;

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            written: 0,
        }
    }

    /// One entry; `data` is the content of a file or the target of a link.
    pub fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let links = if mode & 0o170_000 == FOLDER { 2 } else { 1 };
        self.raw(self.inode, path, mode, links, data)
    }

    /// The end mark.
    pub fn finish(mut self) -> io::Result<W> {
        self.raw(0, "TRAILER!!!", 0, 1, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn raw(&mut self, inode: u32, path: &str, mode: u32, links: u32, data: &[u8]) -> io::Result<()> {
        let too_large = |_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path} is too large for cpio"),
            )
        };
        let size = u32::try_from(data.len()).map_err(too_large)?;
        let name = u32::try_from(path.len() + 1).map_err(too_large)?;
        let mut header = String::from("070701");
        // Inode, mode, uid, gid, links, mtime, size, device (4), length of the name, checksum.
        for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0] {
            header.push_str(&format!("{field:08X}"));
        }
        self.write(header.as_bytes())?;
        self.write(path.as_bytes())?;
        self.write(&[0])?;
        self.align()?;
        self.write(data)?;
        self.align()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let gap = usize::try_from(self.written.next_multiple_of(4) - self.written).unwrap_or(0);
        self.write(&[0; 3][..gap])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut writer = Writer::new(Vec::new());
        writer.entry("a", FILE | 0o644, b"12345").unwrap();
        writer.entry("b", LINK | 0o777, b"a").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..120], b"12345\0\0\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(10).any(|w| w == b"TRAILER!!!"));
    }

    /// Path, mode, links and data.
    type Entry = (String, u32, u32, Vec<u8>);

    /// What the kernel reads, and how many bytes it reads for it.
    fn read(archive: &[u8]) -> (Vec<Entry>, usize) {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            let field = |i: usize| {
                let hex = std::str::from_utf8(&archive[at + 6 + 8 * i..at + 14 + 8 * i]).unwrap();
                u32::from_str_radix(hex, 16).unwrap()
            };
            assert_eq!(&archive[at..at + 6], b"070701");
            let (size, name_length) = (field(6) as usize, field(11) as usize);
            let name_at = at + 110;
            assert_eq!(archive[name_at + name_length - 1], 0);
            let name = std::str::from_utf8(&archive[name_at..name_at + name_length - 1]).unwrap();
            let data_at = (name_at + name_length).next_multiple_of(4);
            let end = (data_at + size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return (entries, end);
            }
            let data = archive[data_at..data_at + size].to_vec();
            entries.push((name.to_owned(), field(1), field(4), data));
            at = end;
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written: Vec<Entry> = vec![
            ("etc".into(), FOLDER | 0o755, 2, Vec::new()),
            ("etc/empty".into(), FILE | 0o644, 1, Vec::new()),
            ("etc/secret".into(), FILE | 0o600, 1, b"070701TRAILER!!!".to_vec()),
            (
                "init".into(),
                LINK | 0o777,
                1,
                b"usr/lib/systemd/systemd".to_vec(),
            ),
        ];
        // Names and contents of every length modulo four.
        let lengths = (0..9usize).map(|n| ("x".repeat(n + 1), FILE | 0o755, 1, vec![b'y'; n]));
        let written: Vec<_> = written.into_iter().chain(lengths).collect();
        let mut writer = Writer::new(Vec::new());
        for (path, mode, _, data) in &written {
            writer.entry(path, *mode, data).unwrap();
        }
        let archive = writer.finish().unwrap();
        let (entries, end) = read(&archive);
        assert_eq!(entries, written);
        assert_eq!(end, archive.len());
    }

    #[test]
    fn no_two_entries_share_an_inode() {
        let mut writer = Writer::new(Vec::new());
        for path in ["a", "b", "c"] {
            writer.entry(path, FILE | 0o644, b"").unwrap();
        }
        let archive = writer.finish().unwrap();
        // Equal inodes with several links would be hard links to the kernel.
        let inodes: Vec<&[u8]> = (0..3).map(|i| &archive[112 * i + 6..112 * i + 14]).collect();
        assert_eq!(inodes, [b"00000001", b"00000002", b"00000003"]);
    }
}
