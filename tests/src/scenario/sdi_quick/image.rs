//! An image of the size that servers' images have: the everyday one with a partition of data that no compression makes smaller.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Of the partition of data.
pub const DATA_MIB: u64 = 3 << 10;
const MIB: usize = 1 << 20;
const SECTOR_BYTES: u64 = 512;
const DATA_SECTORS: u64 = (DATA_MIB << 20) / SECTOR_BYTES;

/// Makes the image below `folder`. The data come before the root, which is the last partition as it was, and can grow.
pub fn make(everyday: &Path, folder: &Path) -> Result<PathBuf> {
    let listed = Command::new("sfdisk").arg("--json").arg(everyday).output();
    let listed = listed.context("cannot start sfdisk")?;
    ensure!(listed.status.success(), "sfdisk has not read the everyday image");
    let table: Value = serde_json::from_slice(&listed.stdout).context("sfdisk prints no JSON")?;
    let (script, root_at) = script(&table["partitiontable"])?;

    let path = folder.join("server.raw");
    let mut from = File::open(everyday).context("cannot open the everyday image")?;
    let length = from.metadata()?.len();
    let mut out = BufWriter::with_capacity(MIB, File::create(&path).context("cannot make the image")?);
    io::copy(&mut Read::by_ref(&mut from).take(root_at), &mut out)?;
    let mut random = blake3::Hasher::new_derive_key("imprint lab: data of an image").finalize_xof();
    let mut piece = vec![0; MIB];
    for _ in 0..DATA_MIB {
        random.fill(&mut piece);
        out.write_all(&piece).context("cannot write the data")?;
    }
    from.seek(SeekFrom::Start(root_at))?;
    io::copy(&mut from, &mut out)?;
    let file = out.into_inner().context("cannot write the image")?;
    ensure!(
        file.metadata()?.len() == length + (DATA_MIB << 20),
        "the image has another length"
    );

    let mut sfdisk = Command::new("sfdisk")
        .arg("--wipe=never")
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start sfdisk")?;
    let mut input = sfdisk.stdin.take().context("sfdisk has no input")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    ensure!(sfdisk.wait()?.success(), "sfdisk has not written the table");
    Ok(path)
}

/// The new table as sfdisk reads it, and where the root begins in the old one, in bytes.
fn script(table: &Value) -> Result<(String, u64)> {
    let partitions = table["partitions"]
        .as_array()
        .context("a table without partitions")?;
    let start = |partition: &Value| partition["start"].as_u64().context("a partition without a start");
    let mut last = 0;
    for partition in partitions {
        last = last.max(start(partition)?);
    }
    let mut script = format!(
        "label: gpt\nlabel-id: {}\n",
        table["id"].as_str().unwrap_or_default()
    );
    for (index, partition) in partitions.iter().enumerate() {
        let from = start(partition)?;
        let at = if from == last { from + DATA_SECTORS } else { from };
        let text = |key: &str| partition[key].as_str().unwrap_or_default();
        writeln!(
            script,
            "{} : start={at}, size={}, type={}, uuid={}, name=\"{}\"",
            index + 1,
            partition["size"],
            text("type"),
            text("uuid"),
            text("name")
        )?;
    }
    writeln!(
        script,
        "{} : start={last}, size={DATA_SECTORS}, name=\"data\"",
        partitions.len() + 1
    )?;
    Ok((script, last * SECTOR_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_stays_the_last_partition() {
        let table = serde_json::json!({ "id": "A", "partitions": [
            { "start": 2048, "size": 2048, "type": "B", "uuid": "C", "name": "bios" },
            { "start": 4096, "size": 8192, "type": "D", "uuid": "E", "name": "root" },
        ] });
        let (script, root_at) = script(&table).unwrap();
        assert_eq!(root_at, 4096 * 512);
        let moved = 4096 + DATA_SECTORS;
        assert_eq!(
            script,
            format!(
                "label: gpt\nlabel-id: A\n1 : start=2048, size=2048, type=B, uuid=C, name=\"bios\"\n\
                 2 : start={moved}, size=8192, type=D, uuid=E, name=\"root\"\n\
                 3 : start=4096, size={DATA_SECTORS}, name=\"data\"\n"
            )
        );
    }
}
