use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::{encoding::text, registry::Registry};

use super::{follow::Counting, labels::*, *};
use crate::{
    events::{EventQuery, NodeProgress, Progress},
    testing::TestServer,
};

/// Name, type, labels and help of each metric of a page of OpenMetrics, one a line, without what each type adds.
fn list(page: &str) -> Vec<String> {
    let (mut types, mut helps) = (BTreeMap::new(), BTreeMap::new());
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            helps.insert(name.to_owned(), help.to_owned());
        } else if !line.starts_with('#') {
            let series = line.split(' ').next().unwrap();
            let (name, pairs) = series.split_once('{').unwrap_or((series, ""));
            let name = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| types.contains_key(*base)))
                .unwrap_or(name);
            let of = labels.entry(name.to_owned()).or_default();
            for pair in pairs.trim_end_matches('}').split(',') {
                if let Some((label, _)) = pair.split_once('=').filter(|(label, _)| *label != "le") {
                    of.insert(label.to_owned());
                }
            }
        }
    }
    let line = |(name, kind): (&String, &String)| {
        let shown = match kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        };
        let labels: Vec<&str> = labels[name].iter().map(String::as_str).collect();
        let labels = if labels.is_empty() {
            "-".to_owned()
        } else {
            labels.join(",")
        };
        format!("{shown} {kind} {labels} {}", helps[name])
    };
    types.iter().map(line).collect()
}

/// One value in each family that has labels, or nothing of it would be shown.
fn touched() -> String {
    let families = Families::default();
    let (state, phase, kind, step, result) = ("s", "p", "k", "t", "r");
    let word = || "w".to_owned();
    families.build.get_or_create(&BuildLabels { version: "v" }).set(1);
    families.nodes.get_or_create(&StateLabels { state }).set(1);
    families.images.get_or_create(&StateLabels { state }).set(1);
    families.volumes.get_or_create(&StateLabels { state }).set(1);
    families
        .deployments
        .get_or_create(&PhaseLabels { state, phase })
        .set(1);
    families.jobs.get_or_create(&JobLabels { kind, state }).set(1);
    families
        .deployment_seconds
        .get_or_create(&ResultLabels { result })
        .observe(1.0);
    families
        .step_seconds
        .get_or_create(&StepEndLabels { step, result })
        .observe(1.0);
    families.step_retries.get_or_create(&StepLabels { step }).inc();
    families
        .deadlines_missed
        .get_or_create(&StepLabels { step })
        .inc();
    families.events.get_or_create(&AreaLabels { area: word() }).inc();
    families.webhooks.get_or_create(&StateLabels { state }).set(1);
    families
        .webhook_deliveries
        .get_or_create(&ResultLabels { result })
        .inc();
    families.alarms.get_or_create(&KindLabels { kind: word() }).inc();
    let request = RequestLabels {
        route: word(),
        method: "GET",
        status: word(),
    };
    families.request_seconds.get_or_create(&request).observe(1.0);
    let mut registry = Registry::with_prefix("imprint");
    families.register(&mut registry);
    let mut page = String::new();
    text::encode(&mut page, &registry).unwrap();
    page
}

