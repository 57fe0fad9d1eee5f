//! Imports as jobs, from URLs and registries.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    disk, manifest, qcow2, restored,
    rig::{controller, ended, from_url, get, is_clean, post, problem_of, serve, until},
    stored,
};
use crate::testing::{TestServer, problem};

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A server of these files; `/slow` sends noise for a while and then nothing more.
async fn files(files: Vec<(&'static str, Vec<u8>)>) -> std::net::SocketAddr {
    serve(Router::new().fallback(async move |uri: Uri| {
        if uri.path() == "/slow" {
            return slow();
        }
        match files.iter().find(|(path, _)| *path == uri.path()) {
            Some((_, content)) => content.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }))
    .await
}

/// More than a pack of data that does not compress, then silence.
fn slow() -> Response {
    let noise = |number: u64| {
        let mut piece = vec![0; 1 << 20];
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut piece);
        Ok::<_, std::io::Error>(Bytes::from(piece))
    };
    let pieces = stream::iter((0..40).map(noise)).chain(stream::pending());
    Body::from_stream(pieces).into_response()
}

#[tokio::test]
async fn row_58_a_file_is_fetched_from_a_url_and_becomes_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(&dir.path().join("data"), |_| {}).await;
    let disk = disk();
    let converted = qcow2(dir.path(), &disk);
    let address = files(vec![("/disk.raw", disk.clone()), ("/disk.qcow2", converted)]).await;
    for (name, format) in [("disk.raw", "raw"), ("disk.qcow2", "qcow2")] {
        let job = from_url(
            &server,
            name,
            &format!("http://{address}/{name}?X-Signature=secret"),
        )
        .await;
        assert_eq!(
            (job["kind"].as_str(), job["image_id"].is_string()),
            (Some("import"), true)
        );
        let job = ended(&server, &job).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        assert!(!job.to_string().contains("secret"));
        let image = get(&server, &format!("/v1/images/{name}")).await;
        assert_eq!(job["result"]["image_id"], image["id"]);
        assert_eq!(
            (&image["state"], &image["source"], &image["source_format"]),
            (&json!("active"), &json!("url"), &json!(format))
        );
        assert_eq!(image["source_reference"], format!("http://{address}/{name}"));
        assert!(restored(&server, manifest(&image)) == disk);
    }
    let events = get(&server, "/v1/events").await;
    let kinds: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    for kind in ["job.started", "image.imported", "job.succeeded"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let reserved: i64 = sqlx::query_scalar("SELECT count(*) FROM quota_reservations")
        .fetch_one(&server.app.db)
        .await
        .unwrap();
    assert_eq!(reserved, 0);
}

#[tokio::test]
async fn row_58_what_cannot_be_fetched_fails_its_job_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |config| config.max_file_bytes = 1 << 20).await;
    let address = files(vec![("/disk.raw", vec![1; 4096]), ("/large", vec![1; 2 << 20])]).await;
    let at = |path: &str| format!("http://{address}{path}");
    for (url, sha256, kind) in [
        (at("/none"), "", "source-unreachable"),
        (at("/large"), "", "source-too-large"),
        (
            "http://169.254.169.254/latest".to_owned(),
            "",
            "source-address-refused",
        ),
        (
            "http://10.0.0.1/disk.raw".to_owned(),
            "",
            "source-address-refused",
        ),
        (
            "http://nothing.invalid/disk.raw".to_owned(),
            "",
            "source-unreachable",
        ),
        (at("/disk.raw"), &"ab".repeat(32), "digest-mismatch"),
    ] {
        let body =
            json!({"spec": {"name": "a"}, "file": {"sha256": sha256}, "source": {"type": "url", "url": url}});
        let job: Value = post(&server, "/v1/imports", &body).await.json().await.unwrap();
        let job = ended(&server, &job).await;
        assert_eq!(problem_of(&job), kind, "{url}: {job}");
        assert!(job["problem"]["remedy"].as_str().unwrap().len() > 10);
        assert!(is_clean(&server).await, "{url}");
    }
    // What can be told at once needs no job.
    let url = |url: &str| json!({"type": "url", "url": url});
    for (source, status, kind) in [
        (url("ftp://example.net/a"), 400, "bad-source-url"),
        (url("file:///etc/passwd"), 400, "bad-source-url"),
        (url("https://me:secret@example.net/a"), 400, "bad-source-url"),
        (
            json!({"type": "url", "url": "https://example.net/a", "credential": "none"}),
            422,
            "source-not-configured",
        ),
        (
            json!({"type": "upload", "upload": "none"}),
            404,
            "upload-not-found",
        ),
        (
            json!({"type": "oci", "reference": "debian:12"}),
            400,
            "bad-source-url",
        ),
    ] {
        let body = json!({"spec": {"name": "a"}, "source": source});
        let (got, got_kind, _) = problem(post(&server, "/v1/imports", &body).await).await;
        assert_eq!((got, got_kind.as_str()), (status, kind), "{source}");
    }
    let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state <> 'failed'")
        .fetch_one(&server.app.db)
        .await
        .unwrap();
    assert_eq!((jobs, is_clean(&server).await), (0, true));
}

