//! A server's disk: a sparse file, shown to the guest as NVMe, virtio, SATA or SCSI with a serial number of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How the guest sees the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DiskKind {
    /// NVMe controller with one namespace.
    Nvme,
    /// virtio-blk.
    Virtio,
    /// AHCI.
    Sata,
    /// virtio-scsi.
    Scsi,
}

/// A disk to be made.
#[derive(Debug, Clone, Copy)]
pub struct DiskSpec {
    /// How the guest sees it.
    pub kind: DiskKind,
    /// Its size.
    pub size_mib: u64,
    /// Bytes a second it takes at most; a slow disk gives a test time to interfere.
    pub write_limit: Option<u64>,
    /// Bytes of a logical sector.
    pub sector: u32,
    /// Serial number; none: one that no other disk has.
    pub serial: Option<&'static str>,
    /// World wide name; SATA and SCSI only.
    pub wwn: Option<u64>,
    /// Whether it says that it can be taken out; SCSI only.
    pub removable: bool,
}

impl DiskSpec {
    /// A fast disk of 4 GiB.
    pub fn new(kind: DiskKind) -> Self {
        Self {
            kind,
            size_mib: 4096,
            write_limit: None,
            sector: 512,
            serial: None,
            wwn: None,
            removable: false,
        }
    }

    /// The same with another size.
    pub fn size_mib(self, size_mib: u64) -> Self {
        Self { size_mib, ..self }
    }

    /// The same, slow.
    pub fn slow(self, mib_per_second: u64) -> Self {
        Self {
            write_limit: Some(mib_per_second << 20),
            ..self
        }
    }
}

/// A disk that exists.
#[derive(Debug)]
pub struct Disk {
    /// What it was made from.
    pub spec: DiskSpec,
    /// The file that holds its bytes.
    pub path: PathBuf,
    /// Serial number that the guest sees.
    pub serial: String,
}

