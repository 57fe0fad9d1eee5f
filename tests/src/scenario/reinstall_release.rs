//! The later life of a server: the next version of its image comes over the old one and only what differs is fetched; then
//! it is released, and nothing that was ever written to its disk can be read from it. The disk beside it is never touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::deploy;
use crate::cli::Order;
use crate::disk::{DiskKind, DiskSpec};
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

const NEXT: &str = "next-version";
/// What the next version has more.
const MORE_MIB: usize = 24;
const MIB: usize = 1 << 20;
/// What ext4 and the firmware's system change beside that file while the first system runs, with room: of 149.3 MB 31.5 MB were
/// fetched on 2026-11-22, of which 25.2 MB are the file, which nothing makes smaller.
const REST_MIB: u64 = 16;
const SYSTEM_DISK: &str = "transport=nvme";
const ANSWER: Duration = Duration::from_secs(120);
/// Repeated all over a file of the installed system.
const MARKER: &[u8; 32] = b"IMPRINT-LAB-SECRET-OF-A-TENANT-!";
const MARKER_FILE: &str = "sudo sh -ec 'yes IMPRINT-LAB-SECRET-OF-A-TENANT-! | tr -d \"\\n\" | head -c 16777216 > /srv/secret; sync'";

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let next = next_version(&lab.parts.image, lab.folder())?;
    lab.cli.import(&next, NEXT)?;
    fs::remove_file(&next).context("cannot remove the image's file")?;

    let system = DiskSpec::new(DiskKind::Nvme);
    let data = DiskSpec::new(DiskKind::Virtio).size_mib(512);
    let mut node = lab.build(NodeSpec::new(Firmware::Uefi, system).and_disk(data))?;
    let [_, data] = &node.disks[..] else {
        bail!("a server with two disks was to be built");
    };
    data.fill_with_old_data()?;
    let untouched = data.digest()?;
    node.power_on()?;
    tell("power on");
    lab.take_into_service(&mut node)?;

    let first = deployed(&mut lab, &mut node, IMAGE, &[])?;
    lab.key.run(&deploy::address(&first)?, MARKER_FILE, ANSWER)?;
    tell("deployed; a tenant has written to it");

    let second = deployed(&mut lab, &mut node, NEXT, &["--reinstall"])?;
    only_what_differs(&lab, &first, &second)?;
    let there = lab
        .key
        .run(&deploy::address(&second)?, "ls /next-version; ls /srv", ANSWER)?;
    ensure!(
        there.contains("/next-version") && !there.contains("secret"),
        "the next version is not what runs: {there}"
    );

    lab.key.run(&deploy::address(&second)?, MARKER_FILE, ANSWER)?;
    ensure!(
        node.disks[0].sectors_with(MARKER)? > 0,
        "the tenant's bytes are not on the disk"
    );
    release(&mut lab, &mut node)?;
    node.power_off()?;
    for disk in &node.disks {
        tell(&format!(
            "disk {}: {} markers",
            disk.serial,
            disk.sectors_with(MARKER)?
        ));
    }
    ensure!(
        node.disks[0].sectors_with(MARKER)? == 0,
        "the tenant's bytes can still be read"
    );
    let head = node.disks[0].bootable_marks()?;
    ensure!(head.is_empty(), "the disk could still boot: {head:?}");
    ensure!(
        node.disks[1].digest()? == untouched,
        "the disk beside it was written to"
    );
    tell("not a byte of the tenant is left, and the disk beside it is as it was");
    Ok(())
}

/// Puts an image onto the system disk; the server is reset to begin with.
fn deployed(lab: &mut Lab, node: &mut Node, image: &str, more: &[&str]) -> Result<Value> {
    let order = Order {
        image: image.to_owned(),
        disk: Some(SYSTEM_DISK.to_owned()),
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    let mut arguments = lab.cli.deploy_arguments(&[&node.mac], &order)?;
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    let begun = lab
        .cli
        .json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let id = begun[0]["id"]
        .as_str()
        .context("the deployment has no id")?
        .to_owned();
    if !more.is_empty() {
        node.reset()?;
    }
    lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)
}

