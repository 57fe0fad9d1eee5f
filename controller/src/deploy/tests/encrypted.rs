//! Deployments of images that are encrypted at rest.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex},
};

use imprint_image::{SignedManifest, read_artifact, seal::KeyId};
use imprint_proto::agent::v1::{self as wire, Step as S, StepKind as K};
use tracing_subscriber::fmt::MakeWriter;

use super::rig::*;
use crate::{
    catalog::{Image, ImageSpec},
    deploy::*,
    identity::Viewer,
    ingest::ImportRequest,
};

const MARK: &[u8] = b"what nobody may read in the store";

/// Imports an encrypted image of 3 MiB.
async fn import(rig: &Rig, name: &str) -> (Image, Vec<u8>) {
    let mut disk = vec![0; 3 << 20];
    blake3::Hasher::new()
        .update(b"disk")
        .finalize_xof()
        .fill(&mut disk[..1 << 20]);
    disk[2 << 20..][..MARK.len()].copy_from_slice(MARK);
    let request = ImportRequest {
        spec: ImageSpec {
            encrypt: Some(true),
            ..ImageSpec::named(name)
        },
        file: crate::ingest::FileSpec::default(),
        idempotency_key: None,
        by: admin(),
    };
    let body = axum::body::Body::from(disk.clone());
    (
        rig.app().ingest.import(request, None, body).await.unwrap().image,
        disk,
    )
}

fn of(machine: &Machine, image: &str) -> DeployRequest {
    DeployRequest {
        image: image.to_owned(),
        ..request(machine)
    }
}

fn source(task: &wire::Task) -> wire::ImageSource {
    deploy_task(task).image.clone().unwrap()
}