impl Disk {
    /// Makes an empty disk in a file that is called `name`.
    pub fn create(folder: &Path, name: &str, serial: &str, spec: DiskSpec) -> Result<Self> {
        let path = folder.join(format!("{name}.raw"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(spec.size_mib << 20)
            .context("cannot size the disk")?;
        Ok(Self {
            spec,
            path,
            serial: serial.to_owned(),
        })
    }

    /// Fills the first and the last MiB and some places between with bytes that are nobody's file system.
    pub fn fill_with_old_data(&self) -> Result<()> {
        let file = self.open_to_write()?;
        for offset in self.old_data() {
            file.write_all_at(&old_data(), offset)
                .context("cannot fill the disk")?;
        }
        Ok(())
    }

    /// Places below `end` where a block of the old data has survived.
    pub fn surviving_old_data(&self, end: u64) -> Result<Vec<u64>> {
        let (file, old) = (self.open()?, old_data());
        let mut found = Vec::new();
        let mut now = vec![0; old.len()];
        for offset in self.old_data().into_iter().filter(|offset| *offset < end) {
            file.read_exact_at(&mut now, offset)
                .context("cannot read the disk")?;
            let blocks = old.chunks(OLD_BLOCK).zip(now.chunks(OLD_BLOCK));
            found.extend(
                blocks
                    .enumerate()
                    .filter(|(_, (old, now))| old == now)
                    .map(|(index, _)| offset + index as u64 * OLD_BLOCK as u64),
            );
        }
        Ok(found)
    }

    fn old_data(&self) -> [u64; 4] {
        let last = (self.spec.size_mib - 1) << 20;
        [0, 17 << 20, 300 << 20, last].map(|offset| last.min(offset))
    }

    /// BLAKE3 over all its bytes.
    pub fn digest(&self) -> Result<String> {
        let mut file = self.open()?;
        let mut hash = blake3::Hasher::new();
        let mut block = vec![0; 1 << 20];
        loop {
            match file
                .read(&mut block)
                .with_context(|| format!("cannot read {}", self.path.display()))?
            {
                0 => return Ok(hash.finalize().to_hex().to_string()),
                read => hash.write_all(&block[..read]).context("cannot hash")?,
            }
        }
    }

    /// How many of its sectors have these bytes, which are no longer than a sector.
    pub fn sectors_with(&self, bytes: &[u8]) -> Result<u64> {
        let mut file = self.open()?;
        let mut piece = vec![0; 1 << 20];
        let mut found = 0;
        loop {
            let read = file.read(&mut piece).context("cannot read the disk")?;
            if read == 0 {
                return Ok(found);
            }
            let sectors = piece[..read].chunks_exact(512);
            let has = |sector: &&[u8]| sector.windows(bytes.len()).any(|part| part == bytes);
            found += sectors.filter(has).count() as u64;
        }
    }

    /// What firmware could take for something to boot: a boot signature or a partition table, at either end.
    pub fn bootable_marks(&self) -> Result<Vec<&'static str>> {
        let file = self.open()?;
        let mut front = [0; 1024];
        let mut back = [0; 512];
        file.read_exact_at(&mut front, 0)
            .context("cannot read the disk's head")?;
        file.read_exact_at(&mut back, (self.spec.size_mib << 20) - 512)
            .context("cannot read the disk's end")?;
        let mut marks = Vec::new();
        if front[510..512] == [0x55, 0xaa] {
            marks.push("boot signature in LBA 0");
        }
        if front[512..520] == *b"EFI PART" {
            marks.push("GPT in LBA 1");
        }
        if back[..8] == *b"EFI PART" {
            marks.push("backup GPT in the last LBA");
        }
        Ok(marks)
    }

    /// Puts what makes it a physical volume of the LVM group vg-kept, by LVM's on-disk format.
    pub fn make_lvm_member(&self) -> Result<()> {
        let mut label = [0; 512];
        label[..8].copy_from_slice(b"LABELONE");
        label[20..24].copy_from_slice(&32_u32.to_le_bytes());
        label[24..32].copy_from_slice(b"LVM2 001");
        label[32..64].copy_from_slice(b"abcdefghijklmnopqrstuvwxyz012345");
        // Data from 1 MiB on, the end of that list, metadata from 4 KiB on.
        label[72..80].copy_from_slice(&(1_u64 << 20).to_le_bytes());
        label[104..112].copy_from_slice(&4096_u64.to_le_bytes());
        label[112..120].copy_from_slice(&((1_u64 << 20) - 4096).to_le_bytes());
        let mut area = [0; 1024];
        area[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
        area[40..48].copy_from_slice(&512_u64.to_le_bytes());
        area[512..521].copy_from_slice(b"vg-kept {");
        let file = self.open_to_write()?;
        file.write_all_at(&label, 512)
            .and_then(|()| file.write_all_at(&area, 4096))
            .context("cannot write the LVM label")
    }

    /// Whether its first MiB is nothing but zeroes.
    pub fn head_is_clear(&self) -> Result<bool> {
        let mut head = vec![0; 1 << 20];
        self.open()?
            .read_exact_at(&mut head, 0)
            .context("cannot read the disk's head")?;
        Ok(head.iter().all(|byte| *byte == 0))
    }

    /// QEMU's arguments for it. `index` is its place among the machine's disks.
    pub fn arguments(&self, index: usize) -> Vec<String> {
        let limit = self
            .spec
            .write_limit
            .map(|bytes| format!(",throttling.bps-write={bytes}"))
            .unwrap_or_default();
        let drive = format!(
            "if=none,id=d{index},format=raw,file={},cache=unsafe,discard=unmap,detect-zeroes=unmap{limit}",
            self.path.display()
        );
        let serial = &self.serial;
        let boot = 10 + index;
        let mut end = format!("serial={serial},bootindex={boot}");
        if self.spec.sector != 512 {
            let sector = self.spec.sector;
            end.push_str(&format!(
                ",logical_block_size={sector},physical_block_size={sector}"
            ));
        }
        if let Some(wwn) = self.spec.wwn {
            end.push_str(&format!(",wwn={wwn:#x}"));
        }
        if self.spec.removable {
            end.push_str(",removable=on");
        }
        let id = device_id(index);
        let mut arguments = vec!["-drive".to_owned(), drive];
        let device = match self.spec.kind {
            DiskKind::Nvme => format!("nvme,id={id},drive=d{index},{end}"),
            DiskKind::Virtio => format!("virtio-blk-pci,id={id},drive=d{index},{end}"),
            DiskKind::Sata => format!("ide-hd,id={id},drive=d{index},bus=ide.{index},{end}"),
            DiskKind::Scsi => {
                arguments.extend(["-device".to_owned(), format!("virtio-scsi-pci,id=scsi{index}")]);
                format!("scsi-hd,id={id},drive=d{index},bus=scsi{index}.0,{end}")
            }
        };
        arguments.extend(["-device".to_owned(), device]);
        arguments
    }

    fn open(&self) -> Result<File> {
        File::open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))
    }

    fn open_to_write(&self) -> Result<File> {
        let file = File::options().write(true).open(&self.path);
        file.with_context(|| format!("cannot open {}", self.path.display()))
    }
}

/// What QEMU calls the device of a machine's disk.
pub fn device_id(index: usize) -> String {
    format!("disk{index}")
}

const OLD_BLOCK: usize = 512;

/// A MiB without a zero and without a pattern that repeats in it.
fn old_data() -> Vec<u8> {
    (0..1_u32 << 20)
        .map(|i| i.wrapping_mul(2_654_435_761).rotate_left(i >> 8).to_be_bytes()[0] | 1)
        .collect()
}