#[test]
fn the_checked_in_list_is_what_is_registered() {
    let now: Vec<String> = list(&touched());
    let text = format!("# name type labels help\n{}\n", now.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/metrics.txt");
    if std::env::var_os("UPDATE_METRICS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        text,
        "names of metrics are a contract. If the change is meant, run `UPDATE_METRICS=1 cargo nextest run -p \
         imprint-controller metrics`, and tell it in docs/metrics.md"
    );
    // Each field of the declaration is registered once, and shown by the page above.
    let declared = include_str!("declared.rs").matches("to.register(").count();
    assert_eq!(
        now.len(),
        declared,
        "a family without a value in this test is not seen"
    );
}

#[test]
fn the_handbook_has_every_metric_and_its_rules_name_no_other() {
    let handbook = include_str!("../../../docs/metrics.md");
    let rules = include_str!("../../../docs/prometheus-rules.yml");
    let mut names = BTreeSet::new();
    for line in list(&touched()) {
        let mut parts = line.splitn(4, ' ');
        let (name, kind, labels) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let labels: Vec<String> = labels
            .split(',')
            .filter(|l| *l != "-")
            .map(|l| format!("`{l}`"))
            .collect();
        let row = format!("| `{name}` | {kind} | {} |", labels.join(", "));
        assert!(handbook.contains(&row), "docs/metrics.md has no row `{row}`");
        names.insert(name.to_owned());
        if kind == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (text, what) in [
        (handbook, "docs/metrics.md"),
        (rules, "docs/prometheus-rules.yml"),
    ] {
        let named = text
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("imprint_"));
        for word in named {
            assert!(names.contains(word), "{what} names {word}, which is no metric");
        }
    }
}

async fn page(server: &TestServer) -> String {
    let answer = server.client().get(server.url("/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
    answer.text().await.unwrap()
}

fn value(page: &str, series: &str) -> f64 {
    let found = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {series} in:\n{page}"));
    found.parse().unwrap()
}

#[tokio::test]
async fn what_there_is_is_shown_with_zeroes_and_without_names_of_things() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    for (id, state) in [("n1", "active"), ("n2", "active"), ("n3", "failed")] {
        sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES (?1, 'secret-' || ?1, ?2, 0)")
            .bind(id)
            .bind(state)
            .execute(&server.app.db)
            .await
            .unwrap();
    }
    let shown = page(&server).await;
    for (series, is) in [
        ("imprint_nodes{state=\"active\"}", 2.0),
        ("imprint_nodes{state=\"failed\"}", 1.0),
        ("imprint_nodes{state=\"deploying\"}", 0.0),
        (
            "imprint_deployments{state=\"running\",phase=\"agent-works\"}",
            0.0,
        ),
        ("imprint_deployments{state=\"failed\",phase=\"ended\"}", 0.0),
        ("imprint_jobs{kind=\"import\",state=\"queued\"}", 0.0),
        ("imprint_agent_sessions", 0.0),
    ] {
        assert_eq!(value(&shown, series), is, "{series}");
    }
    assert!(
        shown.ends_with("# EOF\n") && !shown.contains("secret-"),
        "{shown}"
    );
    // Anybody may ask for anything: what he asks for is no label.
    for path in ["/v1/nodes/n1", "/v1/nodes/n2", "/made-up-1", "/made-up-2"] {
        server.client().get(server.url(path)).send().await.unwrap();
    }
    server
        .client()
        .request("BREW".parse().unwrap(), server.url("/pot"))
        .send()
        .await
        .unwrap();
    let shown = page(&server).await;
    let nodes = "imprint_api_request_duration_seconds_count{route=\"/v1/nodes/{node}\",method=\"GET\",status=\"404\"}";
    assert_eq!(value(&shown, nodes), 2.0);
    let other = "imprint_api_request_duration_seconds_count{route=\"other\",method=\"GET\",status=\"404\"}";
    assert_eq!(value(&shown, other), 2.0);
    assert!(
        !shown.contains("made-up") && !shown.contains("BREW") && !shown.contains("/pot"),
        "{shown}"
    );
}

#[tokio::test]
async fn calls_of_grpc_are_measured_by_their_method() {
    use imprint_proto::v1::{ListEventsRequest, events_client::EventsClient};
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let mut client = EventsClient::new(server.channel().await);
    client
        .list_events(ListEventsRequest::default())
        .await
        .unwrap_err();
    let series = "imprint_api_request_duration_seconds_count{route=\"/imprint.v1.Events/ListEvents\",method=\"POST\",\
                  status=\"UNAUTHENTICATED\"}";
    assert_eq!(value(&page(&server).await, series), 1.0);
}

#[tokio::test]
async fn a_refusal_of_the_database_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let before = faults::database_errors().get();
    sqlx::query("DROP TABLE volumes").execute(&app.db).await.unwrap();
    app.metrics.render(&app).await.unwrap_err();
    assert!(faults::database_errors().get() > before);
}

async fn take_all(app: &App, counting: &mut Counting, after: i64) -> i64 {
    let query = EventQuery {
        after,
        page_size: 1000,
        ..EventQuery::default()
    };
    let mut last = after;
    for event in app.events.list(&query).await.unwrap().items {
        counting.take(&event).await.unwrap();
        last = event.id;
    }
    last
}

fn figures(id: &str, fetched: u64, written: u64, retries: u32) -> NodeProgress {
    NodeProgress {
        node_id: "n".to_owned(),
        deployment_id: id.to_owned(),
        project_id: "p".to_owned(),
        progress: Progress {
            step: "write".to_owned(),
            bytes_done: 0,
            bytes_total: 0,
            bytes_fetched: fetched,
            bytes_to_fetch: 0,
            bytes_written: written,
            data_bytes_per_second: 0,
            eta_seconds: None,
            retries,
            limited_by: String::new(),
            limiting: String::new(),
            stalled: String::new(),
            loads: crate::events::Loads::default(),
            chunks_kept: 0,
        },
    }
}

#[tokio::test]
async fn bytes_are_summed_over_figures_attempts_and_deployments() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut counting = Counting::new(&app).await.unwrap();
    let families = app.metrics.families();
    let tell = async |kind: &'static str, id: &'static str| {
        let event = crate::events::NewEvent {
            kind,
            node_id: None,
            deployment_id: Some(id),
            message: String::new(),
            details: serde_json::json!({}),
        };
        app.events.append(event).await.unwrap()
    };
    // Of one that began before, only what comes from now on.
    counting.figures(&figures("older", 1000, 900, 1));
    counting.figures(&figures("older", 1010, 905, 1));
    assert_eq!(
        (
            families.agent_received_bytes.get(),
            families.agent_written_bytes.get()
        ),
        (10, 5)
    );
    counting
        .take(&tell("deployment.created", "new").await)
        .await
        .unwrap();
    counting.figures(&figures("new", 100, 50, 2));
    counting.figures(&figures("new", 300, 250, 2));
    counting
        .take(&tell("deployment.attempt", "new").await)
        .await
        .unwrap();
    counting.figures(&figures("new", 40, 30, 0));
    assert_eq!(
        (
            families.agent_received_bytes.get(),
            families.agent_written_bytes.get(),
            families.agent_fetch_retries.get()
        ),
        (10 + 300 + 40, 5 + 250 + 30, 2)
    );
    assert_eq!(
        (families.deployments_started.get(), families.restarts.get()),
        (1, 1)
    );
}

#[tokio::test]
async fn kinds_of_events_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut counting = Counting::new(&app).await.unwrap();
    let after = app.events.newest().await.unwrap();
    for n in 0..200 {
        let event = crate::events::NewEvent {
            kind: &format!("area{n}.happened"),
            node_id: None,
            deployment_id: None,
            message: String::new(),
            details: serde_json::json!({}),
        };
        app.events.append(event).await.unwrap();
    }
    take_all(&app, &mut counting, after).await;
    let page = app.metrics.render(&app).await.unwrap();
    let lines = page
        .lines()
        .filter(|line| line.starts_with("imprint_events_total"))
        .count();
    assert_eq!(lines, 65);
    assert_eq!(value(&page, "imprint_events_total{area=\"other\"}"), 136.0);
}