#[tokio::test]
async fn row_58_the_default_fetches_nothing_from_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let address = files(vec![("/disk.raw", vec![1; 4096])]).await;
    let job = from_url(&server, "a", &format!("http://{address}/disk.raw")).await;
    assert_eq!(problem_of(&ended(&server, &job).await), "source-address-refused");
    assert!(is_clean(&server).await);
}

#[tokio::test]
async fn row_60_an_image_is_listed_while_it_is_imported_and_a_cancel_takes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let address = files(vec![("/disk.raw", vec![1; 4096])]).await;
    let job = from_url(&server, "a", &format!("http://{address}/slow")).await;
    let job = until(&server, &job, |job| {
        job["progress"]["bytes_done"].as_u64() > Some(32 << 20)
    })
    .await;
    assert_eq!(
        (job["state"].as_str(), job["progress"]["step"].as_str()),
        (Some("running"), Some("imports"))
    );
    super::until(async || !stored(&server).is_empty()).await;
    assert_eq!(get(&server, "/v1/images/a").await["state"], "importing");
    let reserved: i64 = sqlx::query_scalar("SELECT images FROM quota_reservations")
        .fetch_one(&server.app.db)
        .await
        .unwrap();
    assert_eq!(reserved, 1);
    let again = json!({"spec": {"name": "a"}, "source": {"type": "url", "url": format!("http://{address}/disk.raw")}});
    let (status, kind, _) = problem(post(&server, "/v1/imports", &again).await).await;
    assert_eq!((status, kind.as_str()), (409, "import-running"));

    let cancel = format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
    assert_eq!(post(&server, &cancel, &json!({})).await.status(), 200);
    assert_eq!(ended(&server, &job).await["state"], "cancelled");
    assert!(is_clean(&server).await);
    let job = from_url(&server, "a", &format!("http://{address}/disk.raw")).await;
    assert_eq!(ended(&server, &job).await["state"], "succeeded");
}

#[tokio::test]
async fn an_import_that_takes_too_long_ends() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |config| config.max_seconds = 1).await;
    let address = files(Vec::new()).await;
    let job = from_url(&server, "a", &format!("http://{address}/slow")).await;
    assert_eq!(problem_of(&ended(&server, &job).await), "import-too-long");
    assert!(is_clean(&server).await);
}

