//! What the tests of imports share: servers to fetch from, jobs to wait for, disks with something on them.

use std::{net::SocketAddr, path::Path};

use axum::Router;
use serde_json::{Value, json};

use super::{rows, stored};
pub(super) use crate::testing::{debian, ext4, gpt};
use crate::{
    app::App,
    clock::Clock,
    config::{Config, IngestConfig},
    testing::TestServer,
};

/// A controller that may fetch from this machine, with whatever else is configured.
pub(super) async fn controller(dir: &Path, change: impl FnOnce(&mut IngestConfig)) -> TestServer {
    let mut config = Config::loopback(dir);
    config.ingest.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    change(&mut config.ingest);
    TestServer::serve(App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await).await
}

/// A server on this machine.
pub(super) async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

pub(super) async fn post(server: &TestServer, path: &str, body: &Value) -> reqwest::Response {
    let request = server.client().post(server.url(path)).json(body);
    request.send().await.unwrap()
}

pub(super) async fn get(server: &TestServer, path: &str) -> Value {
    let answer = server.client().get(server.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Starts an import from a URL; the job.
pub(super) async fn from_url(server: &TestServer, name: &str, url: &str) -> Value {
    let body = json!({"spec": {"name": name}, "source": {"type": "url", "url": url}});
    let answer = post(server, "/v1/imports", &body).await;
    assert_eq!(answer.status(), 202);
    answer.json().await.unwrap()
}

/// The job when it has ended; the runner's own limit ends a test in which it never does.
pub(super) async fn ended(server: &TestServer, job: &Value) -> Value {
    until(server, job, |job| {
        matches!(
            job["state"].as_str().unwrap(),
            "succeeded" | "failed" | "cancelled"
        )
    })
    .await
}

pub(super) async fn until(server: &TestServer, job: &Value, condition: impl Fn(&Value) -> bool) -> Value {
    loop {
        let now = get(server, &format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await;
        if condition(&now) {
            return now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The type of the problem of a job that has failed.
pub(super) fn problem_of(job: &Value) -> &str {
    assert_eq!(job["state"], "failed", "{job}");
    let kind = job["problem"]["type"].as_str().unwrap();
    kind.strip_prefix("urn:imprint:problem:").unwrap()
}

/// Whether nothing of any import is left: no row, no object, no file, nothing reserved.
pub(super) async fn is_clean(server: &TestServer) -> bool {
    let query = "SELECT (SELECT count(*) FROM quota_reservations), (SELECT count(*) FROM uploads)";
    let (reserved, uploads): (i64, i64) = sqlx::query_as(query).fetch_one(&server.app.db).await.unwrap();
    stored(server).is_empty()
        && rows(server).await == (0, 0, 0, 0)
        && (reserved, uploads) == (0, 0)
        && spooled(server) == 0
}

/// Files in the spool.
pub(super) fn spooled(server: &TestServer) -> usize {
    let spool = server.app.config.data_dir.join("spool");
    let count = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .count()
    };
    count(&spool) + count(&spool.join("uploads"))
}

/// The beginning of an installation medium.
pub(super) fn medium() -> Vec<u8> {
    let mut medium = vec![0; 300 << 10];
    medium[0x8000] = 1;
    medium[0x8001..0x8006].copy_from_slice(b"CD001");
    medium[200_000..].fill(b'i');
    medium
}
