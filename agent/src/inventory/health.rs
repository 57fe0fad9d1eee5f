//! What disks say of their health: the health log of NVMe, SMART status and device statistics of ATA.
//!
//! Only what standards define is read. The vendors' own SMART attributes would have to be guessed at.

use std::{collections::BTreeMap, fs::File, io, os::fd::AsFd as _, path::Path, thread};

use imprint_proto::agent::v1::{Disk, DiskHealth, HealthStatus, Transport};

use crate::sys;

/// The log page 0x02 of NVMe.
pub const NVME_LOG_BYTES: usize = 512;
/// A page of the device statistics of ATA.
pub const STATISTICS_BYTES: usize = 512;
/// Disks that are asked at a time: a shelf of 60 is asked within a few seconds, whatever one of them does.
const AT_A_TIME: usize = 16;
/// A disk that has used up more of its life than this is worn.
const WORN_PERCENT: u32 = 90;

/// How a disk is asked; the seam between the questions and what the answers mean.
pub trait Asked {
    /// The health log of NVMe.
    ///
    /// # Errors
    /// When the disk does not answer or refuses.
    fn nvme_log(&self) -> io::Result<[u8; NVME_LOG_BYTES]>;

    /// SMART RETURN STATUS: true when the disk says that it will fail.
    ///
    /// # Errors
    /// As [`Asked::nvme_log`]; also when SMART is switched off.
    fn ata_fails(&self) -> io::Result<bool>;

    /// A page of the device statistics (log 0x04).
    ///
    /// # Errors
    /// As [`Asked::nvme_log`].
    fn ata_statistics(&self, page: u8) -> io::Result<[u8; STATISTICS_BYTES]>;
}

/// An open device file.
#[derive(Debug)]
struct Device(File);

impl Asked for Device {
    fn nvme_log(&self) -> io::Result<[u8; NVME_LOG_BYTES]> {
        sys::health::nvme_log(self.0.as_fd())
    }

    fn ata_fails(&self) -> io::Result<bool> {
        sys::health::ata_fails(self.0.as_fd())
    }

    fn ata_statistics(&self, page: u8) -> io::Result<[u8; STATISTICS_BYTES]> {
        sys::health::ata_statistics(self.0.as_fd(), page)
    }
}

/// Asks all disks that know the question, several at a time; what they say by their kernel names.
///
/// A disk that does not answer costs the kernel's time limit of a command, three seconds.
#[must_use]
pub fn ask_all(root: &Path, disks: &[Disk]) -> BTreeMap<String, DiskHealth> {
    let ask = |disk: &Disk| {
        let path = root.join("dev").join(&disk.kernel_name);
        let said = File::open(path).and_then(|file| of(disk.transport(), &Device(file)));
        said.unwrap_or_else(|error| {
            tracing::debug!(disk = disk.kernel_name, %error, "a disk does not tell its health");
            None
        })
    };
    let mut found = BTreeMap::new();
    for some in disks.chunks(AT_A_TIME) {
        let said: Vec<Option<DiskHealth>> = thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|disk| scope.spawn(move || ask(disk))).collect();
            asked
                .into_iter()
                .map(|asked| asked.join().ok().flatten())
                .collect()
        });
        for (disk, health) in some.iter().zip(said) {
            found.extend(health.map(|health| (disk.kernel_name.clone(), health)));
        }
    }
    found
}

/// What a disk says; none when its bus has no such question.
///
/// # Errors
/// When the disk does not answer.
pub fn of(transport: Transport, disk: &impl Asked) -> io::Result<Option<DiskHealth>> {
    match transport {
        Transport::Nvme => Ok(Some(nvme(&disk.nvme_log()?))),
        Transport::Sata => {
            let fails = disk.ata_fails()?;
            let page = |number| disk.ata_statistics(number).ok();
            Ok(Some(ata(fails, [page(1), page(4), page(5), page(7)])))
        }
        _ => Ok(None),
    }
}

