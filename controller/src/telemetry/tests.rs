use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, status::StatusCode},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use ulid::Ulid;

use super::{
    deployments::{Step, Told, spans, steps},
    *,
};
use crate::{app::App, clock::Clock, config::Config, testing::TestServer};

/// A collector that keeps what it is sent.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().await.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        url.parse().unwrap()
    }

    async fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().await.clone();
        let resources = all.into_iter().flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    async fn until(&self, is: impl Fn(&Span) -> bool) -> Span {
        for _ in 0..2000 {
            if let Some(span) = self.spans().await.into_iter().find(|span| is(span)) {
                return span;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the span did not come within 20 seconds");
    }
}

fn id() -> Ulid {
    "01JD3Y6N9M1V9S1M6V1M3B3W5T".parse().unwrap()
}

fn told() -> Told {
    let event = |kind: &str, at: i64, details| (format!("deployment.{kind}"), at, details);
    let row = |name: &str, from_ms, to_ms| Step {
        name: name.to_owned(),
        from_ms,
        to_ms,
        ..Step::default()
    };
    Told {
        id: id(),
        from_ms: 1000,
        to_ms: 9000,
        attributes: vec![
            ("imprint.node.id", "N".to_owned()),
            ("imprint.image.id", String::new()),
        ],
        cause: Some("no space".to_owned()),
        steps: vec![
            row("BOOT", 1000, 2000),
            Step {
                cause: "no space".to_owned(),
                ..row("WRITE", 6000, 9000)
            },
        ],
        events: vec![
            event("created", 1000, json!({})),
            event("step.started", 2000, json!({ "step": "WRITE", "attempt": 1 })),
            event(
                "step.retrying",
                3000,
                json!({ "step": "WRITE", "cause": "reset" }),
            ),
            event("attempt", 5000, json!({})),
            event("step.started", 6000, json!({ "step": "WRITE", "attempt": 2 })),
        ],
    }
}

#[test]
fn steps_of_all_attempts_have_their_times_and_causes() {
    let found: Vec<_> = steps(&told())
        .into_iter()
        .map(|step| {
            (
                step.name,
                step.attempt,
                step.from_ms,
                step.to_ms,
                step.cause,
                step.retries.len(),
            )
        })
        .collect();
    let restarted = "the server was restarted in the middle of the work".to_owned();
    assert_eq!(
        found,
        [
            ("BOOT".to_owned(), 0, 1000, 2000, String::new(), 0),
            ("WRITE".to_owned(), 1, 2000, 5000, restarted, 1),
            ("WRITE".to_owned(), 2, 6000, 9000, "no space".to_owned(), 0),
        ]
    );
    let spans = spans(&told());
    assert_eq!(spans.len(), 4);
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.span_context.span_id()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(
        spans[0].attributes.len(),
        1,
        "nothing is said of what there is not"
    );
}

async fn with(endpoint: Option<Url>) -> (App, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::loopback(dir.path());
    config.telemetry.otlp_endpoint = endpoint;
    (App::for_test_with(config, Clock::system()).await, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_the_trace_of_a_deployment_and_of_requests() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let (app, _dir) = with(Some(endpoint)).await;
    let running = tokio::spawn(run(app.clone()));
    for span in spans(&told()) {
        app.telemetry.tell(span);
    }
    let write = collector
        .until(|span| span.name == "WRITE" && span.end_time_unix_nano == 9_000_000_000)
        .await;
    assert_eq!(
        write.trace_id,
        id().0.to_be_bytes(),
        "the trace is found by the deployment's id"
    );
    assert_eq!(write.start_time_unix_nano, 6_000_000_000);
    let status = write.status.unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (StatusCode::Error, "no space")
    );
    let whole = collector.until(|span| span.name == "deployment").await;
    assert_eq!(
        (whole.span_id, whole.parent_span_id),
        (write.parent_span_id, vec![])
    );

    let server = TestServer::serve(app.clone()).await;
    let asked = server.client().get(server.url("/v1/nodes/secret-name")).header(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    assert_eq!(asked.send().await.unwrap().status(), 404);
    let request = collector.until(|span| span.name == "GET /v1/nodes/{node}").await;
    assert_eq!(hex::encode(&request.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex::encode(&request.parent_span_id), "b7ad6b7169203331");
    let all = format!("{:?}", collector.0.lock().await);
    assert!(!all.contains("secret-name") && !all.contains(&server.token));
    drop(server);
    app.shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_built_up() {
    let (app, _dir) = with(None).await;
    assert!(!app.telemetry.is_on());
    for span in spans(&told()) {
        app.telemetry.tell(span);
    }
    // Whatever of the controller comes to an end ends the controller.
    let running = tokio::spawn(run(app.clone()));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!running.is_finished());
    app.shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    // Nobody listens on the port of discard, and nobody takes from the queue.
    let (app, _dir) = with(Some("http://127.0.0.1:9".parse().unwrap())).await;
    for _ in 0..QUEUE {
        for span in spans(&told()) {
            app.telemetry.tell(span);
        }
    }
    let (inner, _) = app.telemetry.take_waiting().unwrap();
    assert_eq!(inner.dropped.load(Ordering::Relaxed), 3 * QUEUE as u64);
    assert!(app.telemetry.take_waiting().is_none(), "there is one sender");
}
