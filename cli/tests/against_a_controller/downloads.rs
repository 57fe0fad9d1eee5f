//! Images become files: what is kept, what goes on, and what is never given its name.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Response, StatusCode},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fake::{Fake, Shared};

/// Data, a hole, data.
fn content() -> Vec<u8> {
    let mut content = vec![7; 200_000];
    content.resize(2_000_000, 0);
    content.extend(vec![9; 300_000]);
    content
}

/// A server with a file. The first `breaks` answers break off after a third of what is left.
async fn serve(breaks: usize, sum: Option<String>, seen: Shared<(String, Option<String>)>) -> Fake {
    let left = std::sync::Arc::new(AtomicUsize::new(breaks));
    let file = async move |method: Method, headers: HeaderMap| {
        let content = content();
        let range = headers
            .get("range")
            .map(|range| range.to_str().unwrap().to_owned());
        seen.push((method.to_string(), range.clone()));
        let from = match &range {
            Some(range) if headers["if-range"] == "\"tag\"" => range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap(),
            _ => 0,
        };
        let rest = Bytes::from(content[from..].to_vec());
        let mut response = Response::builder()
            .status(if from > 0 {
                StatusCode::PARTIAL_CONTENT
            } else {
                StatusCode::OK
            })
            .header("etag", "\"tag\"")
            .header("content-length", rest.len());
        if from > 0 {
            response = response.header(
                "content-range",
                format!("bytes {from}-{}/{}", content.len() - 1, content.len()),
            );
        }
        if method == Method::HEAD {
            return response.body(Body::empty()).unwrap();
        }
        let breaks = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        let body = if breaks {
            let part = rest.slice(..rest.len() / 3);
            // What is cut at once takes what was sent before with it.
            let cut = async {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                Err(std::io::Error::other("the wire is cut"))
            };
            Body::from_stream(stream::once(async { Ok(part) }).chain(stream::once(cut)))
        } else {
            Body::from(rest)
        };
        response.body(body).unwrap()
    };
    let sum = sum.unwrap_or_else(|| hex::encode(Sha256::digest(content())));
    let told = json!({"format": "raw", "file_bytes": content().len(), "sha256": sum, "etag": "\"tag\"",
        "image": {"name": "golden", "family": "debian"}});
    let told = async move || axum::Json(told);
    let router = Router::new()
        .route("/v1/images/golden/content", get(file.clone()).head(file))
        .route("/v1/images/golden/content/sum", get(told));
    Fake::serve(router).await
}

#[tokio::test]
async fn a_file_that_breaks_off_goes_on_and_gets_its_name_when_it_is_proven() {
    let seen = Shared::default();
    let fake = serve(2, None, seen.clone()).await;
    let path = fake.folder().join("disk.img");
    let name = path.to_str().unwrap();
    let ran = fake.run(&["image", "export", "golden", name]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(std::fs::read(&path).unwrap() == content());
    let sum = hex::encode(Sha256::digest(content()));
    let beside = |ending: &str| std::fs::read_to_string(format!("{name}{ending}"));
    assert_eq!(beside(".sha256").unwrap(), format!("{sum}  disk.img\n"));
    let about: Value = serde_json::from_str(&beside(".json").unwrap()).unwrap();
    assert_eq!(about["image"]["family"], "debian");
    assert!(beside(".part").is_err() && beside(".part.etag").is_err());
    let ranges: Vec<_> = seen
        .all()
        .into_iter()
        .filter(|(method, _)| method == "GET")
        .map(|(_, range)| range)
        .collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(
        ranges[0].is_none() && ranges[1].is_some() && ranges[2].is_some(),
        "{ranges:?}"
    );
    // Zeros take no room.
    use std::os::unix::fs::MetadataExt as _;
    assert!(path.metadata().unwrap().blocks() * 512 < 1_500_000);

    // It is not replaced by accident.
    let again = fake.run(&["image", "export", "golden", name]).await;
    assert!(again.code == 1 && again.err.contains("--overwrite"), "{again:?}");
    assert_eq!(
        fake.run(&["image", "export", "golden", name, "--overwrite"])
            .await
            .code,
        0
    );
}

#[tokio::test]
async fn an_earlier_command_is_taken_up_only_if_it_is_the_same_file() {
    for (tag, from) in [("\"tag\"", Some("bytes=100000-")), ("\"old\"", None)] {
        let seen = Shared::default();
        let fake = serve(0, None, seen.clone()).await;
        let path = fake.folder().join("disk.raw");
        let part = |ending: &str| format!("{}{ending}", path.display());
        std::fs::write(part(".part"), &content()[..100_000]).unwrap();
        std::fs::write(part(".part.etag"), tag).unwrap();
        let ran = fake
            .run(&["image", "export", "golden", path.to_str().unwrap()])
            .await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(std::fs::read(&path).unwrap() == content());
        let range = seen
            .all()
            .into_iter()
            .find(|(method, _)| method == "GET")
            .unwrap()
            .1;
        assert_eq!(range.as_deref(), from);
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_removed() {
    let fake = serve(0, Some("00".repeat(32)), Shared::default()).await;
    let path = fake.folder().join("disk.raw");
    let ran = fake
        .run(&["image", "export", "golden", path.to_str().unwrap()])
        .await;
    assert!(ran.code == 1 && ran.err.contains("SHA-256"), "{ran:?}");
    let left: Vec<_> = std::fs::read_dir(fake.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("disk"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn buckets_and_regions_are_asked_for_by_name() {
    let bodies = Shared::default();
    let record = |bodies: Shared<Value>| {
        async move |axum::Json(body): axum::Json<Value>| {
            bodies.push(body);
            (
                StatusCode::ACCEPTED,
                axum::Json(json!({"id": "j1", "kind": "export", "state": "succeeded"})),
            )
        }
    };
    let done = async || axum::Json(json!({"id": "j1", "kind": "export", "state": "succeeded"}));
    let router = Router::new()
        .route("/v1/images/golden/export", post(record(bodies.clone())))
        .route("/v1/images/golden/copy", post(record(bodies.clone())))
        .route("/v1/jobs/j1", get(done));
    let fake = Fake::serve(router).await;
    for arguments in [
        &[
            "image",
            "export",
            "golden",
            "--to",
            "s3:backup/a/b.qcow2",
            "--format",
            "qcow2",
            "--wait",
        ][..],
        &["image", "copy", "golden", "mine", "--encrypt", "no", "--wait"],
        &["image", "copy", "golden", "--to-region", "west"],
    ] {
        let ran = fake.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    }
    let bodies = bodies.all();
    assert_eq!(bodies[0]["destination"], "backup");
    assert_eq!(
        (&bodies[0]["key"], &bodies[0]["format"]),
        (&json!("a/b.qcow2"), &json!("qcow2"))
    );
    assert_eq!(
        (&bodies[1]["name"], &bodies[1]["encrypt"]),
        (&json!("mine"), &json!("no"))
    );
    assert_eq!(
        (&bodies[2]["region"], &bodies[2]["name"]),
        (&json!("west"), &Value::Null)
    );
    for wrong in [
        &["image", "export", "golden"][..],
        &["image", "export", "golden", "file", "--to", "s3:a"],
        &["image", "export", "golden", "--to", "s3://bucket/key"],
        &["image", "copy", "golden"],
    ] {
        assert_eq!(fake.run(wrong).await.code, 2, "{wrong:?}");
    }
}
