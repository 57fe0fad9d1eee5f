//! What a server writes on its serial console, as lines.

use std::mem;

use anstream::adapter::StripBytes;

use super::MOST_TEXT;

/// Bytes of a line that is not complete yet. A character has at most four.
const MOST_BYTES: usize = 4 * MOST_TEXT;

/// Cuts the bytes of a console into lines, without colours and movements of the cursor.
#[derive(Debug, Default)]
pub struct ConsoleLines {
    strip: StripBytes,
    begun: Vec<u8>,
}

impl ConsoleLines {
    /// The lines that these bytes complete. A carriage return ends one too, as whoever draws a bar uses it; a line that is
    /// too long is cut; one with nothing on it is left out.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for printable in self.strip.strip_next(bytes) {
            for byte in printable {
                match byte {
                    b'\n' | b'\r' => lines.extend(line(mem::take(&mut self.begun))),
                    _ => self.begun.push(*byte),
                }
                if self.begun.len() >= MOST_BYTES {
                    lines.extend(line(mem::take(&mut self.begun)));
                }
            }
        }
        lines
    }

    /// The line that was begun, when no more is to come.
    pub fn rest(&mut self) -> Option<String> {
        line(mem::take(&mut self.begun))
    }
}

fn line(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let text = text.trim_end();
    (!text.trim_start().is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a console writes it: firmware with colours and positions, GRUB, a kernel, a bar, bytes that are no text.
    const SAID: &[u8] = b"\x1b[2J\x1b[01;01H\x1b[1;37mBdsDxe: loading Boot0001\x1b[0m\r\n\r\n  \r\n\
        [    0.000000] Linux version 6.1\r\n 10%\r 55%\r100%\r\nna\xefve \xff\r\nlogin: ";

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        for step in [1, 2, 3, 7, 64, SAID.len()] {
            let mut console = ConsoleLines::default();
            let mut lines: Vec<String> = SAID.chunks(step).flat_map(|bytes| console.take(bytes)).collect();
            lines.extend(console.rest());
            assert_eq!(lines[0], "BdsDxe: loading Boot0001", "{step}");
            assert_eq!(
                lines[1..5],
                ["[    0.000000] Linux version 6.1", " 10%", " 55%", "100%"]
            );
            assert!(lines[5].starts_with("na"), "{lines:?}");
            assert_eq!(lines[6..], ["login:"]);
            assert_eq!(console.rest(), None);
        }
    }

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut console = ConsoleLines::default();
        let lines = console.take(&vec![b'x'; 10 * MOST_BYTES + 5]);
        assert_eq!(lines.len(), 10);
        assert_eq!(console.rest().unwrap().len(), 5);
    }
}
