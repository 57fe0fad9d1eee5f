//! A disk of an image, read for somebody in this process: a back-end of volumes.

use std::{io::Write, sync::atomic::AtomicBool};

use imprint_image::export::{ExportError, ExportOptions, ExportPlan};
use tokio::runtime::Handle;
use ulid::Ulid;

use super::{ExportFault, Exports, OpenedDisk, StoreFrames, hold::Hold};

/// A disk that stays in the store until it is read, or this is dropped.
#[derive(Debug)]
pub(crate) struct HeldDisk {
    disk: OpenedDisk,
    frames: StoreFrames,
    hold: Hold,
}

impl Exports {
    /// Holds a disk. Refused when its image is gone.
    pub(crate) async fn hold(&self, disk: OpenedDisk) -> Result<HeldDisk, ExportFault> {
        let hold = Hold::of(&self.0.catalog, &Ulid::generate().to_string(), &disk).await?;
        Ok(HeldDisk {
            disk,
            frames: StoreFrames::new(self.0.store.clone()),
            hold,
        })
    }
}

impl HeldDisk {
    /// Writes the file, and proves every frame on the way. Blocks: for a thread of the runtime that may.
    pub(crate) fn write(
        self,
        out: &mut dyn Write,
        progress: &dyn Fn(u64),
        cancel: &AtomicBool,
    ) -> Result<(), ExportError> {
        let options = ExportOptions {
            without_sum: true,
            progress: Some(progress),
            cancel: Some(cancel),
            ..ExportOptions::default()
        };
        let plan = ExportPlan::new(&self.disk.manifest, self.disk.format);
        let written = plan.and_then(|plan| plan.write(&self.frames, out, &options));
        Handle::current().block_on(self.hold.end());
        written.map(drop)
    }
}
