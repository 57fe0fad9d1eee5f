//! The words of an image.

use crate::words::words;

words! {
    /// What an image holds.
    ImageKind, "kind of images", {
        /// A system to start from, with its partition table.
        SystemDisk => "system-disk",
        /// Data alone.
        DataDisk => "data-disk",
        /// An installation medium, kept as it is.
        Iso => "iso",
        /// A system disk and the data disks that belong to it.
        FullMachine => "full-machine",
    }
}

words! {
    /// Who may see and use an image besides its project.
    Visibility, "visibility", {
        /// Nobody.
        Private => "private",
        /// Projects that it was shared with and that have accepted.
        Shared => "shared",
        /// Everybody; published by an administrator.
        Public => "public",
        /// Everybody; published by its owner, and vouched for by nobody.
        Community => "community",
        /// Everybody, on the terms of its publisher.
        Marketplace => "marketplace",
    }
}

words! {
    /// Where an image is in its life.
    ImageState, "state of images", {
        /// Its import waits for its turn.
        Queued => "queued",
        /// Its content is on the way.
        Importing => "importing",
        /// It can be used.
        Active => "active",
        /// It cannot be used for now.
        Deactivated => "deactivated",
        /// It can be used, and should not be any more.
        Deprecated => "deprecated",
        /// It cannot be used any more.
        Obsolete => "obsolete",
        /// It is gone.
        Deleted => "deleted",
        /// Its import has failed.
        Failed => "failed",
    }
}

words! {
    /// How an image came to be.
    Source, "source of images", {
        /// A file that a caller sent.
        Upload => "upload",
        /// A file that the controller fetched.
        Url => "url",
        /// An object of a bucket.
        S3 => "s3",
        /// An artifact of a registry.
        Oci => "oci",
        /// Another image.
        Copy => "copy",
        /// Several other images.
        Compose => "compose",
        /// The disks of a server.
        Capture => "capture",
        /// A backup of a server.
        BackupVault => "backup-vault",
    }
}

words! {
    /// What machines an image was made for.
    Target, "target", {
        /// Bare metal.
        Baremetal => "baremetal",
        /// Virtual machines alone.
        Vm => "vm",
        /// Both.
        Any => "any",
    }
}

words! {
    /// How firmware can start an image.
    BootMode, "boot mode", {
        /// UEFI.
        Uefi => "uefi",
        /// BIOS, or UEFI's emulation of it.
        Bios => "bios",
    }
}

words! {
    /// What a price is paid for.
    PricePer, "unit of prices", {
        /// Each deployment.
        Deployment => "deployment",
        /// Each hour.
        Hour => "hour",
        /// Each month.
        Month => "month",
    }
}

impl ImageState {
    /// Whether its content is still to come.
    #[must_use]
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Queued | Self::Importing)
    }
}
