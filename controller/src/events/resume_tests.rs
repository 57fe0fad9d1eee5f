//! Streams that break and are taken up again, while several write at once: nothing is missed and nothing comes twice.

use std::collections::BTreeSet;

use futures::future::join_all;
use imprint_proto::v1::{WatchEventsRequest, events_client::EventsClient};
use serde_json::json;
use tokio::time::{Duration, timeout};
use tonic::Request;

use super::*;
use crate::{app::App, testing::TestServer};

const WRITERS: usize = 4;
const EACH: usize = 60;
const LIMIT: Duration = Duration::from_secs(60);

/// Several tasks that write events; their ids.
async fn writers(app: App) -> BTreeSet<i64> {
    let tasks = (0..WRITERS).map(|writer| {
        let app = app.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..EACH {
                // Some changes have several events, and some end without being committed.
                let mut change = app.events.begin().await.unwrap();
                let mut written = Vec::new();
                for part in 0..=(n % 3) {
                    let event = NewEvent {
                        kind: "test.written",
                        node_id: None,
                        deployment_id: None,
                        message: format!("{writer} {n} {part}"),
                        details: json!({}),
                    };
                    written.push(change.append(event).await.unwrap().id);
                }
                if n % 7 != 0 {
                    change.commit().await.unwrap();
                    ids.extend(written);
                }
                tokio::task::yield_now().await;
            }
            ids
        })
    });
    let ids = join_all(tasks).await;
    ids.into_iter().flat_map(Result::unwrap).collect()
}

/// Reads server-sent events from a cursor on, at most `most`, and breaks the connection.
async fn read_sse(server: &TestServer, after: i64, most: usize, until: i64) -> Vec<i64> {
    let request = server.client().get(server.url("/v1/events/stream"));
    let mut response = request
        .header("Last-Event-ID", after.to_string())
        .send()
        .await
        .unwrap();
    let (mut text, mut ids) = (String::new(), Vec::new());
    while ids.len() < most && ids.last() != Some(&until) {
        let chunk = timeout(LIMIT, response.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        // A frame that is cut in the middle was not received.
        while let Some((frame, rest)) = text.split_once("\n\n") {
            let id = frame.lines().find_map(|line| line.strip_prefix("id: "));
            ids.extend(id.map(|id| id.parse::<i64>().unwrap()));
            text = rest.to_owned();
        }
    }
    ids
}

async fn read_grpc(server: &TestServer, after: i64, most: usize, until: i64) -> Vec<i64> {
    let mut client = EventsClient::new(server.channel().await);
    let mut request = Request::new(WatchEventsRequest {
        after_id: after,
        ..WatchEventsRequest::default()
    });
    let token = format!("Bearer {}", server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let mut stream = client.watch_events(request).await.unwrap().into_inner();
    let mut ids = Vec::new();
    while ids.len() < most && ids.last() != Some(&until) {
        ids.push(
            timeout(LIMIT, stream.message())
                .await
                .unwrap()
                .unwrap()
                .unwrap()
                .id,
        );
    }
    ids
}

async fn last_of(server: &TestServer) -> i64 {
    let event = NewEvent {
        kind: "test.end",
        node_id: None,
        deployment_id: None,
        message: String::new(),
        details: json!({}),
    };
    server.app.events.append(event).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_streams_go_on_behind_their_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    // gRPC takes 0 for "from now on".
    let start = last_of(&server).await;
    let writing = tokio::spawn(writers(server.app.clone()));
    let (mut by_sse, mut by_grpc) = (Vec::new(), Vec::new());
    for round in 0..12 {
        let cursor = |seen: &[i64]| seen.last().copied().unwrap_or(start);
        let most = 1 + round * 3 % 11;
        by_sse.extend(read_sse(&server, cursor(&by_sse), most, i64::MAX).await);
        by_grpc.extend(read_grpc(&server, cursor(&by_grpc), most, i64::MAX).await);
    }
    let written = writing.await.unwrap();
    let end = last_of(&server).await;
    let (sse_at, grpc_at) = (*by_sse.last().unwrap(), *by_grpc.last().unwrap());
    by_sse.extend(read_sse(&server, sse_at, usize::MAX, end).await);
    by_grpc.extend(read_grpc(&server, grpc_at, usize::MAX, end).await);
    let expected: Vec<i64> = written.into_iter().chain([end]).collect();
    assert_eq!(by_sse, expected, "in the order of their ids, each once");
    assert_eq!(by_grpc, expected);
}
