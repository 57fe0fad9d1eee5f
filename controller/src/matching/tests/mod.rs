//! Models and matching through REST.

mod fits;
mod onto_volumes;

use serde_json::{Value, json};

use super::builtin;
use crate::{
    catalog::{BootMode, Image, ImageSpec},
    inventory::Inventory,
    testing::{TestServer, admin, made, problem},
};
use imprint_hardware::{
    facts::{Cpu, Disk, Firmware, System},
    model::{HardwareModel, judge},
};

fn disk(name: &str, transport: &str, driver: &str, sector: u32) -> Disk {
    Disk {
        kernel_name: name.to_owned(),
        serial: format!("S-{name}"),
        transport: transport.to_owned(),
        driver: driver.to_owned(),
        size_bytes: 1 << 30,
        logical_sector_bytes: sector,
        ..Disk::default()
    }
}

fn machine(disks: Vec<Disk>) -> Inventory {
    Inventory {
        system: System {
            vendor: "Example".to_owned(),
            product: "Rack 1".to_owned(),
            ..System::default()
        },
        firmware: Firmware {
            mode: "uefi".to_owned(),
            ..Firmware::default()
        },
        cpu: Cpu {
            architecture: "x86_64".to_owned(),
            ..Cpu::default()
        },
        memory_bytes: 8 << 30,
        disks,
        ..Inventory::default()
    }
}

async fn node(server: &TestServer, name: &str, inventory: &Inventory) {
    sqlx::query(
        "INSERT INTO nodes (id, name, state, created_at, project_id, hardware, inventory) \
         VALUES (?, ?, 'available', 0, ?, ?, ?)",
    )
    .bind(ulid::Ulid::generate().to_string())
    .bind(name)
    .bind(crate::identity::PLATFORM)
    .bind(inventory.hardware())
    .bind(serde_json::to_string(inventory).unwrap())
    .execute(&server.app.db)
    .await
    .unwrap();
}

async fn get(server: &TestServer, path: &str) -> Value {
    let response = server.client().get(server.url(path)).send().await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.json().await.unwrap()
}

async fn post(server: &TestServer, path: &str, body: &Value) -> reqwest::Response {
    server
        .client()
        .post(server.url(path))
        .json(body)
        .send()
        .await
        .unwrap()
}

fn spec(name: &str, architecture: &str, modes: &[BootMode]) -> ImageSpec {
    ImageSpec {
        architecture: Some(architecture.to_owned()),
        boot_modes: modes.to_vec(),
        ..ImageSpec::named(name)
    }
}

async fn image(server: &TestServer, spec: &ImageSpec, content: u8) -> Image {
    made(&server.app, &admin(), spec, &[content; 4096]).await
}

/// Gives an image the facts of a system whose initramfs has these modules.
async fn with_modules(server: &TestServer, image: &Image, modules: &[&str]) {
    let unknown = json!({ "unknown": "not looked at" });
    let facts = json!({
        "version": 1, "disk_size_bytes": 4096, "logical_sector_bytes": 512, "used_bytes": unknown,
        "partitions": { "table": "none", "partitions": [] }, "volumes": [],
        "firmware": { "uefi": unknown, "bios": unknown }, "architecture": unknown, "distribution": unknown,
        "kernels": { "known": [{
            "version": "6.1.0", "image": "/boot/vmlinuz-6.1.0", "modules": { "known": true },
            "builtin": { "known": [] },
            "initramfs": { "known": {
                "path": "/boot/initrd.img-6.1.0", "size_bytes": 1, "compression": ["zstd"], "made_by": null,
                "microcode": [], "modules": modules, "firmware": [], "notes": [],
            } },
        }] },
        "command_lines": unknown, "fstab": unknown, "cloud_init": unknown, "network": unknown,
        "guest_plugin": unknown, "identity": unknown, "packages": unknown, "notes": [],
    });
    let partitions = serde_json::to_value(imprint_image::PartitionSummary::default()).unwrap();
    let mut facts = facts;
    facts["partitions"] = partitions;
    serde_json::from_value::<imprint_image::facts::Facts>(facts.clone()).expect("these are facts");
    sqlx::query("UPDATE manifests SET facts = ? WHERE manifest = ?")
        .bind(facts.to_string())
        .bind(&image.disks[0].manifest)
        .execute(&server.app.db)
        .await
        .unwrap();
}

/// Status, type and detail of a refused deployment.
async fn refused(server: &TestServer, node: &str, image: &str) -> (u16, String, String) {
    let response = post(
        server,
        "/v1/deployments",
        &json!({ "node": node, "image": image }),
    )
    .await;
    let status = response.status().as_u16();
    let document: Value = response.json().await.unwrap();
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    (
        status,
        text("type").replace("urn:imprint:problem:", ""),
        text("detail"),
    )
}

