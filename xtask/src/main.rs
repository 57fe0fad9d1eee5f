//! `cargo xtask`: everything a newcomer does with Imprint's sources. It prepares what is missing (Debian packages,
//! binaries, ramdisk, Debian image) and hands over to the lab, `imprint-lab`, which runs the virtual servers.

mod image;
mod packages;
mod screen;
mod tool;

use std::path::PathBuf;

use anyhow::Result;

fn main() -> Result<()> {
    screen::start();
    packages::install_missing()?;
    let image = image::build(&PathBuf::from("target/lab-cache"))?;
    println!("{}", image.display());
    Ok(())
}
