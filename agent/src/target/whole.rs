//! Writes that take all of their bytes to the disk, or give up with a reason.

use std::{io, time::Duration};

use backon::{BlockingRetryable, ConstantBuilder};
use nix::libc;

/// A disk that has no room in its queue is asked again after this time, ...
const PAUSE: Duration = Duration::from_millis(20);
/// ... and this often before that counts as an error.
const PAUSES: usize = 500;

/// Writes all of `bytes` by as many calls of `write` as it takes: the rest after a short write, at once after a signal,
/// and for a while when the disk is busy.
pub(super) fn write_whole(
    bytes: &[u8],
    offset: u64,
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    write_patiently(bytes, offset, PAUSE, write)
}

fn write_patiently(
    mut bytes: &[u8],
    mut offset: u64,
    pause: Duration,
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let patience = ConstantBuilder::default()
        .with_delay(pause)
        .with_max_times(PAUSES);
    while !bytes.is_empty() {
        let written = (|| write(bytes, offset)).retry(patience).when(is_passing).call();
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the disk may take a moment later what it refuses now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Plays the answers and notes what was asked.
    fn play(answers: &[Result<usize, i32>]) -> (io::Result<()>, Vec<(usize, u64)>) {
        let asked = RefCell::new(Vec::new());
        let result = write_patiently(&[7; 4096], 8192, Duration::ZERO, |bytes, offset| {
            let turn = asked.borrow().len();
            asked.borrow_mut().push((bytes.len(), offset));
            let answer = answers.get(turn).or(answers.last()).unwrap();
            answer.map_err(io::Error::from_raw_os_error)
        });
        (result, asked.into_inner())
    }

    #[test]
    fn the_rest_of_a_short_write_is_written_where_it_belongs() {
        let (result, asked) = play(&[Ok(512), Err(libc::EINTR), Ok(1024), Err(libc::EAGAIN), Ok(2560)]);
        result.unwrap();
        let expected = [
            (4096, 8192),
            (3584, 8704),
            (3584, 8704),
            (2560, 9728),
            (2560, 9728),
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn errors_are_final_and_a_busy_disk_is_not_asked_for_ever() {
        for (answers, errno, calls) in [
            (&[Err(libc::EIO)][..], libc::EIO, 1),
            (&[Ok(512), Err(libc::ENOSPC)], libc::ENOSPC, 2),
            (&[Err(libc::EAGAIN)], libc::EAGAIN, 1 + PAUSES),
        ] {
            let (result, asked) = play(answers);
            assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
            assert_eq!(asked.len(), calls);
        }
        let (result, _) = play(&[Ok(0)]);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
