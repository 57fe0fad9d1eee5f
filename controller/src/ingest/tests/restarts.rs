//! Controllers that end in the middle of an import.

use std::time::Duration;

use axum::{Router, body::Body};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    rig::{controller, ended, from_url, get, is_clean, post, problem_of, serve, spooled, until},
    rows, stored,
};
use crate::{app::App, clock::Clock, testing::TestServer};

/// Noise for more than a pack, then silence; of a qcow2 as far as its first bytes tell.
fn endless(head: &'static [u8]) -> Body {
    let noise = |number: u64| {
        let mut piece = vec![0; 1 << 20];
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&number.to_le_bytes())
            .finalize_xof()
            .fill(&mut piece);
        Ok::<_, std::io::Error>(Bytes::from(piece))
    };
    let head = stream::iter([Ok(Bytes::from_static(head))]);
    Body::from_stream(
        head.chain(stream::iter((0..40).map(noise)))
            .chain(stream::pending()),
    )
}

#[test]
fn row_58_a_controller_that_is_killed_in_mid_import_leaves_nothing_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = Runtime::new().unwrap();
    let (config, jobs) = first.block_on(async {
        let server = controller(dir.path(), |_| {}).await;
        let router = Router::new().fallback(async |uri: axum::http::Uri| match uri.path() {
            "/qcow2" => endless(b"QFI\xfb\0\0\0\x03"),
            _ => endless(b"raw"),
        });
        let address = serve(router).await;
        let mut jobs = Vec::new();
        for (name, step) in [("raw", "imports"), ("qcow2", "receives")] {
            let job = from_url(&server, name, &format!("http://{address}/{name}")).await;
            until(&server, &job, |job| {
                job["progress"]["step"] == step && job["progress"]["bytes_done"].as_u64() > Some(32 << 20)
            })
            .await;
            jobs.push(job);
        }
        super::until(async || !stored(&server).is_empty()).await;
        // And an upload, of which a part is there.
        let upload = post(&server, "/v1/uploads", &json!({"name": "pieces"})).await;
        let id = upload.json::<Value>().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let piece = server.client().patch(server.url(&format!("/v1/uploads/{id}")));
        let piece = piece
            .header("Upload-Offset", 0)
            .header("Content-Type", "application/offset+octet-stream");
        piece.body(vec![1; 4096]).send().await.unwrap();
        assert!(rows(&server).await.3 > 0);
        (server.app.config.clone(), jobs)
    });
    // As a kill does: nothing that runs is asked, nothing cleans up.
    first.shutdown_timeout(Duration::from_secs(5));

    Runtime::new().unwrap().block_on(async {
        let app = App::open(config, Clock::fake(jiff::Timestamp::now()))
            .await
            .unwrap();
        let server = TestServer::serve(app).await;
        for job in &jobs {
            let job = ended(&server, job).await;
            assert_eq!(problem_of(&job), "interrupted");
        }
        assert_eq!((stored(&server), rows(&server).await), (vec![], (0, 0, 0, 0)));
        assert!(
            get(&server, "/v1/images").await["items"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        // What was uploaded in pieces is the caller's to go on with, and nothing else is in the spool.
        assert_eq!(spooled(&server), 1);
        let uploads = get(&server, "/v1/uploads").await;
        let id = uploads["items"][0]["id"].as_str().unwrap();
        assert_eq!(uploads["items"][0]["offset"], 4096);
        let job = post(&server, &format!("/v1/uploads/{id}/complete"), &json!({})).await;
        let job = ended(&server, &job.json().await.unwrap()).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        // The names are free again.
        let address = serve(Router::new().fallback(async || vec![1; 4096])).await;
        let job = from_url(&server, "raw", &format!("http://{address}/")).await;
        assert_eq!(ended(&server, &job).await["state"], "succeeded");
    });
}

#[tokio::test]
async fn row_58_an_orderly_end_in_mid_import_keeps_the_upload_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = controller(dir.path(), |_| {}).await;
    let address = serve(Router::new().fallback(async || endless(b"raw"))).await;
    let job = from_url(&server, "a", &format!("http://{address}/")).await;
    until(&server, &job, |job| {
        job["progress"]["bytes_done"].as_u64() > Some(32 << 20)
    })
    .await;
    let (config, clock) = (server.app.config.clone(), server.app.clock.clone());
    let app = server.app.clone();
    server.stop().await;
    // The import cleans up behind itself, and leaves its job to the next controller.
    super::until(async || {
        let pending: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM pending_objects) + (SELECT count(*) FROM images)",
        )
        .fetch_one(&app.db)
        .await
        .unwrap();
        pending == 0
    })
    .await;
    let server = TestServer::serve(App::open(config, clock).await.unwrap()).await;
    assert_eq!(problem_of(&ended(&server, &job).await), "interrupted");
    assert!(is_clean(&server).await);
}
