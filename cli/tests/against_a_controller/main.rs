//! The command against a server that answers as the controller does, over TLS: what is sent, what is shown, and the exit
//! code.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod downloads;
mod fake;
mod sharing;
mod tenants;
mod uploads;

use std::{process::Stdio, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
    routing::{delete, get, post},
};
use fake::{Fake, Shared};
use serde_json::{Value, json};

fn problem(status: StatusCode, title: &str) -> impl IntoResponse + use<> {
    let document = json!({"type": "urn:imprint:problem:x", "title": title, "status": status.as_u16(),
        "detail": "what happened", "remedy": "what to do"});
    (
        status,
        [("content-type", "application/problem+json")],
        Json(document),
    )
}

#[tokio::test]
async fn lists_follow_all_pages_and_json_is_the_servers() {
    let answer = async |Query(query): Query<Vec<(String, String)>>| {
        let token = query
            .iter()
            .find(|(key, _)| key == "page_token")
            .map(|(_, value)| value.as_str());
        Json(match token {
            None => {
                json!({"items": [{"id": "1", "name": "one", "extra": {"a": 1}}], "next_page_token": "p2"})
            }
            Some("p2") => json!({"items": [{"id": "2", "name": "two"}], "next_page_token": null}),
            Some(other) => json!({"items": [{"id": other}], "next_page_token": null}),
        })
    };
    let fake = Fake::serve(Router::new().route("/v1/images", get(answer))).await;
    let ran = fake.run(&["image", "list", "--output", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.json(),
        json!([{"id": "1", "name": "one", "extra": {"a": 1}}, {"id": "2", "name": "two"}])
    );
    let table = fake.run(&["image", "list"]).await;
    assert!(
        table.out.contains("one") && table.out.contains("two"),
        "{table:?}"
    );
    assert!(
        !table.out.contains('\u{1b}') && !table.err.contains('\u{1b}'),
        "{table:?}"
    );
}

#[tokio::test]
async fn the_token_is_sent_and_its_refusal_told() {
    let answer = async |headers: HeaderMap| match headers.get("authorization").map(|v| v.to_str().unwrap()) {
        Some("Bearer right") => Json(json!({"state": "available", "summary": "idle"})).into_response(),
        _ => problem(StatusCode::UNAUTHORIZED, "The token is not valid").into_response(),
    };
    let fake = Fake::serve(Router::new().route("/v1/nodes/{node}/why", get(answer))).await;
    let file = fake.folder().join("token");
    std::fs::write(&file, "right\n").unwrap();
    let ran = fake
        .run(&["--token-file", file.to_str().unwrap(), "why", "n"])
        .await;
    assert!(ran.code == 0 && ran.out.contains("idle"), "{ran:?}");

    // A variable that is set and empty is as good as none.
    let empty = fake
        .command(&["why", "n"])
        .env("IMPRINT_TOKEN_FILE", "")
        .env("IMPRINT_TOKEN", "right")
        .output();
    assert!(empty.await.unwrap().status.success());

    let ran = fake.run(&["why", "n"]).await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "imprint: The token is not valid\n  what happened\n  remedy: what to do\n"
    );
    let ran = fake.run(&["why", "n", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&ran.err).unwrap()["status"], 401);
    assert_eq!((ran.out.as_str(), ran.code), ("", 1));
}

#[tokio::test]
async fn connection_faults_name_cause_and_remedy() {
    let fake = Fake::serve(Router::new()).await;
    let other = Fake::serve(Router::new()).await;
    let wrong_ca = fake
        .command(&["image", "list"])
        .env("IMPRINT_CA", other.ca())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&wrong_ca.stderr).into_owned();
    assert!(
        said.contains("not from the trusted CA") && said.contains("ca.pem"),
        "{said}"
    );

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap();
    let plain = tokio::spawn(axum::serve(plain, Router::new()).into_future()).abort_handle();
    for (url, expected) in [
        (format!("https://{closed}"), "No controller is listening"),
        (format!("https://{plain_port}"), "There is no TLS server"),
        ("https://no-such-host.invalid:8443".into(), "cannot be reached"),
        (format!("https://localhost.localdomain:{}", fake.port()), "remedy"),
    ] {
        let ran = fake.run(&["--url", &url, "image", "list"]).await;
        assert!(
            ran.code == 1 && ran.err.contains(expected) && ran.err.contains("remedy: "),
            "{url}: {ran:?}"
        );
    }
    plain.abort();

    let file = fake.folder().join("empty.pem");
    std::fs::write(&file, "nothing").unwrap();
    let ran = fake.run(&["--ca", file.to_str().unwrap(), "image", "list"]).await;
    assert!(ran.err.contains("holds no certificate"), "{ran:?}");
}

