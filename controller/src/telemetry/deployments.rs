//! Traces of deployments, made when they have ended, from their steps and from what the event log tells of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use opentelemetry::{
    KeyValue,
    trace::{Event as SpanEvent, SpanId, Status},
};
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value;
use tokio::time::sleep;
use ulid::Ulid;

use super::{context, send::span};
use crate::{
    api::rest::problem::chain,
    app::App,
    deploy::DeployError,
    events::{DatabaseError, EventQuery, Live, doing},
    identity::Viewer,
};

/// Events with which a deployment, a release or a rescue ends.
const ENDS: [&str; 4] = [
    "deployment.succeeded",
    "deployment.failed",
    "deployment.cancelled",
    "node.released",
];
/// How soon the log is followed again after the database has refused it.
const AGAIN: Duration = Duration::from_secs(5);
/// Events of a deployment that are looked at.
const MOST_EVENTS: i64 = 5000;
/// Retries that a step tells of.
const MOST_RETRIES: usize = 64;

/// What a trace is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub id: Ulid,
    pub from_ms: i64,
    pub to_ms: i64,
    /// Ids and words for the span of the whole.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed.
    pub cause: Option<String>,
    pub steps: Vec<Step>,
    /// Kind, time and details of its events, in order.
    pub events: Vec<(String, i64, Value)>,
}

/// A step as it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub name: String,
    /// 0: that of the table, which knows the last one alone.
    pub attempt: u64,
    pub from_ms: i64,
    pub to_ms: i64,
    /// Empty: it did not fail.
    pub cause: String,
    /// Time and cause.
    pub retries: Vec<(i64, String)>,
}

/// Makes the traces of deployments that end from now on, until the controller ends.
pub(super) async fn follow(app: &App) {
    let mut after = None;
    while !app.shutdown.is_cancelled() {
        if let Err(error) = follow_from(app, &mut after).await {
            tracing::warn!(error = %chain(&error), "traces of deployments could not be made");
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = sleep(AGAIN) => {}
            }
        }
    }
}

async fn follow_from(app: &App, after: &mut Option<i64>) -> Result<(), DeployError> {
    let from = match *after {
        Some(id) => id,
        None => app.events.newest().await?,
    };
    *after = Some(from);
    let query = EventQuery {
        after: from,
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, app.shutdown.child_token()));
    while let Some(next) = live.next().await {
        match next? {
            Live::Event(event) => {
                if ENDS.contains(&event.kind.as_str())
                    && let Some(id) = &event.deployment_id
                    && let Some(told) = read(app, id).await?
                {
                    for span in spans(&told) {
                        app.telemetry.tell(span);
                    }
                }
                *after = Some(event.id);
            }
            Live::Gone(up_to) => *after = Some(up_to),
            Live::Progress(_) => {}
        }
    }
    Ok(())
}

