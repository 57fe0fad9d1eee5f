//! ATA commands through SCSI's generic interface: IDENTIFY DEVICE and those of the security feature set.

use std::{io, os::fd::BorrowedFd, time::Duration};

use nix::libc;

use super::scsi;

/// The only block that these commands carry.
pub type Block = [u8; 512];

/// What goes along with a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// Nothing.
    None,
    /// A block from the disk.
    In(&'a mut Block),
    /// A block to the disk.
    Out(&'a Block),
}

/// What the disk says of a command: the registers after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Status register.
    pub status: u8,
    /// Error register.
    pub error: u8,
}

impl Answer {
    /// Neither the error bit nor the fault bit is set.
    #[must_use]
    pub fn is_good(self) -> bool {
        const ERROR: u8 = 0x01;
        const FAULT: u8 = 0x20;
        self.status & (ERROR | FAULT) == 0
    }
}

/// Sends a command with ATA PASS-THROUGH (16) and waits for it.
///
/// # Errors
/// When the device is no ATA disk, the bridge before it does not pass the command on, or it takes longer than `timeout`.
pub fn command(device: BorrowedFd<'_>, command: u8, data: Data<'_>, timeout: Duration) -> io::Result<Answer> {
    let bytes = descriptor(command, &data);
    let data = match data {
        Data::None => scsi::Data::None,
        Data::In(block) => scsi::Data::In(block),
        Data::Out(block) => scsi::Data::Out(block),
    };
    let done = scsi::send(device, &bytes, data, timeout)?;
    match answer(&done.sense) {
        Some(answer) => Ok(answer),
        // Good, and the bridge does not show the registers of what is good.
        None if done.good && done.residue == 0 => Ok(Answer {
            status: 0x50,
            error: 0,
        }),
        None if is_unknown(&done.sense) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        None => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

/// ILLEGAL REQUEST, in either format: whoever answers does not know the command.
fn is_unknown(sense: &[u8; 64]) -> bool {
    const ILLEGAL_REQUEST: u8 = 5;
    let key = match sense[0] & 0x7F {
        0x72 | 0x73 => sense[1],
        _ => sense[2],
    };
    key & 0x0F == ILLEGAL_REQUEST
}

/// The SCSI command that carries an ATA command.
fn descriptor(command: u8, data: &Data<'_>) -> [u8; 16] {
    const PASS_THROUGH: u8 = 0x85;
    const NO_DATA: u8 = 3 << 1;
    const PIO_IN: u8 = 4 << 1;
    const PIO_OUT: u8 = 5 << 1;
    /// As many blocks as the count says.
    const BLOCKS: u8 = 0x04 | 0x02;
    const INWARDS: u8 = 0x08;
    /// The registers, please, also of what went well.
    const CHECK: u8 = 0x20;
    let (protocol, flags, count) = match data {
        Data::None => (NO_DATA, CHECK, 0),
        Data::In(_) => (PIO_IN, INWARDS | BLOCKS, 1),
        Data::Out(_) => (PIO_OUT, BLOCKS, 1),
    };
    let mut bytes = [0; 16];
    (bytes[0], bytes[1], bytes[2], bytes[6], bytes[14]) = (PASS_THROUGH, protocol, flags, count, command);
    bytes
}

/// Registers in the sense data: the ATA descriptor (0x09) of the descriptor format, or the fixed format.
fn answer(sense: &[u8; 64]) -> Option<Answer> {
    match sense[0] & 0x7F {
        0x72 if sense[8] == 0x09 => Some(Answer {
            error: sense[8 + 3],
            status: sense[8 + 13],
        }),
        0x70 if sense[12] == 0 && sense[13] == 0x1D => Some(Answer {
            error: sense[3],
            status: sense[4],
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    #[test]
    fn commands_are_packed_as_the_bridge_reads_them() {
        let none = descriptor(0xF3, &Data::None);
        assert_eq!(none, [0x85, 6, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xF3, 0]);
        let out = descriptor(0xF4, &Data::Out(&[0; 512]));
        assert_eq!(out, [0x85, 10, 0x06, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xF4, 0]);
        let inwards = descriptor(0xEC, &Data::In(&mut [0; 512]));
        assert_eq!(inwards, [0x85, 8, 0x0E, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xEC, 0]);
    }

    #[test]
    fn registers_of_both_formats() {
        let mut sense = [0; 64];
        (sense[0], sense[8], sense[11], sense[21]) = (0x72, 0x09, 0x04, 0x51);
        let aborted = Answer {
            status: 0x51,
            error: 0x04,
        };
        assert_eq!(answer(&sense), Some(aborted));
        assert!(!aborted.is_good());
        let mut sense = [0; 64];
        (sense[0], sense[3], sense[4], sense[13]) = (0xF0, 0, 0x50, 0x1D);
        assert!(answer(&sense).is_some_and(Answer::is_good));
        assert_eq!(answer(&[0; 64]), None);
        let mut unknown = [0; 64];
        (unknown[0], unknown[2]) = (0x70, 0x05);
        assert!(is_unknown(&unknown) && answer(&unknown).is_none() && !is_unknown(&sense));
    }

    #[test]
    fn what_is_no_disk_refuses() {
        let file = File::open("/dev/null").unwrap();
        assert!(
            command(
                file.as_fd(),
                0xEC,
                Data::In(&mut [0; 512]),
                Duration::from_secs(1)
            )
            .is_err()
        );
    }
}
