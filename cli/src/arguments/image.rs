//! `imprint image …`

use clap::Subcommand;

use super::{
    ComposeArguments, CopyArguments, ExportArguments, ImageListArguments, StateArguments, UpdateArguments,
    sharing::SharingCommand,
};

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Upload a disk image; the controller converts it once, for all deployments
    #[command(after_help = "\
Accepted: raw, raw.gz, raw.xz, raw.zst, raw.bz2, qcow2, qcow, qed, vmdk, vhd, vhdx and vdi, in one file. A fixed vhd must be named \
with --format: only its end tells it from raw. What cannot be used is refused by the controller with the reason.

Examples:
  imprint image import debian-12.qcow2 --name debian-12
  imprint image import https://example.org/debian-12.qcow2 --name debian-12 --sha256 3f9a…
  xz -dc disk.raw.xz | imprint image import - --name appliance --format raw")]
    Import {
        /// The image file, its http(s) URL, or `-` for standard input
        #[arg(value_name = "FILE_OR_URL")]
        source: String,
        /// Name in the catalogue
        #[arg(long)]
        name: String,
        /// Format of the file; `auto` looks at its first bytes
        #[arg(long, default_value = "auto")]
        format: String,
        /// SHA-256 that the file, as it is, must have: 64 hex digits
        #[arg(long, value_name = "HEX", value_parser = sha256)]
        sha256: Option<[u8; 32]>,
    },
    /// Images, all or those that are looked for
    #[command(after_help = "\
Kinds: system-disk, data-disk, iso, full-machine. Visibilities: private, shared, public, community, marketplace.
States: queued, importing, active, deactivated, deprecated, obsolete. All conditions must hold.

Examples:
  imprint image list
  imprint image list --family debian --state active
  imprint image list --software nginx=1.26.3-3 --boot uefi --output json
  imprint image list --q shop --tag production --owner own")]
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
    #[command(after_help = "Examples:\n  imprint image families\n  imprint image families --output json")]
    Families,
    /// Make a full-machine image of images that are there
    #[command(after_help = "\
Nothing is copied. The disks are deployed one by one: `imprint deploy NODE --image shop --role db --no-finish`.

Example:
  imprint image compose shop --disk system=debian-12 --disk db=shop-data")]
    Compose(ComposeArguments),
    #[command(flatten)]
    Sharing(SharingCommand),
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim(), &mut digest)
        .map_err(|_| "64 hex digits are needed, as `sha256sum` prints them".to_owned())?;
    Ok(digest)
}
