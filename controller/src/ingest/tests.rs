mod buckets;
mod contents;
mod grpc;
mod refusals;
mod restarts;
mod rig;
mod rows;
mod rows_of_tenants;
mod sources;
mod uploads;

use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
};

use imprint_image::{SignedManifest, read_artifact};
use serde_json::Value;

use crate::{
    catalog::Image,
    identity::Viewer,
    testing::{TestServer, problem},
};

const MIB: usize = 1 << 20;

/// A disk of data, holes and a short last chunk.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 9 * MIB + 4096];
    let mut noise = blake3::Hasher::new().update(b"disk").finalize_xof();
    noise.fill(&mut disk[..2 * MIB]);
    disk[5 * MIB + 17] = 1;
    disk[9 * MIB..].fill(b'x');
    disk
}

pub(super) async fn post(
    server: &TestServer,
    query: &str,
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    server
        .client()
        .post(server.url(&format!("/v1/images?{query}")))
        .body(body)
        .send()
        .await
        .unwrap()
}

async fn import(server: &TestServer, name: &str, body: Vec<u8>) -> Value {
    let response = post(server, &format!("name={name}"), body).await;
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

/// Names and lengths of everything in the store.
fn stored(server: &TestServer) -> Vec<(String, u64)> {
    let store = server.app.config.data_dir.join("store");
    let mut all = Vec::new();
    for part in ["manifests", "packs"] {
        for entry in std::fs::read_dir(store.join(part)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{part}/{}", entry.file_name().to_string_lossy());
            all.push((name, entry.metadata().unwrap().len()));
        }
    }
    all.sort();
    all
}

async fn rows(server: &TestServer) -> (i64, i64, i64, i64) {
    let query = "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM manifest_packs),
                        (SELECT count(*) FROM chunks), (SELECT count(*) FROM pending_objects)";
    sqlx::query_as(query).fetch_one(&server.app.db).await.unwrap()
}

/// Key of the manifest of an image's only disk.
fn manifest(image: &Value) -> &str {
    image["disks"][0]["manifest"].as_str().unwrap()
}

/// The disk as the artifact in the store gives it.
fn restored(server: &TestServer, manifest: &str) -> Vec<u8> {
    let store = server.app.config.data_dir.join("store");
    let signed = std::fs::read(store.join("manifests").join(manifest)).unwrap();
    let manifest = SignedManifest::open(&signed, &server.app.authority.manifest_public_keys()).unwrap();
    let mut disk = Vec::new();
    read_artifact(&store, &manifest)
        .unwrap()
        .read_to_end(&mut disk)
        .unwrap();
    disk
}

fn tool(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut child = Command::new("zstd")
        .args(["-q", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&content).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn qcow2(dir: &Path, content: &[u8]) -> Vec<u8> {
    converted(dir, content, &["qcow2", "-c"])
}

fn converted(dir: &Path, content: &[u8], to: &[&str]) -> Vec<u8> {
    let (raw, made) = (dir.join("disk.raw"), dir.join("disk.made"));
    std::fs::write(&raw, content).unwrap();
    let options: Vec<&Path> = ["convert", "-f", "raw", "-O"]
        .iter()
        .chain(to)
        .map(Path::new)
        .collect();
    tool("qemu-img", &[&options[..], &[&raw, &made]].concat());
    std::fs::read(made).unwrap()
}

#[tokio::test]
async fn every_format_gives_the_same_image_which_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(&dir.path().join("data")).await;
    let disk = disk();
    let raw = import(&server, "raw", disk.clone()).await;
    assert_eq!(raw["disk_size_bytes"], disk.len());
    assert_eq!(
        (raw["source_format"].as_str(), raw["data_bytes"].as_u64()),
        (Some("raw"), Some(3 * 1048576 + 4096))
    );
    let digest = raw["image_digest"].as_str().unwrap();
    assert!(restored(&server, manifest(&raw)) == disk);
    let (before, rows_before) = (stored(&server), rows(&server).await);

    for (name, format, file) in [
        ("zst", "raw.zst", zstd(&disk)),
        ("qcow2", "qcow2", qcow2(dir.path(), &disk)),
        ("vmdk", "vmdk", converted(dir.path(), &disk, &["vmdk"])),
        ("again", "raw", disk.clone()),
    ] {
        let image = import(&server, name, file).await;
        assert_eq!(
            (image["image_digest"].as_str(), image["source_format"].as_str()),
            (Some(digest), Some(format))
        );
    }
    // Only the end of a fixed VHD tells it from a raw disk, so it has to be declared.
    let fixed = converted(dir.path(), &disk, &["vpc", "-o", "subformat=fixed,force_size=on"]);
    let (status, kind, remedy) = problem(post(&server, "name=fixed", fixed.clone()).await).await;
    assert_eq!((status, kind.as_str()), (422, "bad-image"), "{remedy}");
    assert!(remedy.contains("vhd"), "{remedy}");
    let image = post(&server, "name=fixed&format=vhd", fixed).await;
    assert_eq!(image.status(), 201);
    let image: Value = image.json().await.unwrap();
    assert_eq!(
        (image["image_digest"].as_str(), image["source_format"].as_str()),
        (Some(digest), Some("vhd"))
    );
    assert_eq!(stored(&server), before, "known content is not stored again");
    let after = rows(&server).await;
    assert_eq!(
        (after.0, after.1, after.2, after.3),
        (6, rows_before.1, rows_before.2, 0)
    );

    // A new version of the image: one chunk is new.
    let mut changed = disk.clone();
    changed[MIB..MIB + 4096].fill(7);
    let image = import(&server, "changed", changed.clone()).await;
    assert!(restored(&server, manifest(&image)) == changed);
    let size = |list: &[(String, u64)]| list.iter().map(|(_, size)| size).sum::<u64>();
    let grown = size(&stored(&server)) - size(&before);
    assert!(grown < (MIB + 64 * 1024) as u64, "{grown} bytes for one chunk");
    let listed: Value = server
        .client()
        .get(server.url("/v1/images?page_size=2"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(listed["next_page_token"].is_string());
}

#[tokio::test]
async fn bad_files_are_refused_with_a_reason_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(&dir.path().join("data")).await;
    let disk = disk();
    let (zst, qcow2) = (zstd(&disk), qcow2(dir.path(), &disk));
    let mut flipped = zst.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let vmdk = [b"KDMV".as_slice(), &[0; 8192]].concat();
    for (query, body, status, kind) in [
        ("name=a", Vec::new(), 422, "bad-image"),
        ("name=a", zst[..zst.len() - 100].to_vec(), 422, "bad-image"),
        ("name=a", flipped, 422, "bad-image"),
        ("name=a", qcow2[..qcow2.len() / 2].to_vec(), 422, "bad-image"),
        ("name=a", vmdk, 422, "bad-image"),
        ("name=a", zstd(&qcow2), 422, "bad-image"),
        ("name=a&format=raw", qcow2.clone(), 422, "bad-image"),
        ("name=a&format=qcow2", disk.clone(), 422, "bad-image"),
        ("name=a&format=floppy", disk.clone(), 400, "invalid-request"),
        ("name=a%2Fb", disk.clone(), 400, "bad-image-name"),
        ("name=", disk.clone(), 400, "bad-image-name"),
        ("", disk.clone(), 400, "invalid-request"),
    ] {
        let (got, got_kind, remedy) = problem(post(&server, query, body).await).await;
        assert_eq!((got, got_kind.as_str()), (status, kind), "{query}: {remedy}");
        assert!(remedy.len() > 10, "{query}: {remedy}");
        assert_eq!(
            (stored(&server), rows(&server).await),
            (vec![], (0, 0, 0, 0)),
            "{query}"
        );
    }
    assert_eq!(rig::spooled(&server), 0);
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    // More than a pack of data that does not compress, then silence, then the connection ends.
    let mut noise = vec![0; 48 * MIB];
    blake3::Hasher::new()
        .update(b"noise")
        .finalize_xof()
        .fill(&mut noise);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = noise.chunks(MIB).map(|c| Ok(c.to_vec())).collect();
    let body = futures::StreamExt::chain(futures::stream::iter(pieces), futures::stream::pending());
    let client = server.client();
    let request = client
        .post(server.url("/v1/images?name=gone"))
        .body(reqwest::Body::wrap_stream(body));
    let upload = tokio::spawn(request.send());
    until(async || !stored(&server).is_empty()).await;
    assert!(rows(&server).await.3 > 0);
    let (status, kind, _) = problem(post(&server, "name=gone", vec![1; 512]).await).await;
    assert_eq!((status, kind.as_str()), (409, "import-running"));
    upload.abort();
    drop(client);
    until(async || stored(&server).is_empty() && rows(&server).await == (0, 0, 0, 0)).await;
    // The name is free again as soon as the failure is in the event log.
    until(async || post(&server, "name=gone", vec![1; 512]).await.status() == 201).await;
}

/// Waits for something that other tasks do; the runner's own limit ends a test in which it never happens.
async fn until(condition: impl AsyncFn() -> bool) {
    while !condition().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_same_key_makes_one_image_and_the_same_name_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let send = async |name: &str, key: &str| {
        let request = server
            .client()
            .post(server.url(&format!("/v1/images?name={name}")));
        request
            .header("Idempotency-Key", key)
            .body(vec![3; 4096])
            .send()
            .await
            .unwrap()
    };
    let first: Value = send("a", "key-1").await.json().await.unwrap();
    let again = send("a", "key-1").await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    for (name, key, kind) in [
        ("b", "key-1", "idempotency-key-reused"),
        ("a", "key-2", "image-name-taken"),
    ] {
        let (status, got, _) = problem(send(name, key).await).await;
        assert_eq!((status, got.as_str()), (409, kind));
    }
    assert_eq!(rows(&server).await.0, 1);
}

#[tokio::test]
async fn what_a_crash_left_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let kept = import(&server, "kept", vec![4; 4096]).await;
    let before = stored(&server);
    let (app, store) = (&server.app, server.app.config.data_dir.join("store"));
    let orphan = crate::store::StoreObject::Pack(imprint_image::Digest::of(b"half"));
    let used = crate::store::StoreObject::Manifest(manifest(&kept).parse().unwrap());
    app.store.put(&orphan, "half".into()).await.unwrap();
    for object in [&orphan, &used] {
        app.catalog.note_pending("crashed", object).await.unwrap();
    }
    assert!(store.join(orphan.key()).exists());
    app.ingest.recover().await.unwrap();
    assert_eq!((stored(&server), rows(&server).await.3), (before, 0));
}

#[tokio::test]
async fn the_store_serves_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let image = import(&server, "a", disk()).await;
    let digest = manifest(&image);
    let client = server.client();
    let manifest = client
        .get(server.url(&format!("/v1/store/manifests/{digest}")))
        .send()
        .await
        .unwrap();
    let manifest = SignedManifest::open(
        &manifest.bytes().await.unwrap(),
        &server.app.authority.manifest_public_keys(),
    )
    .unwrap();
    let pack = &manifest.packs[0];
    let url = server.url(&format!("/v1/store/manifests/../packs/{}", pack.digest));
    let whole = client.get(&url).send().await.unwrap();
    assert_eq!(
        (
            whole.status().as_u16(),
            whole.headers()["accept-ranges"].to_str().unwrap()
        ),
        (200, "bytes")
    );
    let whole = whole.bytes().await.unwrap();
    assert_eq!(
        (imprint_image::Digest::of(&whole), whole.len() as u64),
        (pack.digest, pack.size_bytes)
    );

    for chunk in &manifest.chunks {
        let (first, end) = (chunk.offset, chunk.offset + u64::from(chunk.frame_bytes));
        let range = format!("bytes={first}-{}", end - 1);
        let part = client.get(&url).header("Range", &range).send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert_eq!(
            part.headers()["content-range"].to_str().unwrap(),
            format!("bytes {first}-{}/{}", end - 1, pack.size_bytes)
        );
        assert_eq!(
            imprint_image::Digest::of(&part.bytes().await.unwrap()),
            chunk.frame
        );
    }
    let outside = client
        .get(&url)
        .header("Range", format!("bytes={}-", pack.size_bytes))
        .send()
        .await
        .unwrap();
    assert_eq!(
        outside.headers()["content-range"].to_str().unwrap(),
        format!("bytes */{}", pack.size_bytes)
    );
    assert_eq!(problem(outside).await.0, 416);
    let name = problem(
        client
            .get(server.url("/v1/store/packs/nonsense"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(name.0, 400);
    let found: Image = server.app.catalog.find(&Viewer::All, "a").await.unwrap();
    assert_eq!(found.disks[0].manifest, digest);
}