#[tokio::test]
async fn names_cannot_lead_to_another_resource() {
    let seen = Shared::<String>::default();
    let record = seen.clone();
    let answer = async move |uri: Uri| {
        record.push(uri.path().to_owned());
        problem(StatusCode::NOT_FOUND, "no")
    };
    let fake = Fake::serve(Router::new().fallback(answer)).await;
    fake.run(&["image", "show", "../nodes/x?y#z"]).await;
    assert_eq!(seen.all(), ["/v1/images/..%2Fnodes%2Fx%3Fy%23z"]);
}

#[tokio::test]
async fn an_image_is_uploaded_whole() {
    let seen = Shared::<(String, Option<String>, usize)>::default();
    let record = seen.clone();
    let answer = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        assert!(
            body.iter()
                .enumerate()
                .all(|(index, byte)| *byte == (index % 251) as u8)
        );
        let length = headers
            .get("content-length")
            .map(|v| v.to_str().unwrap().to_owned());
        record.push((uri.query().unwrap_or_default().to_owned(), length, body.len()));
        (
            StatusCode::CREATED,
            Json(json!({"id": "01", "name": "debian 12"})),
        )
    };
    let images = post(answer).layer(axum::extract::DefaultBodyLimit::disable());
    let fake = Fake::serve(Router::new().route("/v1/images", images)).await;
    let file = fake.folder().join("disk.raw");
    let content: Vec<u8> = (0..3_000_001_usize).map(|index| (index % 251) as u8).collect();
    std::fs::write(&file, &content).unwrap();
    let ran = fake
        .run(&["image", "import", file.to_str().unwrap(), "--name", "debian 12"])
        .await;
    assert!(ran.code == 0 && ran.out.contains("debian 12"), "{ran:?}");
    let mut piped = fake.command(&["image", "import", "-", "--name", "x", "--format", "raw"]);
    let piped = piped
        .stdin(Stdio::from(std::fs::File::open(&file).unwrap()))
        .output()
        .await
        .unwrap();
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(
        seen.all(),
        [
            (
                "format=auto&name=debian+12".into(),
                Some("3000001".into()),
                3_000_001
            ),
            ("format=raw&name=x".into(), None, 3_000_001)
        ]
    );
    let elsewhere = serve_plainly(content.clone()).await;
    let url = format!("http://{elsewhere}/disk.raw?signature=s3cret");
    let ran = fake
        .run(&[
            "image",
            "import",
            &url,
            "--name",
            "y",
            "--sha256",
            &sha256(&content),
        ])
        .await;
    assert!(ran.code == 0, "{ran:?}");
    assert_eq!(
        seen.all().last().unwrap(),
        &("format=auto&name=y".into(), Some("3000001".into()), 3_000_001)
    );
    let ran = fake
        .run(&[
            "image",
            "import",
            &url,
            "--name",
            "z",
            "--sha256",
            &"0".repeat(64),
        ])
        .await;
    assert!(
        ran.code == 1 && ran.err.contains("not the one that was meant") && !ran.err.contains("s3cret"),
        "{ran:?}"
    );
    let ran = fake
        .run(&[
            "image",
            "import",
            &format!("http://{elsewhere}/short"),
            "--name",
            "z",
        ])
        .await;
    assert!(
        ran.code == 1 && ran.err.contains("Cannot fetch the image"),
        "{ran:?}"
    );
    let ran = fake
        .run(&[
            "image",
            "import",
            &format!("http://{elsewhere}/none"),
            "--name",
            "z",
        ])
        .await;
    assert!(ran.code == 1 && ran.err.contains("answered 404"), "{ran:?}");
    assert_eq!(seen.all().len(), 3, "nothing else came through");
    let ran = fake
        .run(&["image", "import", "/nowhere/disk.raw", "--name", "x"])
        .await;
    assert!(
        ran.code == 1 && ran.err.contains("Cannot read /nowhere/disk.raw"),
        "{ran:?}"
    );
}

/// An HTTP server without TLS that has `/disk.raw`, and a `/short` that breaks off.
async fn serve_plainly(content: Vec<u8>) -> std::net::SocketAddr {
    let short = async || {
        let pieces =
            futures::stream::iter([Ok(Bytes::from_static(b"abc")), Err(std::io::Error::other("gone"))]);
        axum::body::Body::from_stream(pieces)
    };
    let router = Router::new()
        .route("/disk.raw", axum::routing::get(async move || content.clone()))
        .route("/short", axum::routing::get(short));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(content))
}

