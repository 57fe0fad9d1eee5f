//! Additions to the ramdisk for tests that need a hand inside it: an uncompressed newc cpio that the controller serves
//! as a further initrd. The product knows nothing of it.

use std::fmt::Write as _;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// The boot loader puts several initrds one behind the other; each begins on such a boundary.
const ALIGNMENT: usize = 4096;

/// A cpio archive under construction.
#[derive(Debug, Default)]
pub struct Overlay {
    bytes: Vec<u8>,
    entries: u32,
}

impl Overlay {
    /// A folder.
    pub fn directory(mut self, path: &str) -> Self {
        self.entry(path, DIRECTORY, b"");
        self
    }

    /// A text file.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.entry(path, FILE, text.as_bytes());
        self
    }

    /// A program; a static one, since the ramdisk has few libraries.
    pub fn program(mut self, path: &str, bytes: &[u8]) -> Self {
        self.entry(path, PROGRAM, bytes);
        self
    }

    /// A symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.entry(path, LINK, target.as_bytes());
        self
    }

    /// The archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let path = path.trim_start_matches('/');
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            data.len() as u32,
            0,
            0,
            0,
            0,
            path.len() as u32 + 1,
            0,
        ];
        let mut header = "070701".to_owned();
        for field in fields {
            write!(header, "{field:08x}").expect("writing to a String cannot fail");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_where_newc_puts_them() {
        let bytes = Overlay::default().file("/a/b", "hello").finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(
            &bytes[110..115],
            b"a/b\0\0",
            "110 bytes of header, then the name without its root"
        );
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(
            &bytes[124..130],
            b"070701",
            "the trailer begins on a boundary of four"
        );
        assert_eq!(bytes.len(), ALIGNMENT);
    }
}
