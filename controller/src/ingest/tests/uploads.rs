//! Files that arrive in pieces.

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    disk, manifest, restored,
    rig::{controller, ended, get, is_clean, post, problem_of, spooled},
    until,
};
use crate::{
    app::App,
    testing::{TestServer, problem},
};

async fn begin(server: &TestServer, body: &Value) -> String {
    let answer = post(server, "/v1/uploads", body).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["upload-offset"], "0");
    let upload: Value = answer.json().await.unwrap();
    upload["id"].as_str().unwrap().to_owned()
}

async fn send(
    server: &TestServer,
    id: &str,
    offset: usize,
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    let request = server.client().patch(server.url(&format!("/v1/uploads/{id}")));
    request
        .header("Upload-Offset", offset)
        .header("Content-Type", "application/offset+octet-stream")
        .body(body)
        .send()
        .await
        .unwrap()
}

async fn offset(server: &TestServer, id: &str) -> u64 {
    let answer = server
        .client()
        .head(server.url(&format!("/v1/uploads/{id}")))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["upload-offset"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

async fn complete(server: &TestServer, id: &str) -> reqwest::Response {
    post(server, &format!("/v1/uploads/{id}/complete"), &json!({})).await
}

#[tokio::test]
async fn row_58_a_file_in_pieces_survives_breaks_and_a_restart_and_becomes_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let disk = disk();
    let id = begin(
        &server,
        &json!({"name": "a", "length": disk.len(), "tags": ["web"], "format": "raw"}),
    )
    .await;
    let piece = send(&server, &id, 0, disk[..1000].to_vec()).await;
    assert_eq!(
        (
            piece.status().as_u16(),
            piece.headers()["upload-offset"].to_str().unwrap()
        ),
        (204, "1000")
    );
    // A piece whose connection breaks: what came of it stays.
    let piece = Ok(Bytes::copy_from_slice(&disk[1000..500_000]));
    // What came before the break has to be on its way when the connection ends.
    let end = stream::once(async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Err("gone")
    });
    let pieces = stream::iter([piece]).chain(end);
    let broken = server
        .client()
        .patch(server.url(&format!("/v1/uploads/{id}")))
        .header("Upload-Offset", 1000)
        .header("Content-Type", "application/offset+octet-stream")
        .body(reqwest::Body::wrap_stream(pieces));
    assert!(broken.send().await.is_err());
    until(async || offset(&server, &id).await > 1000).await;
    let early = problem(complete(&server, &id).await).await;
    assert_eq!((early.0, early.1.as_str()), (409, "upload-incomplete"));

    // Another controller on the same folder: nothing is lost.
    let config = server.app.config.clone();
    server.app.shutdown.cancel();
    let clock = server.app.clock.clone();
    drop(server);
    let server = TestServer::serve(App::open(config, clock).await.unwrap()).await;
    let there = usize::try_from(offset(&server, &id).await).unwrap();
    assert!((1001..=500_000).contains(&there), "{there}");
    for wrong in [0, there - 1, there + 1] {
        let (status, kind, _) = problem(send(&server, &id, wrong, vec![1]).await).await;
        assert_eq!((status, kind.as_str()), (409, "upload-offset"));
    }
    assert_eq!(
        send(&server, &id, there, disk[there..].to_vec()).await.status(),
        204
    );
    let (status, kind, _) = problem(send(&server, &id, disk.len(), vec![1]).await).await;
    assert_eq!((status, kind.as_str()), (413, "upload-too-large"));

    let job: Value = complete(&server, &id).await.json().await.unwrap();
    let job = ended(&server, &job).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let image = get(&server, "/v1/images/a").await;
    assert_eq!(
        (&image["source"], &image["tags"]),
        (&json!("upload"), &json!(["web"]))
    );
    assert!(restored(&server, manifest(&image)) == disk);
    // The spool is as it was.
    assert_eq!(spooled(&server), 0);
    assert_eq!(problem(complete(&server, &id).await).await.1, "upload-not-found");
}

