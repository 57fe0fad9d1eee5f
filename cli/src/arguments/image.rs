//! `imprint image …`

use clap::Subcommand;

use super::{
    ComposeArguments, CopyArguments, ExportArguments, ImageListArguments, ImportArguments, StateArguments,
    UpdateArguments, sharing::SharingCommand,
};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Import a disk image; the controller converts it once, for all deployments
    #[command(after_help = "\
Accepted: raw, raw.gz, raw.xz, raw.zst, raw.bz2, qcow2, qcow, qed, vmdk, vhd, vhdx and vdi, in one file, and with --kind iso an
installation medium. A fixed vhd must be named with --format: only its end tells it from raw. What cannot be used is refused by the
controller with the reason; so is what is said of the image and is not so.

A large file is sent in pieces: when the connection breaks it goes on where it was, also when the command is run again.

Examples:
  imprint image import debian-12.qcow2 --name debian-12
  imprint image import debian-12.qcow2 --name debian-12.7 --family debian-12 --version 12.7 --os debian --boot uefi
  imprint image import https://example.org/debian-12.qcow2 --name debian-12 --sha256 3f9a…
  imprint image import https://example.org/debian-12.qcow2 --name debian-12 --by-controller --wait
  imprint image import oci://registry.example.net/images/debian:12 --name debian-12
  imprint image import s3://golden/debian-12.qcow2 --name debian-12
  imprint image import golden.raw --name golden --certified-for 'PowerEdge R650' --visibility public
  imprint image import secret.qcow2 --name secret --encrypt
  xz -dc disk.raw.xz | imprint image import - --name appliance --format raw")]
    Import(Box<ImportArguments>),
    /// Images, all or those that are looked for
    #[command(after_help = "\
Kinds: system-disk, data-disk, iso, full-machine. Visibilities: private, shared, public, community, marketplace.
States: queued, importing, active, deactivated, deprecated, obsolete. All conditions must hold.

Examples:
  imprint image list
  imprint image list --family debian --state active
  imprint image list --software nginx=1.26.3-3 --boot uefi --output json
  imprint image list --q shop --tag production --owner own
  imprint image list --fits web-07
  imprint image list --fits nvme-mellanox --visibility public")]
    List(Box<ImageListArguments>),
    /// Write an image as a file of a format that others read, or into a bucket
    Export(ExportArguments),
    /// Copy an image into the project of the token, or to another region
    Copy(CopyArguments),
    /// One image
    #[command(after_help = "Example:\n  imprint image show debian-12")]
    Show {
        /// Id or name
        image: String,
    },
    /// Change what is said of an image; its content never changes
    #[command(after_help = "\
What is left out stays; an empty word takes away what can be taken away.

Examples:
  imprint image update debian-12 --description 'for web servers' --tag web --tag production
  imprint image update debian-12 --min-memory 2GiB --boot uefi
  imprint image update debian-12 --protect
  imprint image update installer --expires 14d")]
    Update(Box<UpdateArguments>),
    /// Delete an image; deployments that run go on
    #[command(after_help = "\
Refused while the image is protected (`imprint image update IMAGE --unprotect`) or published in the marketplace.

Example:
  imprint image delete debian-11")]
    Delete {
        /// Id or name
        image: String,
    },
    /// Put an image back into use
    #[command(
        after_help = "Examples:\n  imprint image activate debian-12\n  imprint image activate debian-13 --at 2026-12-01"
    )]
    Activate(StateArguments),
    /// Take an image out of use for now: deployments of it are refused
    #[command(after_help = "Example:\n  imprint image deactivate debian-12 --reason 'under investigation'")]
    Deactivate(StateArguments),
    /// Say that an image should not be used any more: it works, with a warning
    #[command(after_help = "\
Examples:
  imprint image deprecate debian-12.1 --replacement debian-12.2
  imprint image deprecate debian-12.1 --replacement debian-12.2 --reason 'an old kernel' --at 30d")]
    Deprecate(StateArguments),
    /// End the use of an image: deployments of it are refused, and the one to use instead is named
    #[command(
        after_help = "Example:\n  imprint image obsolete debian-12.1 --replacement debian-12.2 --at 2027-01-31"
    )]
    Obsolete(StateArguments),
    /// Take planned changes of an image's state back
    #[command(
        after_help = "Examples:\n  imprint image unplan debian-12.1\n  imprint image unplan debian-12.1 --state obsolete"
    )]
    Unplan {
        /// Id or name
        image: String,
        /// Only the change to this state; all without it
        #[arg(long)]
        state: Option<String>,
    },
    /// Families of images, with the newest active one of each
    #[command(
        after_help = "Examples:\n  imprint image families\n  imprint image families debian-12 --output json"
    )]
    Families {
        /// Only this one: its newest active image
        family: Option<String>,
    },
    /// Make a full-machine image of images that are there
    #[command(after_help = "\
Nothing is copied. The disks are deployed one by one: `imprint deploy NODE --image shop --role db --no-finish`.

Example:
  imprint image compose shop --disk system=debian-12 --disk db=shop-data")]
    Compose(ComposeArguments),
    #[command(flatten)]
    Sharing(SharingCommand),
    /// What was read from an image at its import: firmware, system, kernels, drivers, plugins
    #[command(
        after_help = "Examples:\n  imprint image facts debian-12\n  imprint image facts debian-12 --output json"
    )]
    Facts {
        /// Id or name
        image: String,
    },
    /// What would keep an image from working on bare metal, with what to do about it
    #[command(after_help = "\
Exit code 1 when there are errors.

Examples:
  imprint image lint debian-12
  imprint image lint debian-12 --output json")]
    Lint {
        /// Id or name
        image: String,
    },
    /// The software in an image as a bill of materials: SPDX 2.3, JSON
    #[command(after_help = "Example:\n  imprint image sbom debian-12 > debian-12.spdx.json")]
    Sbom {
        /// Id or name
        image: String,
    },
}