/// The health log of NVMe (NVM Express Base Specification, "SMART / Health Information").
fn nvme(log: &[u8; NVME_LOG_BYTES]) -> DiskHealth {
    // Bits of the critical warning. Bit 1, the temperature, passes when the fans turn again.
    const FAILING: [(u8, &str); 4] = [
        (0, "its spare blocks are below the maker's limit"),
        (
            2,
            "its reliability is degraded by errors of the medium or of the device",
        ),
        (3, "its medium has become read-only"),
        (4, "its protection against loss of power has failed"),
    ];
    let critical = log[0];
    let mut verdict = Verdict::default();
    for (bit, reason) in FAILING {
        if critical & (1 << bit) != 0 {
            verdict.fails(reason.to_owned());
        }
    }
    if critical & 2 != 0 {
        verdict.warns("its temperature is outside of the maker's limits".to_owned());
    }
    let counter = |at: usize| {
        let bytes: [u8; 16] = log[at..at + 16].try_into().expect("16 bytes of 512");
        u64::try_from(u128::from_le_bytes(bytes)).unwrap_or(u64::MAX)
    };
    let kelvin = i32::from(u16::from_le_bytes([log[1], log[2]]));
    let media_errors = counter(160);
    verdict.media_errors(media_errors, "errors of its medium");
    let used = u32::from(log[5]);
    verdict.used(used);
    DiskHealth {
        temperature_celsius: (kelvin > 0).then_some(kelvin - 273),
        spare_percent: Some(u32::from(log[3])),
        used_percent: Some(used),
        media_errors: Some(media_errors),
        power_on_hours: Some(counter(128)),
        ..verdict.health()
    }
}

/// SMART status and pages 1, 4, 5 and 7 of the device statistics (ACS, "Device Statistics log").
fn ata(fails: bool, pages: [Option<[u8; STATISTICS_BYTES]>; 4]) -> DiskHealth {
    let [general, errors, temperature, solid_state] = pages;
    let value = |page: &Option<[u8; STATISTICS_BYTES]>, number: u8, at: usize| {
        page.as_ref().and_then(|page| statistic(page, number, at))
    };
    let mut verdict = Verdict::default();
    if fails {
        verdict.fails("SMART says that it fails".to_owned());
    }
    let media_errors = value(&errors, 4, 8).map(|count| count & 0xFFFF_FFFF);
    verdict.media_errors(media_errors.unwrap_or(0), "uncorrectable errors reported");
    // A signed byte.
    let celsius = value(&temperature, 5, 8).map(|value| i32::from(value.to_le_bytes()[0].cast_signed()));
    let used = value(&solid_state, 7, 8).map(|value| u32::from(value.to_le_bytes()[0]));
    verdict.used(used.unwrap_or(0));
    DiskHealth {
        temperature_celsius: celsius,
        used_percent: used,
        spare_percent: None,
        media_errors,
        power_on_hours: value(&general, 1, 16).map(|hours| hours & 0xFFFF_FFFF),
        ..verdict.health()
    }
}

/// A statistic of 56 bits below a byte of flags; none unless the disk supports it (bit 7) and calls it valid (bit 6).
fn statistic(page: &[u8; STATISTICS_BYTES], number: u8, at: usize) -> Option<u64> {
    const SUPPORTED_AND_VALID: u8 = 0xC0;
    // The head names the page; a disk without it answers zeroes.
    if page[2] != number {
        return None;
    }
    let bytes: [u8; 8] = page.get(at..at + 8)?.try_into().ok()?;
    (bytes[7] & SUPPORTED_AND_VALID == SUPPORTED_AND_VALID)
        .then(|| u64::from_le_bytes(bytes) & 0x00FF_FFFF_FFFF_FFFF)
}

#[derive(Debug, Default)]
struct Verdict {
    failing: bool,
    reasons: Vec<String>,
}

impl Verdict {
    fn fails(&mut self, reason: String) {
        self.failing = true;
        self.reasons.push(reason);
    }

    fn warns(&mut self, reason: String) {
        self.reasons.push(reason);
    }

    fn media_errors(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.warns(format!("{count} {what}"));
        }
    }

    fn used(&mut self, percent: u32) {
        if percent >= WORN_PERCENT {
            self.warns(format!("{percent} % of its life is used"));
        }
    }

    fn health(self) -> DiskHealth {
        let status = match (self.failing, self.reasons.is_empty()) {
            (true, _) => HealthStatus::Failing,
            (false, false) => HealthStatus::Warning,
            (false, true) => HealthStatus::Ok,
        };
        DiskHealth {
            status: status as i32,
            reasons: self.reasons,
            ..DiskHealth::default()
        }
    }
}

#[cfg(test)]
mod tests;
