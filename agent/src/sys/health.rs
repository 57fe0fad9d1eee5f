//! Questions to disks about their health: an admin command of NVMe, and ATA commands through SCSI's generic interface.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use nix::libc;

use super::scsi;

pub(super) mod raw {
    /// `struct nvme_passthru_cmd` of linux/nvme_ioctl.h.
    #[repr(C)]
    #[derive(Default)]
    pub struct AdminCommand {
        pub opcode: u8,
        pub flags: u8,
        pub reserved: u16,
        pub namespace: u32,
        pub cdw2: u32,
        pub cdw3: u32,
        pub metadata: u64,
        pub address: u64,
        pub metadata_length: u32,
        pub length: u32,
        pub cdw10: u32,
        pub cdw11: u32,
        pub cdw12: u32,
        pub cdw13: u32,
        pub cdw14: u32,
        pub cdw15: u32,
        pub timeout_ms: u32,
        pub result: u32,
    }

    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, AdminCommand);
}

/// A disk that does not answer in this time says nothing.
const TIMEOUT: Duration = Duration::from_secs(3);
const PAGE: usize = 512;

/// The health log (page 0x02) of an NVMe controller, through the device file of it or of a namespace.
///
/// # Errors
/// When the device is no NVMe one, does not answer, or refuses.
pub fn nvme_log(device: BorrowedFd<'_>) -> io::Result<[u8; PAGE]> {
    const GET_LOG_PAGE: u8 = 0x02;
    const HEALTH: u32 = 0x02;
    let mut log = [0_u8; PAGE];
    let double_words = u32::try_from(PAGE / 4 - 1).expect("127");
    let mut command = raw::AdminCommand {
        opcode: GET_LOG_PAGE,
        namespace: u32::MAX,
        address: (&raw mut log) as u64,
        length: u32::try_from(PAGE).expect("512"),
        cdw10: double_words << 16 | HEALTH,
        timeout_ms: 3000,
        ..raw::AdminCommand::default()
    };
    // SAFETY: the descriptor is open for the call; the command has the kernel's layout, and the kernel writes `length`
    // bytes at `address`, which is the log. Both live until it returns.
    let status = unsafe { raw::nvme_admin(device.as_raw_fd(), &raw mut command) }?;
    if status != 0 {
        return Err(io::Error::other(format!("NVMe status {status:#06x}")));
    }
    Ok(log)
}

/// SMART RETURN STATUS: whether the disk says that it will fail.
///
/// # Errors
/// When the device is no ATA disk, does not answer, or has SMART switched off.
pub fn ata_fails(device: BorrowedFd<'_>) -> io::Result<bool> {
    const SMART: u8 = 0xB0;
    const RETURN_STATUS: u8 = 0xDA;
    let registers = ata(
        device,
        &Command {
            command: SMART,
            feature: RETURN_STATUS,
            lba_mid: 0x4F,
            lba_high: 0xC2,
            ..Command::default()
        },
        &mut [],
    )?;
    match registers {
        Some((0x4F, 0xC2)) => Ok(false),
        Some((0xF4, 0x2C)) => Ok(true),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A page of the device statistics (log 0x04, READ LOG EXT).
///
/// # Errors
/// As [`ata_fails`]; when the disk has no such log.
pub fn ata_statistics(device: BorrowedFd<'_>, page: u8) -> io::Result<[u8; PAGE]> {
    const READ_LOG_EXT: u8 = 0x2F;
    const DEVICE_STATISTICS: u8 = 0x04;
    let mut data = [0; PAGE];
    let command = Command {
        command: READ_LOG_EXT,
        count: 1,
        lba_low: DEVICE_STATISTICS,
        lba_mid: page,
        ..Command::default()
    };
    ata(device, &command, &mut data)?;
    Ok(data)
}

#[derive(Debug, Default)]
struct Command {
    command: u8,
    feature: u8,
    count: u8,
    lba_low: u8,
    lba_mid: u8,
    lba_high: u8,
}

/// ATA PASS-THROUGH (16). Without data it asks for the registers and returns the middle and high ones of the address.
fn ata(device: BorrowedFd<'_>, command: &Command, data: &mut [u8]) -> io::Result<Option<(u8, u8)>> {
    const PASS_THROUGH: u8 = 0x85;
    const NO_DATA: u8 = 3 << 1;
    const READ: u8 = 4 << 1;
    /// The registers, please, also of what went well.
    const CHECK: u8 = 0x20;
    /// From the device, in blocks, as many as the count says.
    const INWARDS: u8 = 0x08 | 0x04 | 0x02;
    let reads = !data.is_empty();
    let bytes = [
        PASS_THROUGH,
        // READ LOG EXT takes 48-bit registers.
        if reads { READ | 1 } else { NO_DATA },
        if reads { INWARDS } else { CHECK },
        0,
        command.feature,
        0,
        command.count,
        0,
        command.lba_low,
        0,
        command.lba_mid,
        0,
        command.lba_high,
        0,
        command.command,
        0,
    ];
    let data = if reads {
        scsi::Data::In(data)
    } else {
        scsi::Data::None
    };
    let done = scsi::send(device, &bytes, data, TIMEOUT)?;
    if reads {
        // Data with a complaint, or less than a page, is none.
        return if done.good && done.residue == 0 {
            Ok(None)
        } else {
            Err(io::Error::from_raw_os_error(libc::EIO))
        };
    }
    Ok(registers(&done.sense))
}

/// Registers in the sense data: a descriptor 0x09 of the descriptor format (0x72), or the fixed format (0x70), which
/// has room for the middle and the high one.
fn registers(sense: &[u8; 64]) -> Option<(u8, u8)> {
    const ERROR: u8 = 0x01;
    let (status, registers) = match sense[0] & 0x7F {
        0x72 if sense[8] == 0x09 => (sense[8 + 13], (sense[8 + 9], sense[8 + 11])),
        0x70 if sense[12] == 0 && sense[13] == 0x1D => (sense[4], (sense[10], sense[11])),
        _ => return None,
    };
    (status & ERROR == 0).then_some(registers)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<raw::AdminCommand>(), 72);
    }

    #[test]
    fn registers_of_both_formats() {
        let mut described = [0; 64];
        (
            described[0],
            described[8],
            described[17],
            described[19],
            described[21],
        ) = (0x72, 9, 0xF4, 0x2C, 0x50);
        assert_eq!(registers(&described), Some((0xF4, 0x2C)));
        described[21] = 0x51;
        assert_eq!(registers(&described), None, "aborted: SMART is switched off");
        let mut fixed = [0; 64];
        (fixed[0], fixed[4], fixed[10], fixed[11], fixed[13]) = (0xF0, 0x50, 0x4F, 0xC2, 0x1D);
        assert_eq!(registers(&fixed), Some((0x4F, 0xC2)));
        assert_eq!(registers(&[0; 64]), None);
    }

    #[test]
    fn what_is_no_disk_refuses() {
        let file = File::open("/dev/null").unwrap();
        assert!(nvme_log(file.as_fd()).is_err());
        assert!(ata_fails(file.as_fd()).is_err());
        assert!(ata_statistics(file.as_fd(), 1).is_err());
    }
}
