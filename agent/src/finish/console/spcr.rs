//! The serial console that the firmware speaks on, as ACPI's table SPCR tells it (Serial Port Console Redirection, revision 2
//! and later). The table is somebody else's: nothing of it is used that is not understood.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Below `/sys`.
const TABLE: &str = "firmware/acpi/tables/SPCR";
/// Longest table that is read; revision 4 has a name of any length at its end.
const LONGEST: u64 = 4096;
/// Length of revision 2.
const SHORTEST: usize = 80;
/// Address spaces of ACPI.
const MEMORY: u8 = 0;
const PORTS: u8 = 1;

/// A table says nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpcrError {
    /// It can't be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is cut, or longer than its firmware says.
    #[error("it has {found} bytes and says {said}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        said: u32,
    },
    /// It is another table, or damaged.
    #[error("its {0} is wrong")]
    Damaged(&'static str),
    /// Its shape is not that of the specification that is followed here.
    #[error("revision {0} is not known")]
    Revision(u8),
    /// Which of Linux's consoles that is, nobody can say.
    #[error("interface {interface} at {address:#x} of address space {space} is not known")]
    Port {
        /// Its type.
        interface: u8,
        /// Where.
        space: u8,
        /// At which address.
        address: u64,
    },
    /// A code without a meaning.
    #[error("baud rate {0} is not known")]
    Baud(u8),
}

/// Arguments for the kernel, of the console that the firmware has; none when it has none.
///
/// # Errors
/// When there is a table that cannot be used.
pub(super) fn arguments(sys: &Path) -> Result<Option<Vec<String>>, SpcrError> {
    let mut table = Vec::new();
    match File::open(sys.join(TABLE)) {
        Ok(file) => file.take(LONGEST + 1).read_to_end(&mut table)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The screen stays: the last one is that of init's messages.
    Ok(console(&table)?.map(|console| vec!["console=tty0".to_owned(), format!("console={console}")]))
}

/// The console as the kernel names it: "ttyS0,115200". None when redirection is off. Pure.
fn console(table: &[u8]) -> Result<Option<String>, SpcrError> {
    let found = table.len();
    if found < 8 || !table.starts_with(b"SPCR") {
        return Err(SpcrError::Damaged("signature"));
    }
    let said = u32::from_le_bytes([table[4], table[5], table[6], table[7]]);
    if found < SHORTEST || usize::try_from(said).ok() != Some(found) {
        return Err(SpcrError::Length { found, said });
    }
    if table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(SpcrError::Damaged("checksum"));
    }
    if table[8] < 2 {
        return Err(SpcrError::Revision(table[8]));
    }
    let (interface, space) = (table[36], table[40]);
    let mut address = [0; 8];
    address.copy_from_slice(&table[44..52]);
    let address = u64::from_le_bytes(address);
    if address == 0 {
        return Ok(None);
    }
    let name = match (interface, space, address) {
        // 16550, 16450, 16550 by its generic address.
        (0 | 1 | 0x12, PORTS, 0x3f8) => "ttyS0",
        (0 | 1 | 0x12, PORTS, 0x2f8) => "ttyS1",
        (0 | 1 | 0x12, PORTS, 0x3e8) => "ttyS2",
        (0 | 1 | 0x12, PORTS, 0x2e8) => "ttyS3",
        // PL011, and those of Arm's base system that are like it.
        (3 | 0x0d | 0x0e, MEMORY, _) => "ttyAMA0",
        _ => {
            return Err(SpcrError::Port {
                interface,
                space,
                address,
            });
        }
    };
    let baud = match table[58] {
        // As it is.
        0 => "",
        3 => ",9600",
        4 => ",19200",
        6 => ",57600",
        7 => ",115200",
        other => return Err(SpcrError::Baud(other)),
    };
    Ok(Some(format!("{name}{baud}")))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// A table as the specification has it.
    pub(in crate::finish::console) fn table(
        revision: u8,
        interface: u8,
        space: u8,
        address: u64,
        baud: u8,
    ) -> Vec<u8> {
        let mut table = vec![0; if revision < 4 { 80 } else { 90 }];
        table[..4].copy_from_slice(b"SPCR");
        table[8] = revision;
        table[10..16].copy_from_slice(b"VENDOR");
        table[36] = interface;
        table[40] = space;
        table[41] = 8;
        table[44..52].copy_from_slice(&address.to_le_bytes());
        table[58] = baud;
        table[64..68].fill(0xff);
        let length = u32::try_from(table.len()).unwrap();
        table[4..8].copy_from_slice(&length.to_le_bytes());
        sealed(table)
    }

    fn sealed(mut table: Vec<u8>) -> Vec<u8> {
        table[9] = 0;
        table[9] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        table
    }

    #[test]
    fn consoles_have_the_names_of_the_kernel() {
        for (table, name) in [
            (table(2, 0, 1, 0x3f8, 7), Some("ttyS0,115200")),
            (table(2, 1, 1, 0x2f8, 6), Some("ttyS1,57600")),
            (table(3, 0x12, 1, 0x3e8, 4), Some("ttyS2,19200")),
            (table(2, 0, 1, 0x2e8, 3), Some("ttyS3,9600")),
            (table(4, 0, 1, 0x3f8, 0), Some("ttyS0")),
            (table(2, 3, 0, 0x0900_0000, 7), Some("ttyAMA0,115200")),
            (table(2, 0x0e, 0, 0x0900_0000, 0), Some("ttyAMA0")),
            // Redirection is off.
            (table(2, 0, 1, 0, 7), None),
        ] {
            assert_eq!(console(&table).unwrap().as_deref(), name);
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let good = table(2, 0, 1, 0x3f8, 7);
        let long = [good.clone(), vec![0]].concat();
        let mut flipped = good.clone();
        flipped[60] ^= 1;
        for (table, said) in [
            (Vec::new(), "signature"),
            (b"SPCR".to_vec(), "signature"),
            (sealed([b"DBG2", &good[4..]].concat()), "signature"),
            (good[..79].to_vec(), "79 bytes and says 80"),
            (good[..8].to_vec(), "8 bytes"),
            (long, "81 bytes and says 80"),
            (flipped, "checksum"),
            (table(1, 0, 1, 0x3f8, 7), "revision 1"),
            (table(2, 0, 1, 0x1234, 7), "0x1234"),
            (table(2, 0, 0, 0x3f8, 7), "address space 0"),
            (table(2, 3, 1, 0x3f8, 7), "interface 3"),
            (table(2, 9, 1, 0x3f8, 7), "interface 9"),
            (table(2, 0, 1, 0x3f8, 5), "baud rate 5"),
        ] {
            let error = console(&table).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        // Every cut of every length ends in an error.
        for length in 0..good.len() {
            assert!(console(&good[..length]).is_err());
        }
    }

    #[test]
    fn the_kernel_shows_the_table() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(arguments(sys.path()).unwrap(), None);
        let path = sys.path().join(TABLE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, table(2, 0, 1, 0x2f8, 7)).unwrap();
        let words = arguments(sys.path()).unwrap().unwrap();
        assert_eq!(words, ["console=tty0", "console=ttyS1,115200"]);
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(arguments(sys.path()).is_err());
    }
}
