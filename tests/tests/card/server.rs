//! The card with a real QEMU: what is asked for shows up in its PCI slots, with the bytes of an NBD server behind it.
//!
//! The machine stays in its firmware; nobody in it has to consent when a disk is taken away.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imprint_proto::opi::frontend_virtio_blk_service_client::FrontendVirtioBlkServiceClient;
use imprint_proto::opi::{CreateVirtioBlkRequest, DeleteVirtioBlkRequest, ListVirtioBlksRequest};
use imprint_tests::card::relay::Address;
use imprint_tests::card::{CardOptions, Served, control, serve};
use imprint_tests::qmp::Qmp;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::grpc::blk;
use super::options;

const SIZE_BYTES: u64 = 64 << 20;

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().expect("a program that can be killed");
        self.0.wait().expect("a program that has ended");
    }
}

impl Program {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(name);
        let child = command.args(arguments).stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{name}: {error}")))
    }
}

fn storage(folder: &Path) -> Program {
    let disk = folder.join("disk");
    File::create(&disk).unwrap().set_len(SIZE_BYTES).unwrap();
    let socket = folder.join("storage");
    Program::start(
        "qemu-nbd",
        &[
            "--persistent",
            "--shared=8",
            "--format=raw",
            "--export-name=volume",
            "--socket",
            socket.to_str().unwrap(),
            disk.to_str().unwrap(),
        ],
    )
}

/// Its control sockets are the test's and the card's.
fn machine(folder: &Path, paused: bool) -> (Program, Qmp) {
    let own = folder.join("own.qmp");
    let cards = folder.join("card.qmp");
    let qmp = |path: &Path| format!("unix:{},server=on,wait=off", path.display());
    let (own_argument, cards_argument) = (qmp(&own), qmp(&cards));
    let mut arguments = vec![
        "-machine",
        "q35,accel=tcg",
        "-m",
        "128",
        "-display",
        "none",
        "-nodefaults",
        // The slot itself is asked, and not the system by ACPI.
        "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-device",
        "pcie-root-port,id=sdi0,chassis=1,slot=1",
        "-device",
        "pcie-root-port,id=sdi1,chassis=2,slot=2",
        "-qmp",
        &own_argument,
        "-qmp",
        &cards_argument,
    ];
    if paused {
        arguments.push("-S");
    }
    let program = Program::start("qemu-system-x86_64", &arguments);
    let own = Qmp::connect(&own, Duration::from_secs(20)).unwrap();
    (program, own)
}

fn card_options(folder: &Path) -> CardOptions {
    CardOptions {
        qmp: Some(folder.join("card.qmp")),
        relays: Some(folder.to_owned()),
        storage: Some(Address::Unix(folder.join("storage").display().to_string())),
        state: Some(folder.join("books.json")),
        unplug_seconds: 5,
        ..options()
    }
}

async fn client(served: &Served) -> FrontendVirtioBlkServiceClient<Channel> {
    FrontendVirtioBlkServiceClient::connect(format!("http://{}", served.address))
        .await
        .unwrap()
}