/// Deployments that go through the given answers, one for each question; the last one stays.
fn deployments(answers: &'static [fn(&str) -> Value], posted: Shared<(String, Value)>) -> Router {
    let asked = Shared::<String>::default();
    let create = async move |headers: HeaderMap, Json(body): Json<Value>| {
        let key = headers
            .get("idempotency-key")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let node = body["node"].as_str().unwrap_or_default().to_owned();
        posted.push((key, body));
        if node == "refused" {
            return problem(StatusCode::CONFLICT, "The node is not available").into_response();
        }
        (StatusCode::CREATED, Json(answers[0](&node))).into_response()
    };
    let show = async move |Path(id): Path<String>| {
        let times = asked.all().iter().filter(|one| **one == id).count();
        asked.push(id.clone());
        Json(answers[(times + 1).min(answers.len() - 1)](&id))
    };
    Router::new()
        .route("/v1/deployments", post(create))
        .route("/v1/deployments/{id}", get(show))
}

fn running(id: &str) -> Value {
    json!({"id": id, "node_id": id, "state": "running", "step": "write", "explanation": "streams"})
}

fn succeeded(id: &str) -> Value {
    json!({"id": id, "node_id": id, "state": "succeeded", "step": null, "created_at": "2026-03-01T12:00:00Z",
        "finished_at": "2026-03-01T12:01:05Z", "first_boot": {"addresses": ["10.0.0.7/24"]}})
}

fn failed(id: &str) -> Value {
    json!({"id": id, "node_id": id, "state": "failed", "step": "write",
        "problem": {"step": "write", "cause": "disk full", "remedy": "take a larger one"}})
}

