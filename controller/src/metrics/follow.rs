//! What happened, counted from the event log by one follower.
//!
//! Counting begins with the controller. Of a deployment that was begun by an earlier one, only what happens from now on
//! is counted.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use serde_json::Value;

use super::{
    Families,
    labels::{AreaLabels, KindLabels, ResultLabels, StepEndLabels, StepLabels},
};
use crate::{
    api::rest::problem::chain,
    app::App,
    deploy::{Step, StepState, WriteFigures},
    events::{DatabaseError, Event, EventQuery, Live, NodeProgress, doing},
    ticks::Ticks,
};

/// How soon the log is followed again after the database has refused it.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Kinds of events are words of this program; more of them than this would be a mistake of it.
const MOST_KINDS: usize = 64;

/// Counts until the controller ends.
pub async fn run(app: App) {
    let mut ticks = Ticks::every(AGAIN, app.shutdown.clone());
    let mut counting = None;
    while ticks.next().await {
        if let Err(error) = count(&app, &mut counting).await {
            tracing::warn!(error = %chain(&error), "events could not be counted for the metrics");
        }
    }
}

async fn count(app: &App, counting: &mut Option<Counting>) -> Result<(), DatabaseError> {
    let counting = match counting {
        Some(counting) => counting,
        None => counting.insert(Counting::new(app).await?),
    };
    let query = EventQuery {
        after: counting.after,
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, app.shutdown.child_token()));
    while let Some(next) = live.next().await {
        match next? {
            Live::Event(event) => counting.take(&event).await?,
            Live::Progress(progress) => counting.figures(&progress),
            Live::Gone(up_to) => counting.after = up_to,
        }
    }
    Ok(())
}

/// What an agent has moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    received: u64,
    written: u64,
    retries: u32,
}

/// How far the log is counted.
#[derive(Debug)]
pub(super) struct Counting {
    app: App,
    families: Families,
    after: i64,
    /// When counting began, in milliseconds since 1970.
    since: i64,
    moved: HashMap<String, Moved>,
    /// Of running deployments: the steps that are counted, with their starts.
    steps: HashMap<String, HashSet<(String, i64)>>,
    areas: HashSet<String>,
    alarms: HashSet<String>,
}

impl Counting {
    /// From now on.
    pub(super) async fn new(app: &App) -> Result<Self, DatabaseError> {
        Ok(Self {
            families: app.metrics.families().clone(),
            after: app.events.newest().await?,
            since: app.clock.now_ms(),
            app: app.clone(),
            moved: HashMap::new(),
            steps: HashMap::new(),
            areas: HashSet::new(),
            alarms: HashSet::new(),
        })
    }

    /// Counts one event, the next one of the log.
    pub(super) async fn take(&mut self, event: &Event) -> Result<(), DatabaseError> {
        self.name(event);
        if let Some(id) = &event.deployment_id {
            self.deployment(id, event).await?;
        }
        self.after = event.id;
        Ok(())
    }

    fn name(&mut self, event: &Event) {
        let area = event.kind.split('.').next().unwrap_or_default();
        let area = known(&mut self.areas, area);
        self.families.events.get_or_create(&AreaLabels { area }).inc();
        if let Some(alarm) = event.kind.strip_prefix("alarm.") {
            let kind = known(&mut self.alarms, alarm);
            self.families.alarms.get_or_create(&KindLabels { kind }).inc();
        }
    }

    async fn deployment(&mut self, id: &str, event: &Event) -> Result<(), DatabaseError> {
        let families = self.families.clone();
        match event.kind.as_str() {
            "deployment.created" => {
                families.deployments_started.inc();
                self.moved.insert(id.to_owned(), Moved::default());
            }
            "deployment.attempt" => {
                families.restarts.inc();
                self.settle(id).await?;
                self.moved.insert(id.to_owned(), Moved::default());
            }
            "deployment.step.retrying" => {
                if let Some(step) = step_of(&event.details) {
                    families.step_retries.get_or_create(&StepLabels { step }).inc();
                }
            }
            "deployment.deadline-missed" => {
                if let Some(step) = step_of(&event.details) {
                    families
                        .deadlines_missed
                        .get_or_create(&StepLabels { step })
                        .inc();
                }
            }
            "deployment.step.finished" | "deployment.step.failed" => self.steps(id).await?,
            "deployment.written" => {
                self.steps(id).await?;
                self.settle(id).await?;
            }
            // One that is late was counted when it was given up.
            "deployment.succeeded" if event.details["late"] == Value::Bool(true) => {}
            "deployment.succeeded" => self.end(id, "succeeded").await?,
            "node.released" => self.end(id, "released").await?,
            "node.rescue.ended" => self.end(id, "rescued").await?,
            "deployment.failed" => self.end(id, "failed").await?,
            "deployment.cancelled" => self.end(id, "cancelled").await?,
            _ => {}
        }
        Ok(())
    }