/// None: it is gone already, or has an id that is none.
async fn read(app: &App, id: &str) -> Result<Option<Told>, DeployError> {
    let deployment = match app.deployments.get(&Viewer::All, id).await {
        Ok(deployment) => deployment,
        Err(DeployError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(ulid) = deployment.id.parse::<Ulid>() else {
        return Ok(None);
    };
    let steps: Vec<(String, i64, Option<i64>, String, String)> = sqlx::query_as(
        "SELECT step, started_at, finished_at, state, cause FROM deployment_steps WHERE deployment_id = ? ORDER BY position",
    )
    .bind(id)
    .fetch_all(&app.db)
    .await
    .map_err(doing("read the steps of a deployment"))?;
    let to_ms = deployment
        .finished_at
        .map_or_else(|| app.clock.now_ms(), |at| at.as_millisecond());
    let steps = steps.into_iter().map(|(name, from_ms, to, state, cause)| Step {
        name,
        from_ms,
        to_ms: to.unwrap_or(to_ms),
        cause: if state == "failed" { cause } else { String::new() },
        ..Step::default()
    });
    Ok(Some(Told {
        id: ulid,
        from_ms: deployment.created_at.as_millisecond(),
        to_ms,
        attributes: vec![
            ("imprint.deployment.id", deployment.id.clone()),
            ("imprint.deployment.purpose", deployment.purpose.to_string()),
            ("imprint.deployment.state", deployment.state.to_string()),
            ("imprint.node.id", deployment.node_id.clone()),
            ("imprint.project.id", deployment.project_id.clone()),
            ("imprint.image.id", deployment.image_id.clone()),
        ],
        cause: deployment.problem.map(|problem| problem.cause),
        steps: steps.collect(),
        events: events_of(app, id).await?,
    }))
}

async fn events_of(app: &App, id: &str) -> Result<Vec<(String, i64, Value)>, DatabaseError> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT kind, at, details FROM events WHERE deployment_id = ? ORDER BY id LIMIT ?")
            .bind(id)
            .bind(MOST_EVENTS)
            .fetch_all(&app.db)
            .await
            .map_err(doing("read the events of a deployment"))?;
    let read = |(kind, at, details): (String, i64, String)| {
        (kind, at, serde_json::from_str(&details).unwrap_or_default())
    };
    Ok(rows.into_iter().map(read).collect())
}

/// The steps of all attempts: those that the events tell, then those that only the table knows.
pub(super) fn steps(told: &Told) -> Vec<Step> {
    let (mut open, mut done): (Vec<Step>, Vec<Step>) = (Vec::new(), Vec::new());
    for (kind, at, details) in &told.events {
        let text = |key: &str| details[key].as_str().unwrap_or_default().to_owned();
        let name = text("step");
        let of = |open: &[Step]| open.iter().position(|step| step.name == name);
        match kind.as_str() {
            "deployment.step.started" if of(&open).is_none() => open.push(Step {
                name,
                attempt: details["attempt"].as_u64().unwrap_or(1),
                from_ms: *at,
                ..Step::default()
            }),
            "deployment.step.retrying" => {
                if let Some(index) = of(&open)
                    && open[index].retries.len() < MOST_RETRIES
                {
                    open[index].retries.push((*at, text("cause")));
                }
            }
            "deployment.step.finished" | "deployment.step.failed" => {
                if let Some(index) = of(&open) {
                    let mut step = open.remove(index);
                    step.to_ms = *at;
                    if kind.ends_with("failed") {
                        step.cause = text("cause");
                    }
                    done.push(step);
                }
            }
            "deployment.attempt" => done.extend(open.drain(..).map(|step| Step {
                to_ms: *at,
                cause: "the server was restarted in the middle of the work".to_owned(),
                ..step
            })),
            _ => {}
        }
    }
    for row in &told.steps {
        let open = open
            .iter()
            .position(|step| step.name == row.name)
            .map(|at| open.remove(at));
        match open {
            // It ended with the deployment.
            Some(step) => done.push(Step {
                to_ms: row.to_ms,
                cause: row.cause.clone(),
                ..step
            }),
            None if done.iter().any(|step| step.name == row.name) => {}
            None => done.push(row.clone()),
        }
    }
    done.sort_by_key(|step| step.from_ms);
    done
}

/// The spans of a trace, the whole first.
pub(super) fn spans(told: &Told) -> Vec<SpanData> {
    let trace = context::trace_of(told.id);
    let [.., a, b, c, d, e, f, g, h] = told.id.0.to_be_bytes();
    // The random half of the id; the same deployment has the same trace, however often it is sent.
    let root = SpanId::from_bytes([a, b, c, d, e, f, g, h]);
    let id_of = |step: &Step| {
        let digest = blake3::hash(format!("{} {} {}", told.id, step.name, step.from_ms).as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[..8]);
        SpanId::from_bytes(id)
    };
    let mut whole = span(
        context::span(trace, root),
        "deployment",
        time(told.from_ms),
        time(told.to_ms),
    );
    let named = |(key, value): &(&'static str, String)| KeyValue::new(*key, value.clone());
    whole.attributes = told
        .attributes
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(named)
        .collect();
    if let Some(cause) = &told.cause {
        whole.status = Status::error(cause.clone());
    }
    let mut spans = vec![whole];
    for step in steps(told) {
        let context = context::span(trace, id_of(&step));
        let mut made = span(context, step.name.clone(), time(step.from_ms), time(step.to_ms));
        made.parent_span_id = root;
        made.attributes = vec![
            KeyValue::new("imprint.deployment.id", told.id.to_string()),
            KeyValue::new("imprint.step", step.name.clone()),
        ];
        if step.attempt > 0 {
            let attempt = i64::try_from(step.attempt).unwrap_or(i64::MAX);
            made.attributes.push(KeyValue::new("imprint.attempt", attempt));
        }
        if !step.cause.is_empty() {
            made.status = Status::error(step.cause.clone());
        }
        let retry = |(at, cause): &(i64, String)| {
            SpanEvent::new("retry", time(*at), vec![KeyValue::new("cause", cause.clone())], 0)
        };
        made.events.events = step.retries.iter().map(retry).collect();
        spans.push(made);
    }
    spans
}

fn time(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
