use imprint_proto::agent::v1::{Step as S, StepKind as K};
use jiff::SignedDuration;
use tonic::Code;

use super::rig::*;
use crate::{deploy::*, inventory::NodeState};

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_boots_fails_with_a_remedy() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until(|app| async move {
        !app.deployments
            .hub()
            .is_connected(&app.nodes.find(&Viewer::All, MAC).await.unwrap().id)
    })
    .await;
    let deployment = rig.deploy(&machine).await;
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(
        why.summary.contains("power it on or restart it"),
        "{}",
        why.summary
    );
    assert_eq!(why.deadline, Some(rig.clock.now() + minutes(30)));
    let view = rig.app().deployments.view(deployment.clone()).await.unwrap();
    assert_eq!(
        (view.steps.len(), view.steps[0].step, view.steps[0].state),
        (1, Step::Power, StepState::Running)
    );

    // The first question to the boot services shows that it has power; more of them move nothing.
    rig.clock.advance(minutes(20));
    assert!(rig.boots_ramdisk().await);
    rig.clock.advance(minutes(20));
    assert!(rig.boots_ramdisk().await);
    rig.app().deployments.reconcile().await.unwrap();
    let waiting = rig.deployment(&deployment.id).await;
    assert_eq!(
        (waiting.state, waiting.step),
        (DeploymentState::Running, Step::Boot)
    );
    rig.clock.advance(minutes(10));
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    let problem = failed.problem.unwrap();
    assert_eq!(
        (failed.state, problem.step.as_str()),
        (DeploymentState::Failed, "boot")
    );
    assert!(problem.remedy.contains("console"));
    assert!(
        rig.boots_ramdisk().await,
        "so that the operator can look and try again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_longer_because_the_clock_was_wrong_by_a_year() {
    for restarts in [false, true] {
        let mut rig = Rig::start().await;
        let (machine, mut agent) = rig.available().await;
        let deployment = rig.deploy(&machine).await;
        let task = agent.task().await;
        agent.step(&task.task_id, S::Write, K::Started).await;
        agent.progress(&task.task_id, 1).await;
        rig.app().deployments.reconcile().await.unwrap();
        rig.clock.advance(SignedDuration::from_hours(-24 * 365));
        if restarts {
            drop(agent);
            rig = rig.restart().await;
        }
        rig.app().deployments.reconcile().await.unwrap();
        rig.clock.advance(minutes(9));
        rig.app().deployments.reconcile().await.unwrap();
        let state = rig.deployment(&deployment.id).await.state;
        assert_eq!(state, DeploymentState::Running, "{restarts}");
        // An agent that is away may be on its way back.
        rig.clock.advance(minutes(if restarts { 30 } else { 1 }));
        rig.app().deployments.reconcile().await.unwrap();
        let state = rig.deployment(&deployment.id).await.state;
        assert_eq!(state, DeploymentState::Failed, "{restarts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_on_progress() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    let token = report_token(&task);
    agent.step(&task.task_id, S::Write, K::Started).await;
    for done in 1..=4 {
        rig.clock.advance(minutes(9));
        agent.progress(&task.task_id, done).await;
        rig.until(|app| {
            let id = machine.node_id.clone();
            let deployment = deployment.id.clone();
            async move {
                app.events
                    .progress_of(&id, &deployment)
                    .is_some_and(|progress| progress.bytes_done == done)
            }
        })
        .await;
        rig.app().deployments.reconcile().await.unwrap();
        assert_eq!(
            rig.deployment(&deployment.id).await.state,
            DeploymentState::Running,
            "after {done}"
        );
    }
    // Figures that stand still and retries are no progress.
    rig.clock.advance(minutes(9));
    agent.progress(&task.task_id, 4).await;
    agent.step(&task.task_id, S::Write, K::Retrying).await;
    rig.clock.advance(minutes(1));
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    let problem = failed.problem.clone().unwrap();
    assert_eq!(
        (failed.state, problem.step.as_str()),
        (DeploymentState::Failed, "write")
    );
    assert!(problem.cause.contains("10 minutes"), "{}", problem.cause);
    assert_eq!(agent.cancelled().await, task.task_id);
    assert_eq!(
        rig.app().nodes.get(&machine.node_id).await.unwrap().state,
        NodeState::Failed
    );
    let refused = rig
        .report(&token, first_boot(&deployment, "b1"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    // A new deployment waits until the agent has given up the old task.
    let again = rig.deploy(&machine).await;
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(why.summary.contains("give up the task"), "{}", why.summary);
    agent
        .outcome(
            &task.task_id,
            imprint_proto::agent::v1::outcome::Result::Cancelled(Default::default()),
        )
        .await;
    assert_eq!(agent.task().await.task_id, again.task_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_after_the_deadline_is_told_to_stop() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    drop(agent);
    rig.until(|app| async move {
        !app.deployments
            .hub()
            .is_connected(&app.nodes.find(&Viewer::All, MAC).await.unwrap().id)
    })
    .await;
    rig.clock.advance(minutes(29));
    rig.app().deployments.reconcile().await.unwrap();
    let waiting = rig.deployment(&deployment.id).await;
    assert_eq!(
        waiting.state,
        DeploymentState::Running,
        "a server may take its time to restart"
    );
    rig.clock.advance(minutes(1));
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(failed.problem.unwrap().cause.contains("lost"));

    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    assert_eq!(agent.cancelled().await, task.task_id);
    agent.sequence = 1;
    agent.unwanted_outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Failed,
        "it stays as it was told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_never_reports_fails() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    rig.clock.advance(minutes(30));
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.problem.unwrap().step, "first_boot_report");
    assert!(!rig.boots_ramdisk().await, "its disk holds a whole system");
    assert_eq!(
        rig.app().nodes.get(&machine.node_id).await.unwrap().state,
        NodeState::Failed
    );

    // It had only been slow: what it reports late ends the deployment well.
    rig.clock.advance(minutes(30));
    let token = report_token(&task);
    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    let succeeded = rig.deployment(&deployment.id).await;
    assert_eq!(
        (succeeded.state, succeeded.problem),
        (DeploymentState::Succeeded, None)
    );
    let node = rig.app().nodes.get(&machine.node_id).await.unwrap();
    assert_eq!((node.state, node.problem), (NodeState::Active, None));
    let event = rig.events().await.pop().unwrap();
    assert_eq!(event.kind, "deployment.succeeded");
    assert!(event.message.contains("late"), "{}", event.message);
    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    assert_eq!(rig.count("deployment.succeeded").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_report_of_a_system_that_is_being_replaced_is_refused() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    rig.clock.advance(minutes(30));
    rig.app().deployments.reconcile().await.unwrap();
    rig.deploy(&machine).await;
    let late = rig
        .report(&report_token(&task), first_boot(&deployment, "b1"))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::Unauthenticated);
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Failed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_cannot_be_read_stops_no_other() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until_away().await;
    let deployment = rig.deploy(&machine).await;
    // An older id, so that it comes first.
    sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES ('0', 'other', 'deploying', 0)")
        .execute(&rig.app().db)
        .await
        .unwrap();
    for statement in [
        "CREATE TABLE damaged AS SELECT * FROM deployments",
        "UPDATE damaged SET id = '0', node_id = '0', task_id = '0', phase = 'of-the-future'",
        "INSERT INTO deployments SELECT * FROM damaged",
        "INSERT INTO deployment_tasks (task_id, deployment_id, node_id, attempt, created_at) VALUES ('0', '0', '0', 1, 0)",
        "DROP TABLE damaged",
    ] {
        let mut connection = rig.app().db.acquire().await.unwrap();
        sqlx::query(statement).execute(&mut *connection).await.unwrap();
    }
    rig.clock.advance(minutes(30));
    for _ in 0..3 {
        rig.app().deployments.reconcile().await.unwrap();
    }
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Failed
    );
    assert_eq!(rig.count("alarm.deployment-unreadable").await, 1);
}
