//! What the content of a new disk tells, read from the store before the image becomes active.
//!
//! The disk is read chunk by chunk, each one proven, from wherever the store is; nothing of it is kept whole. The readers
//! count every access, and bound every length and their answer, themselves (`imprint_image::facts`); here is the limit on
//! time.

mod disk;

use std::{
    io,
    time::{Duration, Instant},
};

use imprint_image::{
    Manifest,
    facts::{self, ArtifactDisk, DiskKind, Finding, ReadAt, Severity},
};
use serde::Serialize;
use tokio::runtime::Handle;
use utoipa::ToSchema;

use disk::StoreChunks;

use super::{ImportError, stop::Stop};
use crate::{
    catalog::{Detected, Findings, ImageKind},
    store::Store,
};

/// How many findings of each kind a lint report has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LintSummary {
    /// Machines will not come up, or not as they should.
    pub errors: u32,
    /// Works on some machines or with care.
    pub warnings: u32,
    /// Worth knowing.
    pub notes: u32,
}

impl LintSummary {
    /// Of a report.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        let count = |severity| {
            let of_it = findings.iter().filter(|finding| finding.severity == severity);
            u32::try_from(of_it.count()).unwrap_or(u32::MAX)
        };
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Info),
        }
    }
}

/// What was found, for the catalogue and for the caller.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) findings: Findings,
    pub(super) lint: LintSummary,
}

/// What is to be examined.
#[derive(Debug)]
pub(super) struct Examination {
    pub(super) store: Store,
    pub(super) runtime: Handle,
    pub(super) manifest: Manifest,
    pub(super) kind: ImageKind,
    /// Logical sector size that the caller has declared.
    pub(super) sector: Option<u32>,
    pub(super) limit: Duration,
    pub(super) stop: Stop,
}

impl Examination {
    /// Blocks. Nothing when time ran out before even the partition table was read.
    pub(super) fn run(&self) -> Result<Option<Examined>, ImportError> {
        let until = Instant::now() + self.limit;
        let chunks = StoreChunks::new(
            &self.store,
            &self.runtime,
            &self.manifest,
            until,
            self.stop.clone(),
        )
        .map_err(ImportError::Facts)?;
        let disk = ArtifactDisk::over(&self.manifest, chunks);
        if let Some(declared) = self.sector {
            require_sector(&disk, declared).map_err(ImportError::Facts)??;
        }
        let kind = match self.kind {
            ImageKind::SystemDisk | ImageKind::FullMachine => DiskKind::System,
            ImageKind::DataDisk | ImageKind::Iso => DiskKind::Data,
        };
        let facts = match facts::read_as(kind, &disk, Some(self.manifest.logical_sector_bytes)) {
            Ok(facts) => facts,
            Err(error) => {
                if let Some(stopped) = self.stop.error() {
                    return Err(stopped);
                }
                if error.kind() == io::ErrorKind::TimedOut {
                    tracing::warn!(limit = ?self.limit, "the facts of a disk could not be read in time");
                    return Ok(None);
                }
                return Err(ImportError::Facts(error));
            }
        };
        if let Some(stopped) = self.stop.error() {
            return Err(stopped);
        }
        let lint = facts::lint(&facts);
        let mut findings = Findings::new(&facts, &lint).map_err(|error| ImportError::Facts(error.into()))?;
        if facts.kind == DiskKind::Data {
            findings.system = Detected::default();
        }
        Ok(Some(Examined {
            lint: LintSummary::of(&lint),
            findings,
        }))
    }
}

/// What the content of disks tells that came into the store by other ways than an import: the first one is of an image
/// of this kind, the others hold data. Nothing of a disk that time ran out for. Blocks.
pub(crate) fn findings_of(
    store: &Store,
    runtime: &Handle,
    manifests: &[Manifest],
    kind: ImageKind,
    limit: Duration,
) -> Result<Vec<Option<Findings>>, ImportError> {
    let until = Instant::now() + limit;
    let mut all = Vec::with_capacity(manifests.len());
    for (n, manifest) in manifests.iter().enumerate() {
        let examination = Examination {
            store: store.clone(),
            runtime: runtime.clone(),
            manifest: manifest.clone(),
            kind: if n == 0 { kind } else { ImageKind::DataDisk },
            sector: None,
            limit: until.saturating_duration_since(Instant::now()),
            stop: Stop::default(),
        };
        all.push(examination.run()?.map(|examined| examined.findings));
    }
    Ok(all)
}

/// A GPT lies in the second sector, wherever that is: it tells the sector size that the disk was made for.
fn require_sector(disk: &dyn ReadAt, declared: u32) -> io::Result<Result<(), ImportError>> {
    let has_gpt = |sector: u32| -> io::Result<bool> {
        let mut magic = [0; 8];
        if disk.size_bytes() < u64::from(sector) + 8 {
            return Ok(false);
        }
        disk.read_at(sector.into(), &mut magic)?;
        Ok(&magic == b"EFI PART")
    };
    if has_gpt(declared)? {
        return Ok(Ok(()));
    }
    for detected in [512, 4096] {
        if has_gpt(detected)? {
            return Ok(Err(ImportError::Sector { declared, detected }));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_59_a_sector_size_that_the_partition_table_contradicts_is_refused_with_both() {
        let disk = |sector: usize| {
            let mut disk = vec![0; 16384];
            disk[sector..sector + 8].copy_from_slice(b"EFI PART");
            disk
        };
        for (made_for, declared, good) in [
            (512, 512, true),
            (512, 4096, false),
            (4096, 4096, true),
            (4096, 512, false),
        ] {
            let judged = require_sector(&disk(made_for), u32::try_from(declared).unwrap()).unwrap();
            assert_eq!(judged.is_ok(), good, "{made_for} {declared}");
            if let Err(error) = judged {
                let text = error.to_string();
                assert!(text.contains("512") && text.contains("4096"), "{text}");
            }
        }
        assert!(require_sector(&vec![0; 100], 4096).unwrap().is_ok());
    }
}
