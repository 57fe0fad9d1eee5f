//! Large files, in pieces over connections that break; and jobs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, patch, post},
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::fake::{Fake, Shared};

const LENGTH: u64 = (64 << 20) + 12_345;

/// A controller that loses the connection of the first pieces.
#[derive(Clone)]
struct Lossy {
    breaks: Arc<AtomicUsize>,
    there: Arc<AtomicUsize>,
    begun: Shared<Value>,
    offsets: Shared<usize>,
}

async fn append(State(lossy): State<Lossy>, headers: HeaderMap, body: Body) -> impl IntoResponse {
    let offset: usize = headers["upload-offset"].to_str().unwrap().parse().unwrap();
    assert_eq!(headers["content-type"], "application/offset+octet-stream");
    assert_eq!(offset, lossy.there.load(Ordering::SeqCst));
    lossy.offsets.push(offset);
    let breaks = lossy
        .breaks
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok();
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        assert!(piece.iter().all(|byte| *byte == 0));
        lossy.there.fetch_add(piece.len(), Ordering::SeqCst);
        if breaks && lossy.there.load(Ordering::SeqCst) > offset + (10 << 20) {
            return (StatusCode::BAD_GATEWAY, HeaderMap::new());
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert("upload-offset", lossy.there.load(Ordering::SeqCst).into());
    (StatusCode::NO_CONTENT, headers)
}

fn controller(lossy: Lossy, known: Value) -> Router {
    let there = lossy.there.clone();
    let begun = lossy.begun.clone();
    let upload = async move || Json(json!({"id": "u", "offset": there.load(Ordering::SeqCst)}));
    let begin = async move |Json(body): Json<Value>| {
        begun.push(body);
        (StatusCode::CREATED, Json(json!({"id": "u", "offset": 0})))
    };
    let job = async |Path(job): Path<String>| {
        Json(
            json!({"id": job, "kind": "import", "state": "succeeded", "image_id": "i", "progress": {"step": "finishes"}}),
        )
    };
    let running = async || {
        let job = json!({"id": "j", "kind": "import", "state": "running", "image_id": "i"});
        (StatusCode::ACCEPTED, Json(job))
    };
    Router::new()
        .route("/v1/uploads", get(async move || Json(known.clone())).post(begin))
        .route("/v1/uploads/u", patch(append).get(upload))
        .route("/v1/uploads/u/complete", post(running))
        .route("/v1/imports", post(running))
        .route("/v1/jobs/{job}", get(job))
        .route(
            "/v1/images/i",
            get(async || Json(json!({"id": "i", "name": "large", "state": "active"}))),
        )
        .with_state(lossy)
}

fn lossy(breaks: usize, there: usize) -> Lossy {
    Lossy {
        breaks: Arc::new(AtomicUsize::new(breaks)),
        there: Arc::new(AtomicUsize::new(there)),
        begun: Shared::default(),
        offsets: Shared::default(),
    }
}

fn none() -> Value {
    json!({"items": [], "next_page_token": null})
}

#[tokio::test]
async fn row_58_a_large_file_goes_on_where_its_connection_broke() {
    let lossy = lossy(2, 0);
    let fake = Fake::serve(controller(lossy.clone(), none())).await;
    let file = fake.folder().join("large.raw");
    std::fs::File::create(&file).unwrap().set_len(LENGTH).unwrap();
    let line = [
        "image",
        "import",
        file.to_str().unwrap(),
        "--name",
        "large",
        "--os",
        "debian",
        "--tag",
        "web",
    ];
    let ran = fake.run(&line).await;
    assert!(ran.code == 0 && ran.out.contains("large"), "{ran:?}");
    assert!(ran.err.contains("going on in"), "{ran:?}");
    assert_eq!(lossy.there.load(Ordering::SeqCst) as u64, LENGTH);
    let offsets = lossy.offsets.all();
    assert!(
        offsets.len() == 3 && offsets[0] == 0 && offsets[1] > 10 << 20 && offsets[2] > 20 << 20,
        "{offsets:?}"
    );
    let begun = &lossy.begun.all()[0];
    assert_eq!(
        (&begun["name"], &begun["length"], &begun["os_distribution"]),
        (&json!("large"), &json!(LENGTH), &json!("debian"))
    );
    assert_eq!(begun["sha256"].as_str().unwrap().len(), 64);

    // The same command again, and an upload that is half there: nothing is begun, nothing is sent twice.
    let half = json!({"items": [{"id": "u", "offset": 32 << 20, "length": LENGTH, "request": begun}], "next_page_token": null});
    let again = self::lossy(0, 32 << 20);
    let fake = Fake::serve(controller(again.clone(), half)).await;
    let ran = fake.run(&line).await;
    assert!(
        ran.code == 0 && ran.err.contains("goes on with an earlier upload"),
        "{ran:?}"
    );
    assert_eq!(
        (again.begun.all().len(), again.offsets.all()),
        (0, vec![32 << 20])
    );
}

#[tokio::test]
async fn row_58_the_controller_fetches_and_the_command_waits_or_not() {
    let fake = Fake::serve(controller(lossy(0, 0), none())).await;
    let line = [
        "image",
        "import",
        "https://example.net/disk.raw",
        "--name",
        "large",
        "--by-controller",
    ];
    let ran = fake.run(&[&line[..], &["--output", "json"]].concat()).await;
    assert_eq!(
        (ran.code, &ran.json()["state"]),
        (0, &json!("running")),
        "{ran:?}"
    );
    let ran = fake
        .run(&[&line[..], &["--wait", "--output", "json"]].concat())
        .await;
    assert_eq!((ran.code, &ran.json()["state"]), (0, &json!("active")), "{ran:?}");
}

#[tokio::test]
async fn a_job_is_waited_for_and_its_problem_is_the_commands() {
    let asked = Arc::new(AtomicUsize::new(0));
    let job = async move |Path(_): Path<String>| {
        Json(match asked.fetch_add(1, Ordering::SeqCst) {
            0 => {
                json!({"id": "j", "kind": "import", "state": "running", "progress": {"step": "imports", "bytes_done": 5, "bytes_total": 10}})
            }
            _ => {
                json!({"id": "j", "kind": "import", "state": "failed", "problem": {"type": "urn:imprint:problem:bad-image",
                "title": "The image file cannot be used", "status": 422, "detail": "It is cut off.", "remedy": "Upload it again."}})
            }
        })
    };
    let fake = Fake::serve(Router::new().route("/v1/jobs/{job}", get(job))).await;
    let ran = fake.run(&["job", "wait", "j"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("imports 50 %") && ran.err.contains("remedy: Upload it again."),
        "{ran:?}"
    );
}