#[tokio::test]
async fn waiting_ends_with_success_even_without_a_stream() {
    let posted = Shared::default();
    let fake = Fake::serve(deployments(&[running, running, succeeded], posted.clone())).await;
    let ran = fake
        .run(&["deploy", "web-07", "--image", "debian-12", "--wait"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out, "web-07  succeeded after 1 min 5 s 10.0.0.7/24\n");
    assert!(ran.err.contains("web-07: succeeded"), "{ran:?}");
    assert_eq!(posted.all()[0].1, json!({"node": "web-07", "image": "debian-12"}));

    let ran = fake
        .run(&["deploy", "a", "b", "--image", "i", "--wait", "--output", "json"])
        .await;
    assert_eq!(
        (ran.code, ran.json()),
        (0, json!([succeeded("a"), succeeded("b")]))
    );
    assert_eq!(ran.err, "");
}

#[tokio::test]
async fn one_failure_among_many_is_a_failure() {
    let fake = Fake::serve(deployments(&[running, failed], Shared::default())).await;
    let ran = fake.run(&["deploy", "web-07", "--image", "i", "--wait"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        ran.out,
        "web-07  failed\n  step: write\n  cause: disk full\n  remedy: take a larger one\n"
    );

    let fake = Fake::serve(deployments(&[running, succeeded], Shared::default())).await;
    let ran = fake
        .run(&["deploy", "good", "refused", "--image", "i", "--wait"])
        .await;
    assert!(ran.code == 1 && ran.out.contains("good  succeeded"), "{ran:?}");
    assert!(
        ran.err.contains("refused: imprint: The node is not available"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_repeated_request_has_the_same_key() {
    let keys = Shared::<String>::default();
    let record = keys.clone();
    let create = async move |headers: HeaderMap| {
        record.push(
            headers
                .get("idempotency-key")
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
        );
        if record.all().len() < 2 {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "starting").into_response();
        }
        (StatusCode::CREATED, Json(running("d1"))).into_response()
    };
    let fake = Fake::serve(Router::new().route("/v1/deployments", post(create))).await;
    let ran = fake.run(&["deploy", "n", "--image", "i"]).await;
    assert!(
        ran.code == 0 && ran.out.contains("deployment d1 has begun"),
        "{ran:?}"
    );
    let keys = keys.all();
    assert!(
        keys.len() == 2 && keys[0] == keys[1] && keys[0].len() == 26,
        "{keys:?}"
    );
}

#[tokio::test]
async fn waiting_can_be_left_and_says_that_the_deployment_goes_on() {
    let fake = Fake::serve(deployments(&[running], Shared::default())).await;
    let ran = fake
        .run(&["deploy", "n", "--image", "i", "--wait", "--timeout", "1s"])
        .await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.err.contains("goes on") && ran.err.contains("imprint deployment cancel n"),
        "{ran:?}"
    );

    let child = fake
        .command(&["deploy", "n", "--image", "i", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().unwrap().to_string();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("goes on"), "{said}");
}

#[tokio::test]
async fn the_stream_is_followed_across_a_lost_connection() {
    let asked = Shared::<String>::default();
    let record = asked.clone();
    let stream = async move |uri: Uri| {
        record.push(uri.query().unwrap_or_default().to_owned());
        let body = match record.all().len() {
            1 => {
                "id: 6\nevent: a\ndata: {\"id\":6,\"kind\":\"a\",\"message\":\"six\"}\n\nid: 7\ndata: {\"id\":7,\"mess"
            }
            2 => "id: 7\ndata: {\"id\":7,\"kind\":\"a\",\"message\":\"seven\"}\n\n",
            _ => return problem(StatusCode::UNAUTHORIZED, "The token is not valid").into_response(),
        };
        ([("content-type", "text/event-stream")], body).into_response()
    };
    let list = async |uri: Uri| {
        // Only the end of a long log is read.
        assert_eq!(uri.query(), Some("order=desc&page_size=1"));
        Json(json!({"items": [{"id": 5, "message": "five"}], "next_page_token": "5"}))
    };
    let fake = Fake::serve(
        Router::new()
            .route("/v1/events", get(list))
            .route("/v1/events/stream", get(stream)),
    )
    .await;
    let ran = fake
        .run(&["events", "--follow", "--last", "1", "--output", "json"])
        .await;
    let ids: Vec<_> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, [5, 6, 7], "{ran:?}");
    assert_eq!(asked.all(), ["after=5", "after=6", "after=7"]);
    // The last answer was a refusal: it ends the command.
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn a_server_is_forgotten_by_its_name() {
    let remove = async |Path(node): Path<String>| Json(json!({"id": "01N", "name": node, "state": "active"}));
    let fake = Fake::serve(Router::new().route("/v1/nodes/{node}", delete(remove))).await;
    let ran = fake.run(&["node", "delete", "web-07"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "web-07 was deleted\n"),
        "{ran:?}"
    );
    let ran = fake.run(&["node", "delete", "web-07", "--output", "json"]).await;
    assert_eq!(ran.json()["id"], "01N");
}

#[tokio::test]
async fn the_newest_events_are_read_from_the_end_of_the_log() {
    let asked = Shared::<String>::default();
    let record = asked.clone();
    let list = async move |uri: Uri| {
        record.push(uri.query().unwrap_or_default().to_owned());
        let items: Vec<_> = match record.all().len() {
            1 => (501..=1500).rev().map(|id| json!({"id": id})).collect(),
            _ => (1..=500).rev().map(|id| json!({"id": id})).collect(),
        };
        let token = (record.all().len() == 1).then_some("501");
        Json(json!({"items": items, "next_page_token": token}))
    };
    let fake = Fake::serve(Router::new().route("/v1/events", get(list))).await;
    let ran = fake.run(&["events", "--last", "1200", "--output", "json"]).await;
    let events = ran.json();
    let ids: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, (301..=1500).collect::<Vec<_>>());
    assert_eq!(
        asked.all(),
        [
            "order=desc&page_size=1000",
            "order=desc&page_size=200&page_token=501"
        ]
    );
}

#[tokio::test]
async fn the_stream_makes_waiting_quick() {
    let events = async || {
        let progress =
            "event: progress\ndata: {\"node_id\":\"n\",\"deployment_id\":\"n\",\"bytes_done\":1}\n\n";
        let event = "id: 1\nevent: deployment.succeeded\ndata: {\"id\":1,\"deployment_id\":\"n\"}\n\n";
        (
            [("content-type", "text/event-stream")],
            format!("{progress}{event}"),
        )
    };
    let router = deployments(&[running, running, succeeded], Shared::default())
        .route("/v1/events/stream", get(events));
    let fake = Fake::serve(router).await;
    let begun = std::time::Instant::now();
    let ran = fake.run(&["deploy", "n", "--image", "i", "--wait"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn versions_are_told_without_a_token() {
    let description = async || Json(json!({"openapi": "3.1.0", "info": {"version": "9.8.7"}}));
    let fake = Fake::serve(Router::new().route("/openapi.json", get(description))).await;
    let ran = fake.run(&["version"]).await;
    assert!(ran.code == 0 && ran.out.contains("controller  9.8.7"), "{ran:?}");
}
