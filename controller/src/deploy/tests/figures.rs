//! What the metrics make of deployments.

use imprint_proto::agent::v1::{self as wire, Step as S, StepKind as K};
use jiff::SignedDuration;

use super::rig::*;
use crate::{events::NewEvent, metrics};

async fn page(rig: &Rig) -> String {
    rig.app().metrics.render(rig.app()).await.unwrap()
}

fn value(page: &str, series: &str) -> Option<f64> {
    let found = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map(|number| number.parse().unwrap())
}

async fn counts(rig: &Rig, series: &str, wanted: f64) {
    rig.until(|app| async move {
        let page = app.metrics.render(&app).await.unwrap();
        value(&page, series) == Some(wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_retries_and_missed_deadlines_are_counted_once() {
    let rig = Rig::start().await;
    let counting = tokio::spawn(metrics::run(rig.app().clone()));
    let (machine, mut agent) = rig.available().await;
    // Counting has begun when it has seen something.
    rig.until(|app| async move {
        let event = NewEvent {
            kind: "test.begin",
            node_id: None,
            deployment_id: None,
            message: String::new(),
            details: serde_json::json!({}),
        };
        app.events.append(event).await.unwrap();
        let page = app.metrics.render(&app).await.unwrap();
        value(&page, "imprint_events_total{area=\"test\"}").is_some()
    })
    .await;
    counts(&rig, "imprint_agent_sessions", 1.0).await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.step(&task.task_id, S::Write, K::Retrying).await;
    rig.clock.advance(SignedDuration::from_secs(30));
    agent.step(&task.task_id, S::Write, K::Finished).await;
    agent.step(&task.task_id, S::Seed, K::Started).await;
    let running = page(&rig).await;
    assert_eq!(
        value(
            &running,
            "imprint_deployments{state=\"running\",phase=\"agent-works\"}"
        ),
        Some(1.0)
    );
    rig.clock.advance(SignedDuration::from_mins(11));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        crate::deploy::DeploymentState::Failed
    );

    counts(
        &rig,
        "imprint_deployment_deadlines_missed_total{step=\"seed\"}",
        1.0,
    )
    .await;
    counts(&rig, "imprint_deployment_step_retries_total{step=\"write\"}", 1.0).await;
    let write = "imprint_deployment_step_duration_seconds";
    counts(
        &rig,
        &format!("{write}_count{{step=\"write\",result=\"finished\"}}"),
        1.0,
    )
    .await;
    counts(
        &rig,
        &format!("{write}_sum{{step=\"write\",result=\"finished\"}}"),
        30.0,
    )
    .await;
    counts(
        &rig,
        &format!("{write}_count{{step=\"seed\",result=\"failed\"}}"),
        1.0,
    )
    .await;
    counts(
        &rig,
        "imprint_deployment_duration_seconds_count{result=\"failed\"}",
        1.0,
    )
    .await;
    assert_eq!(rig.count("deployment.deadline-missed").await, 1);
    rig.app().shutdown.cancel();
    counting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_the_agent_tells_is_no_missed_deadline() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.outcome(&task.task_id, failure(S::Write, true)).await;
    assert_eq!(rig.count("deployment.failed").await, 1);
    assert_eq!(rig.count("deployment.deadline-missed").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_come_late_are_nobodys() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task_id = agent.task().await.task_id;
    let deployments = &rig.app().deployments;
    let shown = || rig.app().events.progress_of(&machine.node_id, &deployment.id);
    let says = |bytes_done: u64| {
        let progress = wire::Progress {
            task_id: task_id.clone(),
            bytes_done,
            ..wire::Progress::default()
        };
        deployments.take_progress(&machine.node_id, progress)
    };
    for done in [1, 2] {
        says(done).await.unwrap();
        assert_eq!(shown().map(|progress| progress.bytes_done), Some(done));
    }
    rig.clock.advance(SignedDuration::from_mins(11));
    deployments.reconcile().await.unwrap();
    let ended = rig.deployment(&deployment.id).await;
    assert_eq!(ended.state, crate::deploy::DeploymentState::Failed);
    assert_eq!(shown(), None);
    says(3).await.unwrap();
    assert_eq!(shown(), None, "the task has ended");

    // They came when the end was decided and not committed yet: its effects forget them.
    let subject = crate::deploy::hub::Subject {
        task_id: task_id.clone(),
        deployment_id: deployment.id.clone(),
        project_id: String::new(),
        asked_at: rig.clock.now(),
    };
    deployments.hub.set_subject(&machine.node_id, subject);
    says(4).await.unwrap();
    assert!(shown().is_some());
    deployments.act(&ended, &[]).await.unwrap();
    assert_eq!(shown(), None);
    says(5).await.unwrap();
    assert_eq!(shown(), None, "what they are about is forgotten as well");
}