/// Waits for the export: the storage has just been started.
async fn create(served: &Served, request: &CreateVirtioBlkRequest) {
    let mut client = client(served).await;
    let mut tries = 0;
    while let Err(status) = client.create_virtio_blk(request.clone()).await {
        tries += 1;
        assert!(
            tries < 50 && status.code() == Code::FailedPrecondition,
            "{status}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn delete(served: &Served, id: &str) -> Result<(), Status> {
    let request = DeleteVirtioBlkRequest {
        name: format!("virtioBlks/{id}"),
        allow_missing: false,
    };
    client(served).await.delete_virtio_blk(request).await.map(drop)
}

/// Serial number and size of what is plugged into a root port.
fn plugged(qmp: &mut Qmp, function: u8) -> Option<(String, u64)> {
    let device = format!("/machine/peripheral/sdi{function}-disk");
    let listed = qmp
        .execute("qom-list", &json!({ "path": "/machine/peripheral" }))
        .unwrap();
    let names = listed.as_array().unwrap();
    names
        .iter()
        .find(|entry| entry["name"] == format!("sdi{function}-disk"))?;
    let mut get = |property: &str| {
        let asked = json!({ "path": device, "property": property });
        qmp.execute("qom-get", &asked).unwrap()
    };
    let serial = get("serial").as_str().unwrap().to_owned();
    let drive = get("drive").as_str().unwrap().to_owned();
    let nodes = qmp.execute("query-named-block-nodes", &json!({})).unwrap();
    let nodes = nodes.as_array().unwrap();
    let node = nodes
        .iter()
        .find(|node| node["node-name"] == Value::String(drive.clone()));
    Some((serial, node?["image"]["virtual-size"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _storage = storage(folder);
    let (_machine, mut qmp) = machine(folder, true);
    let served = serve(&card_options(folder)).await.unwrap();

    create(&served, &blk("vol1", 0, "volume")).await;
    assert_eq!(plugged(&mut qmp, 0), Some(("vol1".to_owned(), SIZE_BYTES)));
    // An export that is not there: nothing is left of the attempt.
    let refused = client(&served)
        .await
        .create_virtio_blk(blk("vol2", 1, "other"))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(plugged(&mut qmp, 1), None);
    let listed = client(&served)
        .await
        .list_virtio_blks(ListVirtioBlksRequest::default())
        .await;
    assert_eq!(listed.unwrap().into_inner().virtio_blks.len(), 1);

    // Disks that are not what was asked for.
    for (looks, expected) in [
        ("wrong-size", Some(("vol2".to_owned(), SIZE_BYTES / 2))),
        ("wrong-serial", Some(("NOT-THE-ONE".to_owned(), SIZE_BYTES))),
        ("never", None),
    ] {
        let fault = control::parse(&format!("present {looks}")).unwrap();
        served.faults.put(fault);
        create(&served, &blk("vol2", 1, "volume")).await;
        assert_eq!(plugged(&mut qmp, 1), expected, "{looks}");
        delete(&served, "vol2").await.unwrap();
        assert_eq!(plugged(&mut qmp, 1), None, "{looks}");
    }
    delete(&served, "vol1").await.unwrap();
    assert_eq!(plugged(&mut qmp, 0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_finds_its_disks_when_it_is_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _storage = storage(folder);
    let served = serve(&card_options(folder)).await.unwrap();
    create(&served, &blk("vol1", 0, "volume")).await;
    drop(served);
    // Another card with the same books, and a server that is held until it has its disks.
    let served = serve(&card_options(folder)).await.unwrap();
    let (first, mut qmp) = machine(folder, true);
    until_running(&mut qmp).await;
    assert_eq!(plugged(&mut qmp, 0).unwrap().1, SIZE_BYTES);
    // A card that is restarted takes over what the server has.
    drop(served);
    let served = serve(&card_options(folder)).await.unwrap();
    create(&served, &blk("vol2", 1, "volume")).await;
    assert_eq!(plugged(&mut qmp, 0).unwrap().1, SIZE_BYTES);
    assert_eq!(plugged(&mut qmp, 1).unwrap().1, SIZE_BYTES);
    // A server that was switched off and on again has them again.
    drop((first, qmp));
    std::fs::remove_file(folder.join("own.qmp")).unwrap();
    std::fs::remove_file(folder.join("card.qmp")).unwrap();
    let (_second, mut qmp) = machine(folder, true);
    until_running(&mut qmp).await;
    assert_eq!(plugged(&mut qmp, 0).unwrap().0, "vol1");
    drop(served);
}

async fn until_running(qmp: &mut Qmp) {
    for _ in 0..200 {
        if qmp.execute("query-status", &json!({})).unwrap()["status"] == "running" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody let the server go");
}