#[test]
fn every_model_that_comes_along_is_good() {
    assert_eq!(builtin::all().len(), builtin::DOCUMENTS.len());
    for text in builtin::DOCUMENTS {
        let model = HardwareModel::read(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let hand_made = text.contains("Hand-made, from data sheets");
        assert_eq!(hand_made, model.name != "qemu-q35", "{}", model.name);
    }
    let mut lab = machine(vec![disk("vda", "virtio", "virtio_blk", 512)]);
    lab.system.vendor = "QEMU".to_owned();
    lab.system.product = "Standard PC (Q35 + ICH9, 2009)".to_owned();
    let (qemu, _) = builtin::all()
        .iter()
        .find(|(model, _)| model.name == "qemu-q35")
        .unwrap();
    assert_eq!(judge(qemu, &lab).against, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_is_refused_when_it_is_asked_for() {
    use BootMode::{Bios, Uefi};
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    node(
        &server,
        "nvme",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]),
    )
    .await;
    node(
        &server,
        "4kn",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 4096)]),
    )
    .await;
    let mut small = machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]);
    small.disks[0].size_bytes = 2048;
    node(&server, "small", &small).await;
    image(&server, &spec("good", "x86_64", &[Uefi]), 1).await;
    image(&server, &spec("bios", "x86_64", &[Bios]), 2).await;
    image(&server, &spec("arm", "arm64", &[Uefi]), 3).await;
    let bare = image(&server, &spec("bare", "x86_64", &[Uefi]), 4).await;
    with_modules(&server, &bare, &["ahci", "sd_mod"]).await;
    let rows = [
        ("nvme", "bios", "firmware-mode-differs", "started by bios"),
        ("nvme", "bare", "driver-missing", "nvme"),
        ("nvme", "arm", "architecture-differs", "x86_64"),
        ("4kn", "good", "sector-size-differs", "512"),
        ("small", "good", "image-larger-than-disk", "4096 bytes"),
    ];
    for (node, image, code, fact) in rows {
        let (status, kind, detail) = refused(&server, node, image).await;
        assert_eq!((status, kind.as_str()), (422, code), "{node} {image}: {detail}");
        assert!(detail.contains(fact), "{detail}");
    }
    // All at once, in one answer.
    node(&server, "4kn-small", &{
        let mut both = small.clone();
        both.disks[0].logical_sector_bytes = 4096;
        both
    })
    .await;
    let worst = image(&server, &spec("worst", "arm64", &[Bios]), 5).await;
    with_modules(&server, &worst, &[]).await;
    let (status, kind, detail) = refused(&server, "4kn-small", "worst").await;
    assert_eq!((status, kind.as_str()), (422, "deployment-refused"));
    for part in [
        "(1)",
        "(2)",
        "(3)",
        "(4)",
        "(5)",
        "x86_64",
        "bios",
        "4096 bytes",
        "sectors of 512",
        "nvme",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(!detail.contains("(6)"), "nothing is said twice: {detail}");
    // What fits is begun, and keeps why.
    let response = post(
        &server,
        "/v1/deployments",
        &json!({ "node": "nvme", "image": "good" }),
    )
    .await;
    assert_eq!(response.status(), 201);
    let begun: Value = response.json().await.unwrap();
    assert_eq!(begun["fit"]["verdict"], "fits");
    assert_eq!(begun["fit"]["notes"][0]["code"], "model-unknown");
    let why = get(&server, "/v1/nodes/nvme/why").await;
    assert_eq!(why["fit"], begun["fit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_means_its_best_image_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    node(
        &server,
        "one",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]),
    )
    .await;
    let of_family = |name: &str, mode| ImageSpec {
        family: Some("debian".to_owned()),
        ..spec(name, "x86_64", &[mode])
    };
    image(&server, &of_family("debian-1", BootMode::Uefi), 1).await;
    image(&server, &of_family("debian-2", BootMode::Bios), 2).await;
    let answer = get(&server, "/v1/nodes/one/match?family=debian").await;
    assert_eq!(answer["chosen"], "debian-1");
    assert_eq!(
        answer["counts"],
        json!({ "fits": 1, "unverified": 0, "refused": 1 })
    );
    assert_eq!(answer["items"][1]["reasons"][0]["code"], "firmware-mode-differs");
    let response = post(
        &server,
        "/v1/deployments",
        &json!({ "node": "one", "family": "debian" }),
    )
    .await;
    assert_eq!(response.status(), 201);
    let begun: Value = response.json().await.unwrap();
    assert_eq!(begun["image_name"], "debian-1");
    let (status, kind, _) = problem_of(&server, "/v1/nodes/one/match?intent=sideways").await;
    assert_eq!((status, kind.as_str()), (400, "invalid-request"));
}

