//! VMware's streamOptimized: compressed grains in the order of the disk, each behind a marker, then their tables.
//!
//! Programs that read it as a stream find everything by its marker; others find the directory by the footer.

use std::io;

use super::fields::put;
use super::payload::GRAIN_BYTES;
use super::{ExportError, ExportFormat, FileWriter, Output, Payload, Wanted};
use crate::{CHUNK_BYTES, Chunk, Manifest};

const SECTOR_BYTES: u64 = 512;
const SECTORS_PER_GRAIN: u64 = GRAIN_BYTES as u64 / SECTOR_BYTES;
const GRAINS_PER_CHUNK: u64 = CHUNK_BYTES as u64 / GRAIN_BYTES as u64;
const TABLE_ENTRIES: usize = 512;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Where the first grain lies.
const OVERHEAD_SECTORS: u64 = 128;
/// Newlines are tested, grains are compressed, markers are there.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const AT_END: u64 = u64::MAX;
/// Entries are sectors in 32 bits.
const MAX_FILE_BYTES: u64 = (1 << 32) * SECTOR_BYTES;

/// Kinds of markers of metadata.
const END: u32 = 0;
const GRAIN_TABLE: u32 = 1;
const GRAIN_DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

pub(super) struct Vmdk<'a> {
    manifest: &'a Manifest,
    /// Sectors of the grain tables.
    directory: Vec<u32>,
    /// The table that is being filled, and which it is.
    table: Box<[u32; TABLE_ENTRIES]>,
    open: Option<usize>,
}

impl<'a> Vmdk<'a> {
    pub fn new(manifest: &'a Manifest) -> Result<Self, ExportError> {
        let grains = manifest.disk_size_bytes.div_ceil(GRAIN_BYTES as u64);
        let tables = grains.div_ceil(TABLE_ENTRIES as u64);
        // A grain that can't be compressed takes a sector more than its bytes; tables take far less than another one.
        let data_grains = manifest.chunks.len() as u64 * GRAINS_PER_CHUNK;
        let most = data_grains * (GRAIN_BYTES as u64 + 2 * SECTOR_BYTES) + tables * 8 * SECTOR_BYTES;
        if most >= MAX_FILE_BYTES {
            return Err(ExportError::Unfit {
                format: ExportFormat::Vmdk,
                reason: format!(
                    "its {} bytes of data could need a file of more than 2 TiB",
                    manifest.data_bytes()
                ),
                instead: ExportFormat::Qcow2,
            });
        }
        Ok(Self {
            manifest,
            directory: vec![0; usize::try_from(tables).expect("bounded by the largest disk")],
            table: Box::new([0; TABLE_ENTRIES]),
            open: None,
        })
    }

    fn sectors(&self) -> u64 {
        self.manifest.disk_size_bytes / SECTOR_BYTES
    }

    fn header(&self, directory: u64) -> [u8; SECTOR_BYTES as usize] {
        let mut header = [0; SECTOR_BYTES as usize];
        put(&mut header, 0, b"KDMV");
        put(&mut header, 4, &3u32.to_le_bytes());
        put(&mut header, 8, &FLAGS.to_le_bytes());
        put(&mut header, 12, &self.sectors().to_le_bytes());
        put(&mut header, 20, &SECTORS_PER_GRAIN.to_le_bytes());
        put(&mut header, 28, &1u64.to_le_bytes());
        put(&mut header, 36, &DESCRIPTOR_SECTORS.to_le_bytes());
        put(&mut header, 44, &(TABLE_ENTRIES as u32).to_le_bytes());
        put(&mut header, 56, &directory.to_le_bytes());
        put(&mut header, 64, &OVERHEAD_SECTORS.to_le_bytes());
        put(&mut header, 73, b"\n \r\n");
        put(&mut header, 77, &1u16.to_le_bytes());
        header
    }

    fn descriptor(&self) -> String {
        let sectors = self.sectors();
        let digest = self.manifest.image_digest;
        let (id, _) = digest
            .as_bytes()
            .split_first_chunk()
            .expect("a digest has 32 bytes");
        // The highest values have a meaning of their own.
        let id = u32::from_be_bytes(*id) & 0x7FFF_FFFF;
        let cylinders = sectors.div_ceil(255 * 63);
        format!(
            "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
             # Extent description\nRW {sectors} SPARSE \"disk.vmdk\"\n\n\
             # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
        )
    }

    fn here(out: &Output<'_>) -> io::Result<u32> {
        u32::try_from(out.position() / SECTOR_BYTES)
            .map_err(|_| io::Error::other("a VMDK cannot have more than 2 TiB"))
    }

    /// Writes the table that is open, if any grain of it has data.
    fn close_table(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        let Some(number) = self.open.take() else {
            return Ok(());
        };
        let bytes = le_bytes(&self.table[..]);
        out.write(&marker(bytes.len() as u64 / SECTOR_BYTES, GRAIN_TABLE))?;
        self.directory[number] = Self::here(out)?;
        self.table.fill(0);
        out.write(&bytes)
    }
}

fn marker(sectors: u64, kind: u32) -> [u8; SECTOR_BYTES as usize] {
    let mut marker = [0; SECTOR_BYTES as usize];
    put(&mut marker, 0, &sectors.to_le_bytes());
    put(&mut marker, 12, &kind.to_le_bytes());
    marker
}

fn le_bytes(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

impl FileWriter for Vmdk<'_> {
    fn wanted(&self) -> Wanted {
        Wanted::Grains
    }

    fn file_bytes(&self) -> Option<u64> {
        None
    }

    fn place(&self, _nth: usize) -> Option<u64> {
        None
    }

    fn begin(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        out.write(&self.header(AT_END))?;
        out.write(self.descriptor().as_bytes())?;
        out.zeros_to(OVERHEAD_SECTORS * SECTOR_BYTES)
    }

    fn chunk(&mut self, out: &mut Output<'_>, chunk: &Chunk, payload: Payload) -> io::Result<()> {
        let Payload::Grains(grains) = payload else {
            unreachable!("grains were wanted");
        };
        for (number, packed) in grains {
            let grain = chunk.index * GRAINS_PER_CHUNK + u64::from(number);
            let at = usize::try_from(grain).expect("bounded by the largest disk");
            if self.open != Some(at / TABLE_ENTRIES) {
                self.close_table(out)?;
                self.open = Some(at / TABLE_ENTRIES);
            }
            self.table[at % TABLE_ENTRIES] = Self::here(out)?;
            out.write(&(grain * SECTORS_PER_GRAIN).to_le_bytes())?;
            out.write(&u32::try_from(packed.len()).expect("about a grain").to_le_bytes())?;
            out.write(&packed)?;
            out.align(SECTOR_BYTES)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Output<'_>) -> io::Result<()> {
        self.close_table(out)?;
        let mut directory = le_bytes(&self.directory);
        directory.resize(directory.len().next_multiple_of(SECTOR_BYTES as usize), 0);
        out.write(&marker(directory.len() as u64 / SECTOR_BYTES, GRAIN_DIRECTORY))?;
        let directory_sector = out.position() / SECTOR_BYTES;
        out.write(&directory)?;
        out.write(&marker(1, FOOTER))?;
        out.write(&self.header(directory_sector))?;
        out.write(&marker(0, END))
    }
}
