//! What the kernel of the ramdisk warns of: I/O errors, a link that goes down, memory that runs out.
//!
//! `/dev/kmsg` gives one record for each read (Documentation/ABI/testing/dev-kmsg):
//! `priority,number,microseconds,flags[,…];text`, then lines with a dictionary.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use nix::{fcntl::OFlag, libc};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use super::ring::{Level, Log, Source};
use crate::identity::private_file;

/// The longest record (CONSOLE_EXT_LOG_MAX), and room.
const MOST_RECORD: usize = 16 << 10;
const WARNING: u64 = 4;
const ERROR: u64 = 3;
const SEEN: &str = "kmsg_seen";

/// A record of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 0 is worst, 7 is for debugging.
    pub level: u64,
    /// 0 is the kernel itself; others are programs.
    pub facility: u64,
    /// Counts up.
    pub number: u64,
    /// Time since the kernel's start.
    pub at_micros: u64,
    /// Without its dictionary.
    pub text: String,
}

/// Reads a record; none when it is none.
#[must_use]
pub fn parse(record: &[u8]) -> Option<Record> {
    let end = record
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(record.len());
    let text = String::from_utf8_lossy(&record[..end]);
    let (head, text) = text.split_once(';')?;
    let mut numbers = head.split(',');
    let mut number = || numbers.next()?.parse::<u64>().ok();
    let (priority, number, at_micros) = (number()?, number()?, number()?);
    Some(Record {
        level: priority & 7,
        facility: priority >> 3,
        number,
        at_micros,
        text: text.to_owned(),
    })
}

/// Reads the kernel's warnings into the log until told to stop, from where an earlier agent of this boot was. Which of
/// them were seen is kept in the state folder.
pub async fn follow(log: &Log, state: &Path, stop: &CancellationToken) {
    let device = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open("/dev/kmsg");
    let followed = match device {
        Ok(device) => follow_device(device.into(), log, state, stop).await,
        Err(error) => Err(error),
    };
    if let Err(error) = followed {
        tracing::info!(%error, "the kernel's messages cannot be read, and are missing in this log");
    }
}

async fn follow_device(device: OwnedFd, log: &Log, state: &Path, stop: &CancellationToken) -> io::Result<()> {
    let keep = state.join(SEEN);
    let mut seen =
        private_file::read(&keep)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
    // It is no pipe, and is waited for and read like one.
    let device = pipe::Receiver::from_file_unchecked(File::from(device))?;
    let mut buffer = vec![0; MOST_RECORD];
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ready = device.readable() => ready?,
        }
        let before = seen;
        let ended = loop {
            match device.try_read(&mut buffer) {
                Ok(0) => break true,
                Ok(length) => take(&buffer[..length], &mut seen, log),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    log.push(
                        Level::Warn,
                        Source::Kernel,
                        "(messages of the kernel were lost: it wrote faster than they were read)",
                    );
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(number) = seen.filter(|_| seen != before) {
            private_file::write(&keep, number.to_string().as_bytes())?;
        }
        if ended {
            return Ok(());
        }
    }
}

fn take(record: &[u8], seen: &mut Option<u64>, log: &Log) {
    let wanted = |record: &Record| {
        record.facility == 0 && record.level <= WARNING && seen.is_none_or(|seen| record.number > seen)
    };
    let Some(record) = parse(record).filter(wanted) else {
        return;
    };
    *seen = Some(record.number);
    let level = if record.level <= ERROR {
        Level::Error
    } else {
        Level::Warn
    };
    let (seconds, micros) = (record.at_micros / 1_000_000, record.at_micros % 1_000_000);
    log.push(
        level,
        Source::Kernel,
        &format!("[{seconds:5}.{micros:06}] {}", record.text),
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn records_are_read_and_rubbish_is_none() {
        let record = parse(b"3,339,5140900,-;nvme nvme0: I/O timeout; aborting\n SUBSYSTEM=nvme\n").unwrap();
        assert_eq!((record.level, record.facility, record.number), (3, 0, 339));
        assert_eq!(
            (record.at_micros, record.text.as_str()),
            (5_140_900, "nvme nvme0: I/O timeout; aborting")
        );
        assert_eq!(parse(b"30,1,2,-;systemd").unwrap().facility, 3);
        for rubbish in [&b""[..], b"3,1,2", b";x", b"a,b,c;x", b"3,1;x", b"\xff\xfe;\n"] {
            assert_eq!(parse(rubbish), None, "{rubbish:?}");
        }
    }

    /// A pair of sockets that keep the limits of messages, as the kernel's device does.
    fn device(records: &[&str]) -> (OwnedFd, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        for record in records {
            ours.send(record.as_bytes()).unwrap();
        }
        (theirs.into(), ours)
    }

    async fn lines(records: &[&str], state: &Path) -> Vec<String> {
        let log = Log::default();
        let (device, end) = device(records);
        // A message of no bytes is the end.
        end.send(b"").unwrap();
        follow_device(device, &log, state, &CancellationToken::new())
            .await
            .unwrap();
        let batch = log.batch_after(0);
        batch.map_or_else(Vec::new, |(batch, _)| {
            batch.lines.into_iter().map(|line| line.text).collect()
        })
    }

    #[tokio::test]
    async fn warnings_are_told_once_also_over_a_restart_of_the_agent() {
        let state = tempfile::tempdir().unwrap();
        let boot = [
            "6,1,10,-;Linux version",
            "4,2,1000001,-;ACPI warns",
            "12,3,20,-;a program",
            "0,4,2000000,-;panic",
        ];
        assert_eq!(
            lines(&boot, state.path()).await,
            ["[    1.000001] ACPI warns", "[    2.000000] panic"]
        );
        let later = [
            &boot[..],
            &["3,9,61000000,-;Out of memory: Killed process 7 (imprint-agent)"],
        ]
        .concat();
        assert_eq!(
            lines(&later, state.path()).await,
            ["[   61.000000] Out of memory: Killed process 7 (imprint-agent)"]
        );
        assert_eq!(lines(&later, state.path()).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn it_stops_when_told_to() {
        let state = tempfile::tempdir().unwrap();
        let (device, _held) = device(&[]);
        let stop = CancellationToken::new();
        stop.cancel();
        follow_device(device, &Log::default(), state.path(), &stop)
            .await
            .unwrap();
    }
}
