//! A NoCloud seed disk, for booting the image without Imprint: the check that the image itself is sound.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;

/// Makes the seed disk.
pub fn seed_disk(folder: &Path, hostname: &str, mac: &str, user_data: &str) -> Result<PathBuf> {
    let files = [
        (
            "meta-data",
            format!("instance-id: lab-{hostname}\nlocal-hostname: {hostname}\n"),
        ),
        ("user-data", user_data.to_owned()),
        (
            "network-config",
            format!("version: 2\nethernets:\n  nic0:\n    match: {{macaddress: '{mac}'}}\n    dhcp4: true\n"),
        ),
    ];
    let disk = folder.join("seed.img");
    let mut make = Command::new("mkfs.vfat");
    process::run(
        make.args(["-n", "CIDATA", "-C"]).arg(&disk).arg("1024"),
        Duration::from_secs(20),
    )?;
    for (name, text) in files {
        let file = folder.join(name);
        fs::write(&file, text).context("cannot write a seed file")?;
        let mut copy = Command::new("mcopy");
        process::run(
            copy.arg("-i").arg(&disk).arg(&file).arg("::"),
            Duration::from_secs(20),
        )?;
    }
    Ok(disk)
}
