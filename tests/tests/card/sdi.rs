//! What scenarios start for a server with a card: the storage system, the card's process, QEMU with its arguments.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use imprint_proto::opi::frontend_virtio_blk_service_client::FrontendVirtioBlkServiceClient;
use imprint_proto::opi::{DeleteVirtioBlkRequest, GetVirtioBlkRequest};
use imprint_tests::qmp::Qmp;
use imprint_tests::sdi::{self, Card, CardPlace, SdiSpec, Storage, VolumeSpec};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::grpc::blk;

const SPEC: SdiSpec = SdiSpec { functions: 2 };
const VOLUME_MIB: u64 = 64;

struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill().expect("a machine that can be killed");
        self.0.wait().expect("a machine that has ended");
    }
}

/// Held until its card lets it go.
fn machine(folder: &Path) -> (Machine, Qmp) {
    let own = folder.join("own.qmp");
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "q35,accel=tcg", "-m", "128", "-display", "none"])
        .arg("-nodefaults")
        .args(["-qmp", &format!("unix:{},server=on,wait=off", own.display())])
        .args(SPEC.arguments(&sdi::socket(folder, "node-1")))
        .stdin(Stdio::null());
    let machine = Machine(command.spawn().unwrap());
    let qmp = Qmp::connect(&own, Duration::from_secs(20)).unwrap();
    (machine, qmp)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn client(card: &Card) -> FrontendVirtioBlkServiceClient<Channel> {
    FrontendVirtioBlkServiceClient::connect(format!("http://{}", card.address()))
        .await
        .unwrap()
}

/// What the server has in the first slot.
fn slot(qmp: &mut Qmp, property: &str) -> Option<Value> {
    let asked = json!({ "path": "/machine/peripheral/sdi0-disk", "property": property });
    qmp.execute("qom-get", &asked).ok()
}

async fn until_running(qmp: &mut Qmp) {
    let start = Instant::now();
    while qmp.execute("query-status", &json!({})).unwrap()["status"] != "running" {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nobody let the server go"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_sees_the_volumes_of_its_storage_system() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (at, listen) = (free_address(), free_address());
    let specs = [
        VolumeSpec::new("data", VOLUME_MIB),
        VolumeSpec::new("boot", VOLUME_MIB).slow(2),
    ];
    let mut storage = Storage::start(folder, at, &specs).unwrap();
    let place = CardPlace {
        program: Path::new(env!("CARGO_BIN_EXE_imprint-lab")),
        folder,
        server: "node-1",
        spec: SPEC,
        listen,
        storage: at,
    };
    let mut card = Card::start(&place).unwrap();
    let (_machine, mut qmp) = machine(folder);
    until_running(&mut qmp).await;

    let created = client(&card)
        .await
        .create_virtio_blk(blk("vol1", 0, "boot"))
        .await;
    created.unwrap();
    assert_eq!(slot(&mut qmp, "serial"), Some("vol1".into()));
    assert_eq!(slot(&mut qmp, "bootindex"), Some(100.into()));
    let refused = client(&card)
        .await
        .create_virtio_blk(blk("vol2", 1, "other"))
        .await;
    assert!(refused.is_err(), "an export that is not there");

    // Bytes of the server reach the file, over a restart of the card and a storage system that was away.
    let write = |qmp: &mut Qmp, byte: u8| {
        let line =
            format!("qemu-io -d /machine/peripheral/sdi0-disk/virtio-backend \"write -P {byte} 0 4096\"");
        let said = qmp.execute("human-monitor-command", &json!({ "command-line": line }));
        assert_eq!(said.unwrap(), "", "errors of the command");
    };
    let on_file = |storage: &Storage| {
        let mut byte = [0];
        let file = std::fs::File::open(storage.path("boot").unwrap()).unwrap();
        file.read_exact_at(&mut byte, 0).unwrap();
        byte[0]
    };
    write(&mut qmp, 1);
    assert_eq!(on_file(&storage), 1);
    assert_eq!(card.control("calls").unwrap(), "2");
    card.restart().unwrap();
    let name = "virtioBlks/vol1".to_owned();
    let asked = GetVirtioBlkRequest { name: name.clone() };
    let kept = client(&card).await.get_virtio_blk(asked).await.unwrap();
    assert_eq!(kept.into_inner().volume_name_ref, "boot");
    write(&mut qmp, 2);
    assert_eq!(on_file(&storage), 2);
    card.kill().unwrap();
    assert!(card.expect_running().is_err() && card.control("calls").is_err());
    storage.kill().unwrap();
    card.switch_on().unwrap();
    storage.switch_on().unwrap();
    write(&mut qmp, 3);
    assert_eq!(on_file(&storage), 3);

    let refused = card.control("present upside-down").unwrap_err().to_string();
    assert!(refused.contains("is no command"), "{refused}");
    let request = DeleteVirtioBlkRequest {
        name,
        allow_missing: false,
    };
    client(&card).await.delete_virtio_blk(request).await.unwrap();
    assert_eq!(slot(&mut qmp, "serial"), None);
}