#[tokio::test]
async fn row_58_a_newer_request_takes_over_from_one_whose_connection_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let id = begin(&server, &json!({"name": "a"})).await;
    let hanging =
        stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]).chain(stream::pending());
    let request = server
        .client()
        .patch(server.url(&format!("/v1/uploads/{id}")))
        .header("Upload-Offset", 0)
        .header("Content-Type", "application/offset+octet-stream")
        .body(reqwest::Body::wrap_stream(hanging));
    let hanging = tokio::spawn(request.send());
    until(async || offset(&server, &id).await == 3).await;
    assert_eq!(send(&server, &id, 3, "def").await.status(), 204);
    let (status, kind, _) = problem(hanging.await.unwrap().unwrap()).await;
    assert_eq!((status, kind.as_str()), (409, "upload-offset"));
    assert_eq!(offset(&server, &id).await, 6);
}

#[tokio::test]
async fn uploads_are_bounded_expire_and_can_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |config| config.max_file_bytes = 1000).await;
    for (body, status, kind) in [
        (json!({"name": "a", "length": 1001}), 413, "upload-too-large"),
        (json!({"name": "a/b"}), 400, "bad-image-name"),
        (json!({"name": "a", "format": "floppy"}), 400, "invalid-request"),
        (json!({"name": "a", "sha256": "12"}), 400, "invalid-request"),
        (
            json!({"name": "a", "kind": "full-machine"}),
            400,
            "invalid-request",
        ),
        (json!({"length": 10}), 400, "invalid-request"),
    ] {
        let (got, got_kind, _) = problem(post(&server, "/v1/uploads", &body).await).await;
        assert_eq!((got, got_kind.as_str()), (status, kind), "{body}");
    }
    let id = begin(&server, &json!({"name": "a"})).await;
    let (status, kind, _) = problem(send(&server, &id, 0, vec![1; 1001]).await).await;
    assert_eq!((status, kind.as_str()), (413, "upload-too-large"));
    let plain = server
        .client()
        .patch(server.url(&format!("/v1/uploads/{id}")))
        .body("x");
    assert_eq!(problem(plain.send().await.unwrap()).await.0, 415);
    assert_eq!(
        get(&server, "/v1/uploads").await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for _ in 1..32 {
        begin(&server, &json!({"name": "a"})).await;
    }
    let (status, kind, _) = problem(post(&server, "/v1/uploads", &json!({"name": "a"})).await).await;
    assert_eq!((status, kind.as_str()), (429, "too-many-uploads"));

    let delete = server.client().delete(server.url(&format!("/v1/uploads/{id}")));
    assert_eq!(delete.send().await.unwrap().status(), 204);
    assert_eq!(spooled(&server), 31);
    server.app.clock.advance(SignedDuration::from_hours(23));
    server.app.ingest.uploads().sweep().await.unwrap();
    assert_eq!(spooled(&server), 31);
    server.app.clock.advance(SignedDuration::from_hours(2));
    server.app.ingest.uploads().sweep().await.unwrap();
    assert!(is_clean(&server).await);
    let stray = server.app.config.data_dir.join("spool/uploads/stray");
    std::fs::write(&stray, "x").unwrap();
    server.app.ingest.recover().await.unwrap();
    assert!(!stray.exists());
}

#[tokio::test]
async fn row_58_an_upload_that_is_no_image_goes_and_one_that_was_in_the_way_stays() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let uploaded = async |body: Value, content: &[u8]| {
        let id = begin(&server, &body).await;
        send(&server, &id, 0, content.to_vec()).await;
        id
    };
    for (body, content, kind) in [
        (
            json!({"name": "a", "format": "qcow2"}),
            vec![0; 4096],
            "bad-image",
        ),
        (
            json!({"name": "a", "sha256": "ab".repeat(32)}),
            vec![1; 4096],
            "digest-mismatch",
        ),
        (json!({"name": "a"}), Vec::new(), "bad-image"),
    ] {
        let id = uploaded(body, &content).await;
        let job: Value = complete(&server, &id).await.json().await.unwrap();
        assert_eq!(problem_of(&ended(&server, &job).await), kind);
        assert!(is_clean(&server).await);
    }
    let first = uploaded(json!({"name": "a"}), &[1; 4096]).await;
    let job: Value = complete(&server, &first).await.json().await.unwrap();
    ended(&server, &job).await;
    let second = uploaded(json!({"name": "a"}), &[2; 4096]).await;
    assert_eq!(
        problem(complete(&server, &second).await).await.1,
        "image-name-taken"
    );
    assert_eq!(offset(&server, &second).await, 4096);
}
