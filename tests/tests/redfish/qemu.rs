//! The lab's BMC with a real QEMU, whose processors do not get far: what counts is what QEMU says.

use std::process::{Command, Stdio};

use imprint_controller::power::{BootTarget, PowerState};
use imprint_tests::process::Service as Process;
use imprint_tests::redfish::qemu::{ARGUMENTS, Qemu, TARGETS};
use imprint_tests::redfish::{Identity, Oddities, Service, serve};

use super::site::{Site, known, off, on};

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_server_is_off_until_its_bmc_switches_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bmc.qmp");
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35,graphics=off",
            "-accel",
            "tcg",
            "-m",
            "64",
            "-display",
            "none",
        ])
        .args(["-nodefaults", "-no-user-config"])
        .args(ARGUMENTS)
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        // The network card is on no network.
        .args([
            "-netdev",
            "hubport,id=net0,hubid=0",
            "-device",
            "virtio-net-pci,id=nic0,netdev=net0,romfile=",
        ])
        .args([
            "-drive",
            "if=none,id=d0,driver=null-co,size=1048576,read-zeroes=on",
        ])
        .args(["-device", "virtio-blk-pci,id=disk0,drive=d0"])
        .stdin(Stdio::null());
    let _qemu = Process::start("qemu", &mut command, &folder.path().join("log")).unwrap();
    let machine = Qemu::at(socket, "nic0", Some("disk0".to_owned()));
    let oddities = Oddities {
        targets: Some(TARGETS.to_vec()),
        ..Oddities::default()
    };
    let service = Service::of(machine, Identity::default(), oddities);
    let served = serve(service, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let site = Site::build().await;
    site.has(known(&served)).await;
    assert_eq!(site.power().await.state, PowerState::Off);
    site.done(on(Some(BootTarget::Pxe))).await;
    assert_eq!(site.power().await.state, PowerState::On);
    site.done(off(true)).await;
    assert_eq!(site.power().await.state, PowerState::Off);
    site.done(on(Some(BootTarget::Disk))).await;
    site.done(off(true)).await;
    assert_eq!(site.power().await.state, PowerState::Off);
}
