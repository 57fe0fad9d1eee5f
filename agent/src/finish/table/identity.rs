//! What a partition table calls the disk and its partitions.

use std::io::{Read, Seek, SeekFrom, Write};

use super::{Scheme, TableError, read, read_gpt};

/// Where an MBR has the signature of its disk.
const MBR_SIGNATURE: u64 = 440;

/// Identifiers of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// GUIDs as they stand on the disk: the disk's, and by number those of the partitions in use.
    Gpt {
        /// The disk's.
        disk: [u8; 16],
        /// Number and GUID.
        partitions: Vec<(u32, [u8; 16])>,
    },
    /// The signature that partitions are named after too.
    Mbr([u8; 4]),
}

/// Reads them; none of a disk without a table.
///
/// # Errors
/// When the table is damaged.
pub fn identity<D: Read + Seek>(device: &mut D, sector: u64) -> Result<Option<Identity>, TableError> {
    let table = read(device, sector)?;
    Ok(match table.scheme {
        Scheme::Gpt => Some(Identity::Gpt {
            disk: read_gpt(device, sector)?.header.disk_guid,
            partitions: table
                .partitions
                .iter()
                .map(|partition| (partition.number, partition.unique))
                .collect(),
        }),
        Scheme::Mbr(signature) => Some(Identity::Mbr(signature)),
        Scheme::None => None,
    })
}

/// Writes them, into both copies of a GPT. Partitions that are not named keep theirs.
///
/// # Errors
/// When the table is damaged or can't be written.
pub fn set_identity<D: Read + Write + Seek>(
    device: &mut D,
    sector: u64,
    identity: &Identity,
) -> Result<(), TableError> {
    match identity {
        Identity::Gpt { disk, partitions } => {
            let mut gpt = read_gpt(device, sector)?;
            gpt.header.disk_guid = *disk;
            for (number, guid) in partitions {
                if let Some((_, entry)) = gpt.iter_mut().find(|(found, _)| found == number) {
                    entry.unique_partition_guid = *guid;
                }
            }
            gpt.write_into(device)?;
        }
        Identity::Mbr(signature) => {
            device.seek(SeekFrom::Start(MBR_SIGNATURE))?;
            device.write_all(signature)?;
        }
    }
    device.flush()?;
    Ok(())
}
