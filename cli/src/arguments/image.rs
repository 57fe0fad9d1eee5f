//! `imprint image …`

use clap::Subcommand;

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
    /// All images
    #[command(after_help = "Examples:\n  imprint image list\n  imprint image list --output json")]
    List,
    /// One image
    #[command(after_help = "Example:\n  imprint image show debian-12")]
    Show {
        /// Id or name
        image: String,
    },
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim(), &mut digest)
        .map_err(|_| "64 hex digits are needed, as `sha256sum` prints them".to_owned())?;
    Ok(digest)
}