/// All that is written down: the files of the data folder but those with keys of the controller.
fn written(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let root = &rig.app().config.data_dir;
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path != root.join("identity") {
                folders.push(path);
            } else if path.is_file() {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_image_is_in_the_store_and_in_the_database_without_its_content() {
    let rig = Rig::start().await;
    let (image, disk) = import(&rig, "secret").await;
    assert!(image.encrypted && image.disks[0].encrypted);
    assert!(
        serde_json::to_string(&image)
            .unwrap()
            .contains("\"encrypted\":true")
    );
    let name = image.disks[0].manifest.clone();
    assert_ne!(name, image.image_digest, "the store is not told what it holds");

    // With its key it is the disk; and the key opens nothing else.
    let store = rig.app().config.data_dir.join("store");
    let signed = std::fs::read(store.join("manifests").join(&name)).unwrap();
    let keys = rig.app().authority.manifest_public_keys();
    let key = rig.app().image_keys.open(&name).await.unwrap().unwrap();
    let manifest = SignedManifest::open_with(&signed, &keys, Some(&key)).unwrap();
    let mut back = Vec::new();
    read_artifact(&store, &manifest)
        .unwrap()
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == disk);
    assert!(SignedManifest::open(&signed, &keys).is_err());

    let chunks: i64 = sqlx::query_scalar("SELECT count(*) FROM chunks WHERE plain = ?")
        .bind(manifest.chunks[0].plain.as_bytes().as_slice())
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    assert_eq!(chunks, 0, "nobody is to find its chunks");
    for (file, bytes) in written(&rig) {
        assert!(!holds(&bytes, MARK), "{file}");
        assert!(!holds(&bytes, key.expose()), "{file}");
        for chunk in &manifest.chunks {
            assert!(!holds(&bytes, chunk.plain.as_bytes()), "{file}");
        }
    }

    // The same content once more shares nothing with it, encrypted or not.
    let (again, _) = import(&rig, "again").await;
    assert_ne!(again.disks[0].manifest, name);
    assert_eq!(again.image_digest, image.image_digest);
    let shared: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM manifest_packs AS a JOIN manifest_packs AS b ON a.pack = b.pack AND a.manifest <> b.manifest",
    )
    .fetch_one(&rig.app().db)
    .await
    .unwrap();
    assert_eq!(shared, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_has_the_key_and_a_restarted_agent_gets_it_again() {
    let rig = Rig::start().await;
    let (image, _) = import(&rig, "secret").await;
    let (machine, mut agent) = rig.available().await;
    let deployments = &rig.app().deployments;
    let made = deployments
        .create(&admin(), &of(&machine, "secret"), None)
        .await
        .unwrap();
    let task = agent.task().await;
    let key = rig
        .app()
        .image_keys
        .open(&image.disks[0].manifest)
        .await
        .unwrap()
        .unwrap();
    let wire::ImageSource {
        data_key,
        data_key_id,
        ..
    } = source(&task);
    assert_eq!(data_key, key.expose());
    assert_eq!(KeyId::try_from(&data_key_id[..]).unwrap(), key.id());
    assert!(
        !format!("{task:?}").contains(&format!("{:?}", &data_key[..4])),
        "a task shows its key"
    );
    agent.step(&task.task_id, S::Write, K::Started).await;

    drop(agent);
    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    let again = agent.task().await;
    assert_eq!(again.task_id, task.task_id);
    assert_eq!(source(&again).data_key, data_key);

    // The image is deleted while it is written: the write goes on, and the key is there until its end.
    let delete = "UPDATE images SET state = 'deleted' WHERE id = ?";
    sqlx::query(delete)
        .bind(&image.id)
        .execute(&rig.app().db)
        .await
        .unwrap();
    deployments.destroy_image_keys().await;
    drop(agent);
    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    assert_eq!(source(&agent.task().await).data_key, data_key);
    agent.sequence = 1;
    agent.outcome(&task.task_id, success(&made)).await;
    rig.report(&report_token(&task), first_boot(&made, "b1"))
        .await
        .unwrap();
    deployments.destroy_image_keys().await;
    let gone = rig.app().image_keys.open(&image.disks[0].manifest).await;
    assert!(gone.is_err(), "the key of a deleted image is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_encrypted_has_no_key_and_one_without_its_key_is_refused() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let plain = rig.app().catalog.find(&Viewer::All, "debian").await.unwrap();
    assert!(!plain.encrypted);
    let (image, _) = import(&rig, "secret").await;
    sqlx::query("UPDATE manifests SET wrapped_by = 'service:elsewhere' WHERE manifest = ?")
        .bind(&image.disks[0].manifest)
        .execute(&rig.app().db)
        .await
        .unwrap();
    let deployments = &rig.app().deployments;
    let refused = deployments
        .create(&admin(), &of(&machine, "secret"), None)
        .await
        .unwrap_err();
    let problem: crate::api::rest::problem::Problem = refused.into();
    assert_eq!(problem.kind, "image-key-unavailable");
    assert!(problem.detail.contains("service:elsewhere"), "{}", problem.detail);
    rig.deploy(&machine).await;
    let source = source(&agent.task().await);
    assert!(source.data_key.is_empty() && source.data_key_id.is_empty());
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// On one thread, so that all of it is logged here.
#[tokio::test]
async fn a_key_is_in_no_log_event_or_answer() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let rig = Rig::start().await;
    let (image, _) = import(&rig, "secret").await;
    let (machine, mut agent) = rig.available().await;
    let made = rig
        .app()
        .deployments
        .create(&admin(), &of(&machine, "secret"), None)
        .await
        .unwrap();
    let task = agent.task().await;
    let key = source(&task).data_key;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, failure(S::Write, true)).await;

    let mut shown = log.0.lock().unwrap().clone();
    assert!(holds(&shown, b"import started"), "the log is looked at");
    for path in [
        format!("/v1/images/{}", image.id),
        format!("/v1/deployments/{}", made.id),
        "/v1/images".to_owned(),
        "/v1/events".to_owned(),
    ] {
        let answer = rig
            .server
            .client()
            .get(rig.server.url(&path))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}");
        shown.extend_from_slice(&answer.bytes().await.unwrap());
    }
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    use base64::Engine as _;
    let forms = [
        key.clone(),
        hex::encode(&key).into_bytes(),
        list(&key).into_bytes(),
        list(&key[..6]).into_bytes(),
        base64::engine::general_purpose::STANDARD
            .encode(&key)
            .into_bytes(),
    ];
    for form in forms {
        assert!(
            !holds(&shown, &form),
            "the key shows as {}",
            String::from_utf8_lossy(&form)
        );
    }
}
