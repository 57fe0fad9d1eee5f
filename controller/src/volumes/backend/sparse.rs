//! Files with holes: written without zeros, and copied without them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write},
    os::unix::fs::FileExt as _,
};

use imprint_image::zero::is_zero;
use rustix::{
    fs::{SeekFrom, ioctl_ficlone, seek},
    io::Errno,
};

/// File systems keep holes of whole blocks.
const BLOCK_BYTES: usize = 4096;

/// Writes a file from its beginning, and leaves blocks of zeros out.
#[derive(Debug)]
pub(super) struct SparseWriter<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> SparseWriter<'a> {
    /// Into a file that is empty.
    pub fn new(file: &'a File) -> Self {
        Self { file, position: 0 }
    }

    /// Gives the file its length, also when it ends with zeros.
    pub fn finish(self) -> io::Result<()> {
        self.file.set_len(self.position)
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let within = usize::try_from(self.position % BLOCK_BYTES as u64).expect("less than a block");
        let first = bytes.len().min(BLOCK_BYTES - within);
        let (head, rest) = bytes.split_at(first);
        let mut data: Option<usize> = None;
        let mut at = 0;
        for block in std::iter::once(head).chain(rest.chunks(BLOCK_BYTES)) {
            if is_zero(block) {
                if let Some(begin) = data.take() {
                    self.file
                        .write_all_at(&bytes[begin..at], self.position + begin as u64)?;
                }
            } else if data.is_none() {
                data = Some(at);
            }
            at += block.len();
        }
        if let Some(begin) = data {
            self.file
                .write_all_at(&bytes[begin..], self.position + begin as u64)?;
        }
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives an empty file the bytes of another: the same blocks where the file system can share them, else a copy of its
/// data. True: they are shared.
pub(super) fn clone_into(from: &File, to: &File) -> io::Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        // What file systems say that cannot.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
            copy_data(from, to).map(|()| false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Copies what is no hole.
pub(super) fn copy_data(mut from: &File, mut to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut position = 0;
    while position < length {
        let begin = match seek(from, SeekFrom::Data(position)) {
            Ok(begin) => begin,
            // Holes up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(begin))?.min(length);
        from.seek(io::SeekFrom::Start(begin))?;
        to.seek(io::SeekFrom::Start(begin))?;
        // By copy_file_range(2), where both file systems are of that mind.
        let copied = io::copy(&mut from.take(end - begin), &mut to)?;
        if copied != end - begin {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        position = end;
    }
    to.set_len(length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use proptest::prelude::*;

    use super::*;

    fn written(pieces: &[Vec<u8>]) -> (File, Vec<u8>) {
        let file = tempfile::tempfile().unwrap();
        let mut writer = SparseWriter::new(&file);
        for piece in pieces {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
        (file, pieces.concat())
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn allocated(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn zeros_take_no_room_and_are_not_copied() {
        let (file, expected) = written(&[vec![0; 8 << 20], vec![7; 4096], vec![0; 8 << 20]]);
        assert!(content(&file) == expected);
        assert!(allocated(&file) <= 64 << 10, "{}", allocated(&file));
        let copy = tempfile::tempfile().unwrap();
        copy_data(&file, &copy).unwrap();
        assert!(content(&copy) == expected);
        assert!(allocated(&copy) <= 64 << 10, "{}", allocated(&copy));
    }

    #[test]
    fn a_clone_is_a_file_of_its_own() {
        let (file, expected) = written(&[vec![1; 100_000], vec![0; 50_000], vec![2; 1]]);
        let copy = tempfile::tempfile().unwrap();
        clone_into(&file, &copy).unwrap();
        copy.write_all_at(b"other", 10).unwrap();
        assert!(content(&file) == expected);
        assert_eq!(&content(&copy)[10..15], b"other");
    }

    proptest! {
        #[test]
        fn what_is_written_is_there(
            pieces in prop::collection::vec((0..3u8, 0..20_000usize), 0..12)
        ) {
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|(byte, len)| vec![byte; len]).collect();
            let (file, expected) = written(&pieces);
            prop_assert!(content(&file) == expected);
            let copy = tempfile::tempfile().unwrap();
            copy_data(&file, &copy).unwrap();
            prop_assert!(content(&copy) == expected);
        }
    }
}
