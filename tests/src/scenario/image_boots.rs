//! The lab's image without Imprint: does it boot, does cloud-init take a seed, can one log in? When a deployment fails
//! and this passes, the image is not to blame.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::interrupt::Explain as _;
use crate::lab::Parts;
use crate::network::{Addresses, MTU, Network};
use crate::node::Firmware;
use crate::process::Service;
use crate::ssh::SshKey;
use crate::{interrupt, process, seed, story};

const MAC: &str = "52:54:00:77:00:99";

pub fn bios(name: &str, parts: &Parts) -> Result<()> {
    boot(name, parts, Firmware::Bios)
}

pub fn uefi(name: &str, parts: &Parts) -> Result<()> {
    boot(name, parts, Firmware::Uefi)
}

fn boot(name: &str, parts: &Parts, firmware: Firmware) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut network = Network::up(folder.path(), Addresses::Foreign)?;
    let key = SshKey::generate(folder.path())?;
    let seed = seed::seed_disk(folder.path(), name, MAC, &key.user_data())?;
    let disk = folder.path().join("disk.qcow2");
    let mut overlay = Command::new("qemu-img");
    overlay
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&parts.image)
        .arg(&disk)
        .arg("4G");
    process::run(&mut overlay, Duration::from_secs(20))?;

    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-m",
        "1024",
        "-smp",
        "2",
        "-machine",
        "q35",
    ])
    .args(["-accel", parts.accel.argument()])
    .arg("-netdev")
    .arg(format!(
        "tap,id=net0,ifname={},script=no,downscript=no",
        network.tap(MTU)?
    ))
    .arg("-device")
    .arg(format!("virtio-net-pci,netdev=net0,mac={MAC},romfile="))
    .args([
        "-object",
        "rng-random,id=rng0,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng0",
    ])
    .arg("-drive")
    .arg(format!(
        "if=virtio,format=qcow2,cache=unsafe,file={}",
        disk.display()
    ))
    .arg("-drive")
    .arg(format!("if=virtio,format=raw,file={}", seed.display()))
    .arg("-serial")
    .arg(format!("file:{}", folder.path().join("serial").display()))
    .stdin(Stdio::null());
    if let Some((code, variables)) = firmware.ovmf() {
        let vars = folder.path().join("vars");
        std::fs::copy(variables, &vars).context("cannot copy the firmware's variables")?;
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=1,file={}", vars.display()));
    }
    let mut machine = Service::start("qemu", &mut qemu, &folder.path().join("qemu.log"))?;
    story::tell("power on");
    let leases = folder.path().join("foreign-dhcp.leases");
    let address = interrupt::until(
        "an address for the installed system",
        Duration::from_secs(180),
        || {
            machine.expect_running()?;
            let text = std::fs::read_to_string(&leases).unwrap_or_default();
            Ok(text
                .lines()
                .find(|line| line.contains(MAC))
                .and_then(|line| line.split(' ').nth(2))
                .map(str::to_owned))
        },
    )
    .explain(|| process::file_tail(&folder.path().join("serial"), 30))?;
    story::tell(&format!("address {address}"));
    let said = key.run(
        &address,
        "hostname; df --output=size -BM / | tail -1",
        Duration::from_secs(240),
    )?;
    story::tell(&format!("ssh: {}", said.trim().replace('\n', ", ")));
    let mut words = said.split_whitespace();
    ensure!(
        words.next() == Some(name),
        "the host name of the seed was not taken"
    );
    let size = words
        .next()
        .and_then(|size| size.trim_end_matches('M').parse::<u64>().ok())
        .unwrap_or(0);
    ensure!(size > 3000, "the root file system was not grown: {size} MiB");
    Ok(())
}
