//! A volume that is a disk of one running server, then of another one: systems that were installed long ago find it and let
//! it go, and its bytes go with it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{deploy, volume};
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{Lab, LabOptions, Parts};
use crate::node::{Firmware, Node, NodeSpec};
use crate::sdi::{STORAGE, Storage, VolumeSpec};
use crate::story::tell;

const NAME: &str = "data";
const SIZE_MIB: u64 = 256;

pub fn run(name: &str, parts: &Parts) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    let data = VolumeSpec::new(NAME, SIZE_MIB);
    // Ends after the servers.
    let _storage = Storage::start(lab.folder(), STORAGE, &[data])?;
    let mut spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Virtio)).with_card(2);
    spec.processors = 1;
    let (mut nodes, done) = deploy::deploy(&mut lab, &[spec.clone(), spec])?;
    for node in &mut nodes {
        volume::introduce_card(&lab, node)?;
    }
    volume::make_known(&lab, &data)?;
    let [first, second] = &nodes[..] else {
        bail!("two servers were built, and there are {}", nodes.len());
    };
    let address = |index: usize| deploy::address(done.get(index).context("a server was not deployed")?);

    let written = visit(
        &mut lab,
        first,
        &address(0)?,
        "mkfs.ext4 -q $D; mount $D /mnt; dd if=/dev/urandom of=/mnt/file bs=1M count=16 status=none",
    )?;
    tell("a file was written in the first server");
    let read = visit(&mut lab, second, &address(1)?, "mount -o ro $D /mnt")?;
    ensure!(
        written == read,
        "the second server reads {read}, and the first one has written {written}"
    );
    tell("and is the same in the second one");
    volume::expect_no_orphans(&lab)
}

/// Shows the volume to a server, carries out what mounts it there as `$D`, and takes it away; answers the file's digest.
fn visit(lab: &mut Lab, node: &Node, address: &str, mount: &str) -> Result<String> {
    let attached = volume::attach(lab, NAME, node)?;
    let disk = volume::wait_disk(lab, address, &attached).explain(|| lab.picture(node))?;
    tell(&format!("the volume is {disk} of {}", node.name));
    let script = format!("D=/dev/{disk}; {mount}; sha256sum < /mnt/file; umount /mnt");
    let said = lab.key.run(
        address,
        &format!("sudo sh -ec '{script}'"),
        Duration::from_secs(120),
    )?;
    let digest = said.split_whitespace().next().context("no digest was printed")?;
    ensure!(digest.len() == 64, "no digest: {said}");
    volume::detach(lab, NAME)?;
    volume::wait_no_disk(lab, address, volume::serial(&attached)?)?;
    tell(&format!("{} has let it go", node.name));
    Ok(digest.to_owned())
}