    async fn end(&mut self, id: &str, result: &'static str) -> Result<(), DatabaseError> {
        self.steps(id).await?;
        self.settle(id).await?;
        self.steps.remove(id);
        self.moved.remove(id);
        let times: Option<(i64, Option<i64>)> =
            sqlx::query_as("SELECT created_at, finished_at FROM deployments WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.app.db)
                .await
                .map_err(doing("read the times of a deployment"))?;
        if let Some((from, Some(to))) = times {
            self.families
                .deployment_seconds
                .get_or_create(&ResultLabels { result })
                .observe(seconds(from, to));
        }
        Ok(())
    }

    /// Counts the steps that have ended and are not counted yet.
    async fn steps(&mut self, id: &str) -> Result<(), DatabaseError> {
        let ended: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT step, state, started_at, finished_at FROM deployment_steps \
             WHERE deployment_id = ? AND finished_at >= ?",
        )
        .bind(id)
        .bind(self.since)
        .fetch_all(&self.app.db)
        .await
        .map_err(doing("read the steps of a deployment"))?;
        let counted = self.steps.entry(id.to_owned()).or_default();
        for (step, state, from, to) in ended {
            let (Ok(step), Ok(state)) = (step.parse::<Step>(), state.parse::<StepState>()) else {
                continue;
            };
            if !counted.insert((step.to_string(), from)) {
                continue;
            }
            let labels = StepEndLabels {
                step: step.as_str(),
                result: state.as_str(),
            };
            self.families
                .step_seconds
                .get_or_create(&labels)
                .observe(seconds(from, to));
        }
        Ok(())
    }

    /// Takes the newest figures of an agent. Some were left out; the sum is not.
    pub(super) fn figures(&mut self, news: &NodeProgress) {
        let now = Moved {
            received: news.progress.bytes_fetched,
            written: news.progress.bytes_written,
            retries: news.progress.retries,
        };
        match self.moved.get(&news.deployment_id).copied() {
            Some(before) => self.moved(&news.deployment_id, before, now),
            // Begun under an earlier controller: what was moved until now is not ours to count.
            None => drop(self.moved.insert(news.deployment_id.clone(), now)),
        }
    }

    fn moved(&mut self, id: &str, before: Moved, now: Moved) {
        let families = &self.families;
        families
            .agent_received_bytes
            .inc_by(now.received.saturating_sub(before.received));
        families
            .agent_written_bytes
            .inc_by(now.written.saturating_sub(before.written));
        families
            .agent_fetch_retries
            .inc_by(now.retries.saturating_sub(before.retries).into());
        self.moved.insert(id.to_owned(), now);
    }

    /// Counts what the agent says in its outcome, beyond the last figures that were seen.
    async fn settle(&mut self, id: &str) -> Result<(), DatabaseError> {
        let Some(before) = self.moved.get(id).copied() else {
            return Ok(());
        };
        let figures: Option<Option<String>> =
            sqlx::query_scalar("SELECT write_figures FROM deployments WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.app.db)
                .await
                .map_err(doing("read the figures of a deployment"))?;
        let Some(figures) = figures
            .flatten()
            .and_then(|text| serde_json::from_str::<WriteFigures>(&text).ok())
        else {
            return Ok(());
        };
        let now = Moved {
            received: figures.bytes_fetched.max(before.received),
            written: figures.bytes_written.max(before.written),
            retries: figures.retries.max(before.retries),
        };
        self.moved(id, before, now);
        Ok(())
    }
}

/// The word, or `other` when there are too many different ones.
fn known(words: &mut HashSet<String>, word: &str) -> String {
    if !words.contains(word) {
        if words.len() >= MOST_KINDS {
            return "other".to_owned();
        }
        words.insert(word.to_owned());
    }
    word.to_owned()
}

fn step_of(details: &Value) -> Option<&'static str> {
    let step: Step = details["step"].as_str()?.parse().ok()?;
    Some(step.as_str())
}

fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / 1000.0
}