async fn problem_of(server: &TestServer, path: &str) -> (u16, String, String) {
    problem(server.client().get(server.url(path)).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_compared_with_the_whole_fleet() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    for number in 0..5 {
        node(
            &server,
            &format!("a-{number}"),
            &machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]),
        )
        .await;
    }
    node(
        &server,
        "z-4kn",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 4096)]),
    )
    .await;
    image(&server, &spec("good", "x86_64", &[BootMode::Uefi]), 1).await;
    let answer = get(&server, "/v1/images/good/match?page_size=4").await;
    assert_eq!(
        answer["counts"],
        json!({ "fits": 5, "unverified": 0, "refused": 1 })
    );
    assert_eq!(answer["by_model"][0]["model"], "Example Rack 1");
    assert_eq!(answer["items"].as_array().unwrap().len(), 4);
    let next = answer["next_page_token"].as_str().unwrap();
    let rest = get(
        &server,
        &format!("/v1/images/good/match?page_size=4&page_token={next}"),
    )
    .await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next_page_token"]),
        (2, &Value::Null)
    );
    let refused = get(&server, "/v1/images/good/match?verdict=refused").await;
    assert_eq!(refused["items"][0]["node"], "z-4kn");
    assert_eq!(refused["items"][0]["reasons"][0]["code"], "sector-size-differs");
    let app = &server.app;
    let found = app.catalog.find(&admin().viewer(), "good").await.unwrap();
    let told = app
        .deployments
        .matching()
        .tell_image(crate::events::Author::default(), &found)
        .await;
    told.unwrap();
    let events = app
        .events
        .list(&crate::events::EventQuery::default())
        .await
        .unwrap()
        .items;
    let event = events
        .iter()
        .find(|event| event.kind == "image.matched")
        .expect("it is told");
    assert!(event.message.contains("refused by"), "{}", event.message);
}

const MODEL: &str = "schema = 1\nname = \"rack-1\"\nversion = 1\n[match]\nvendor = \"Example\"\n[needs]\ndrivers = [\"raid9\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn models_are_applied_by_version_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    node(
        &server,
        "one",
        &machine(vec![disk("nvme0n1", "nvme", "nvme", 512)]),
    )
    .await;
    let apply = async |document: &str| post(&server, "/v1/models", &json!({ "document": document })).await;
    let (status, kind, remedy) = problem(apply("schema = 9\nnmae = \"x\"\n").await).await;
    assert_eq!((status, kind.as_str()), (422, "bad-model"));
    assert!(remedy.contains("Line 2"), "{remedy}");
    let applied: Value = apply(MODEL).await.json().await.unwrap();
    assert_eq!(
        (&applied["change"]["changed"], &applied["change"]["first"]),
        (&json!(1), &json!(["one"]))
    );
    assert_eq!(get(&server, "/v1/nodes/one").await["model"], "rack-1");
    let again: Value = apply(MODEL).await.json().await.unwrap();
    assert_eq!(again["change"]["changed"], 0);
    let (status, kind, remedy) = problem(apply(&MODEL.replace("raid9", "nvme")).await).await;
    assert_eq!((status, kind.as_str()), (409, "model-version-taken"));
    assert!(remedy.contains("version = 2"), "{remedy}");
    let second = MODEL
        .replace("raid9", "nvme")
        .replace("version = 1", "version = 2");
    assert_eq!(apply(&second).await.status(), 200);
    let shown = get(&server, "/v1/models/rack-1").await;
    assert_eq!(
        (
            shown["version"].as_u64(),
            shown["history"].as_array().unwrap().len()
        ),
        (Some(2), 2)
    );
    let delete = async |name: &str| {
        server
            .client()
            .delete(server.url(&format!("/v1/models/{name}")))
            .send()
            .await
            .unwrap()
    };
    assert_eq!(delete("rack-1").await.status(), 200);
    assert_eq!(delete("rack-1").await.status(), 404);
    assert_eq!(delete("qemu-q35").await.status(), 409);
    assert_eq!(get(&server, "/v1/nodes/one").await["model"], Value::Null);
    let (_, kind, _) = problem(apply(&second).await).await;
    assert_eq!(
        kind, "model-version-taken",
        "a version always means the same document"
    );
    let events = server
        .app
        .events
        .list(&crate::events::EventQuery::default())
        .await
        .unwrap()
        .items;
    for kind in ["model.applied", "model.deleted"] {
        let event = events.iter().find(|event| event.kind == kind).expect(kind);
        assert!(event.actor.is_some(), "{kind}");
    }
    let suggested = get(&server, "/v1/nodes/one/model-suggestion").await;
    let document = suggested["document"].as_str().unwrap();
    assert_eq!(
        HardwareModel::read(document).unwrap().name,
        "example-rack-1",
        "{document}"
    );
}