/// The file is random bytes, so all of it has to come. The rest of the image is the same as before; of that comes again only what the
/// first system has written over, in chunks of a MiB, since there the disk has something else: journals and logs, inode tables,
/// cloud-init's traces.
fn only_what_differs(lab: &Lab, first: &Value, second: &Value) -> Result<()> {
    let figure = |of: &Value, key: &str| {
        of["write"][key]
            .as_u64()
            .with_context(|| format!("no figure {key}"))
    };
    let (all, fetched) = (figure(first, "bytes_fetched")?, figure(second, "bytes_fetched")?);
    let (kept, saved) = (figure(second, "chunks_kept")?, figure(second, "bytes_saved")?);
    let stored = lab.cli.get(&format!("images/{NEXT}"))?["stored_bytes"]
        .as_u64()
        .context("the image has no stored_bytes")?;
    let more = (MORE_MIB * MIB) as u64;
    let most = more + (REST_MIB << 20);
    tell(&format!(
        "reinstalled with the next version of {stored} bytes: {fetched} fetched ({all} for the first), {more} of them the new file, \
         at most {most} expected; {kept} chunks ({saved} bytes) were there already"
    ));
    ensure!(
        fetched >= more,
        "{fetched} bytes were fetched, and the new file alone has {more}"
    );
    ensure!(
        fetched <= most,
        "the reinstallation fetched {fetched} bytes, where {more} are new and {most} were expected at most"
    );
    ensure!(kept > 0, "no chunk was on the disk already");
    Ok(())
}

fn release(lab: &mut Lab, node: &mut Node) -> Result<()> {
    let begun = lab
        .cli
        .json(&["release", &node.mac, "--leave", "transport=virtio"])?;
    let id = begun[0]["id"]
        .as_str()
        .context("the release has no id")?
        .to_owned();
    node.reset()?;
    let ended = lab.wait_deployment(node, &id, "succeeded", patience::DEPLOYMENT)?;
    ensure!(ended["purpose"] == "release", "that was no release: {ended}");
    lab.wait_state(node, "available", patience::SHORT)?;
    let wipes = lab
        .cli
        .json(&["node", "wipes", "--disk", &node.disks[0].serial])?;
    let certificate = &wipes[0];
    ensure!(certificate["wiped"] == true, "there is no proof of it: {wipes}");
    tell(&format!(
        "released: {} by {}, {} samples as expected",
        certificate["disk"]["serial"], certificate["method"], certificate["samples"]["as_expected"]
    ));
    let all = lab.cli.json(&["node", "wipes"])?;
    ensure!(
        all.as_array().is_some_and(|all| all.len() == 1),
        "more than the one disk was wiped: {all}"
    );
    Ok(())
}

/// The everyday image with one file more, as an update in place would leave it.
fn next_version(everyday: &Path, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("next.raw");
    fs::copy(everyday, &path).context("cannot copy the everyday image")?;
    let listed = Command::new("sfdisk").arg("--json").arg(&path).output();
    let listed = listed.context("cannot start sfdisk")?;
    ensure!(listed.status.success(), "sfdisk has not read the image");
    let table: Value = serde_json::from_slice(&listed.stdout).context("sfdisk prints no JSON")?;
    let partitions = table["partitiontable"]["partitions"].as_array();
    let root = partitions
        .into_iter()
        .flatten()
        .max_by_key(|partition| partition["size"].as_u64());
    let start = root.and_then(|root| root["start"].as_u64()).context("no root")?;
    let file = folder.join("next-version");
    let mut random =
        blake3::Hasher::new_derive_key("imprint lab: the next version of an image").finalize_xof();
    let mut bytes = vec![0; MORE_MIB * MIB];
    random.fill(&mut bytes);
    fs::write(&file, bytes).context("cannot write the file of the next version")?;
    let done = Command::new("debugfs")
        .args(["-w", "-R"])
        .arg(format!("write {} /next-version", file.display()))
        .arg(format!("{}?offset={}", path.display(), start * 512))
        .output()
        .context("cannot start debugfs")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success() && !said.contains("rror"),
        "debugfs has not written the file: {said}"
    );
    fs::remove_file(&file).context("cannot remove the file of the next version")?;
    Ok(path)
}
