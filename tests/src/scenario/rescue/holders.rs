//! Somebody who is let in makes an array of two disks and a logical volume on it, writes to it, and has the agent wipe both disks:
//! not while they are held; then what holds them is stopped, the topmost first, and nothing that was written can be read.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Way;
use crate::disk::Disk;
use crate::story::tell;

const SECRET: &str = "IMPRINT-LAB-SECRET-IN-AN-ARRAY-!";

/// Wipes the server's disks from the second one on.
pub(super) fn are_released(way: &Way, folder: &Path, disks: &[Disk]) -> Result<()> {
    let told = |command: &str| {
        let said = way.enter_by_key(folder, command)?;
        ensure!(said.success, "`{command}` has failed: {} {}", said.out, said.err);
        Ok(said.out)
    };
    let listed = told("lsblk --noheadings --nodeps --paths --output NAME,SERIAL")?;
    let path = |disk: &Disk| {
        let mut lines = listed.lines().filter_map(|line| line.trim().split_once(' '));
        let found = lines.find(|(_, serial)| serial.trim() == disk.serial);
        found
            .map(|(path, _)| path.to_owned())
            .with_context(|| format!("disk {} is not in {listed}", disk.serial))
    };
    let paths = disks.iter().map(path).collect::<Result<Vec<_>>>()?;
    // With its superblocks at the end, where a wipe of the beginning would leave them.
    told(&format!(
        "mdadm --create /dev/md0 --run --metadata=1.0 --level=1 --raid-devices={} {} 2>&1",
        paths.len(),
        paths.join(" ")
    ))?;
    told("lvm vgcreate --yes lab /dev/md0 2>&1")?;
    told("lvm lvcreate --yes --noudevsync --zero n --wipesignatures n --size 64M --name data lab 2>&1")?;
    told(&format!(
        "set -e; yes {SECRET} | tr -d '\\n' | head -c 16777216 > /dev/dm-0; sync /dev/dm-0"
    ))?;
    for disk in disks {
        ensure!(
            disk.sectors_with(SECRET.as_bytes())? > 0,
            "nothing was written to {}",
            disk.serial
        );
    }
    tell("an array of two disks, and a logical volume with somebody's bytes on it");

    let named: Vec<String> = paths
        .iter()
        .zip(disks)
        .map(|(path, disk)| format!("--target {path} --yes-wipe {}", disk.serial))
        .collect();
    let wipe = format!("imprint-agent wipe --method overwrite {}", named.join(" "));
    let refused = way.enter_by_key(folder, &wipe)?;
    ensure!(
        !refused.success && refused.err.contains("md0") && refused.err.contains("--release"),
        "held disks were not refused as they should be: {refused:?}"
    );
    told("test -e /sys/block/md0 && test -e /sys/block/dm-0")?;

    let said = told(&format!("{wipe} --release --json"))?;
    let certificates: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["event"] == "certificate")
        .collect();
    ensure!(
        certificates.len() == disks.len() && certificates.iter().all(|one| one["wiped"] == true),
        "not all disks are wiped: {said}"
    );
    let released = certificates[0]["released"].to_string();
    ensure!(
        released.contains("dm-0 (lab-data)") && released.contains("md0"),
        "what held the disks is not on the certificate: {said}"
    );
    told("! test -e /sys/block/md0 && ! test -e /sys/block/dm-0")?;
    for (path, disk) in paths.iter().zip(disks) {
        ensure!(
            told(&format!("wipefs --noheadings {path}"))?.is_empty(),
            "{path} has a signature"
        );
        ensure!(
            disk.sectors_with(SECRET.as_bytes())? == 0,
            "somebody's bytes can still be read from {}",
            disk.serial
        );
    }
    tell(&format!(
        "the agent has stopped what held them ({released}), and not a byte is left"
    ));
    Ok(())
}