#[tokio::test]
async fn a_key_makes_one_import() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let address = files(vec![("/disk.raw", vec![1; 4096])]).await;
    let send = async |name: &str| {
        let body = json!({"spec": {"name": name}, "source": {"type": "url", "url": format!("http://{address}/disk.raw")}});
        let request = server.client().post(server.url("/v1/imports")).json(&body);
        request.header("Idempotency-Key", "k").send().await.unwrap()
    };
    let first: Value = send("a").await.json().await.unwrap();
    ended(&server, &first).await;
    let again: Value = send("a").await.json().await.unwrap();
    assert_eq!(
        (&again["id"], &again["state"]),
        (&first["id"], &json!("succeeded"))
    );
    assert_eq!(problem(send("b").await).await.1, "idempotency-key-reused");
    assert_eq!(
        get(&server, "/v1/images").await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// A registry with one artifact, whose token another path gives.
async fn registry(layers: Vec<(&'static str, Vec<u8>)>, lies: bool) -> std::net::SocketAddr {
    let descriptors: Vec<_> = layers
        .iter()
        .map(|(title, content)| {
            json!({"mediaType": "application/octet-stream", "digest": format!("sha256:{}", sha256(content)),
                   "size": content.len(), "annotations": {"org.opencontainers.image.title": title}})
        })
        .collect();
    let manifest = json!({"schemaVersion": 2, "layers": descriptors}).to_string();
    let answer = async move |uri: Uri, headers: HeaderMap| {
        let host = headers["host"].to_str().unwrap().to_owned();
        if uri.path() == "/token" {
            assert!(
                uri.query()
                    .unwrap()
                    .contains("scope=repository%3Aimages%2Fdisk%3Apull"),
                "{uri}"
            );
            return json!({ "token": "t0" }).to_string().into_response();
        }
        if headers.get("authorization").map(|value| value.to_str().unwrap()) != Some("Bearer t0") {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"r\"");
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
        }
        let Some(digest) = uri.path().strip_prefix("/v2/images/disk/blobs/sha256:") else {
            assert!(uri.path().starts_with("/v2/images/disk/manifests/"), "{uri}");
            return manifest.clone().into_response();
        };
        let mut content = layers
            .iter()
            .find(|(_, content)| sha256(content) == digest)
            .unwrap()
            .1
            .clone();
        if lies {
            content[0] ^= 1;
        }
        content.into_response()
    };
    serve(Router::new().fallback(answer)).await
}

async fn from_registry(server: &TestServer, reference: &str, layer: Option<&str>) -> Value {
    let mut source = json!({"type": "oci", "reference": reference});
    if let Some(layer) = layer {
        source["layer"] = json!(layer);
    }
    let body = json!({"spec": {"name": "a"}, "source": source});
    let job: Value = post(server, "/v1/imports", &body).await.json().await.unwrap();
    ended(server, &job).await
}

#[tokio::test]
async fn row_58_an_artifact_of_a_registry_is_fetched_and_proven() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let disk = disk();
    let address = registry(vec![("disk.raw", disk.clone()), ("disk.sig", vec![7; 64])], false).await;
    let reference = format!("http://{address}/images/disk:12");
    let refused = from_registry(&server, &reference, None).await;
    assert_eq!(problem_of(&refused), "source-unreachable");
    assert!(
        refused["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("disk.sig"),
        "{refused}"
    );
    assert!(is_clean(&server).await);

    let lying = registry(vec![("disk.raw", disk.clone())], true).await;
    let refused = from_registry(&server, &format!("http://{lying}/images/disk:12"), None).await;
    assert_eq!(problem_of(&refused), "digest-mismatch");
    let refused = from_registry(
        &server,
        &format!("http://{address}/images/disk@sha256:{}", "ab".repeat(32)),
        None,
    )
    .await;
    assert!(
        refused["problem"]["detail"]
            .as_str()
            .unwrap()
            .contains("another digest"),
        "{refused}"
    );
    assert!(is_clean(&server).await);

    let job = from_registry(&server, &reference, Some("disk.raw")).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let image = get(&server, "/v1/images/a").await;
    assert_eq!(
        (&image["source"], &image["source_reference"]),
        (&json!("oci"), &json!(reference))
    );
    assert!(restored(&server, manifest(&image)) == disk);
}
