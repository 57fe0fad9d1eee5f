use imprint_proto::agent::v1::{Cancelled, Step as S, StepKind as K, outcome};
use jiff::SignedDuration;

use super::rig::*;
use crate::{deploy::*, inventory::NodeState};

async fn node_state(rig: &Rig, machine: &Machine) -> NodeState {
    rig.app().nodes.get(&machine.node_id).await.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_waits_until_the_agent_has_stopped() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await.task_id;
    agent.step(&task, S::Write, K::Started).await;
    let cancelling = rig
        .app()
        .deployments
        .cancel(&admin(), &deployment.id)
        .await
        .unwrap();
    assert_eq!(cancelling.state, DeploymentState::Running);
    assert_eq!(agent.cancelled().await, task);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(
        why.summary.contains("confirm the cancellation") && why.deadline.is_some(),
        "{}",
        why.summary
    );
    agent
        .outcome(
            &task,
            outcome::Result::Cancelled(Cancelled { head_cleared: true }),
        )
        .await;
    let cancelled = rig
        .app()
        .deployments
        .cancel(&admin(), &deployment.id)
        .await
        .unwrap();
    assert_eq!(
        (cancelled.state, cancelled.disk_state),
        (DeploymentState::Cancelled, DiskState::Cleared)
    );
    assert_eq!(node_state(&rig, &machine).await, NodeState::Available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_nobody_confirms_leaves_the_node_failed() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await.task_id;
    agent.step(&task, S::Write, K::Started).await;
    rig.app()
        .deployments
        .cancel(&admin(), &deployment.id)
        .await
        .unwrap();
    rig.clock.advance(SignedDuration::from_secs(90));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Cancelled
    );
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstallation_that_is_cancelled_before_it_begins_leaves_the_system_alone() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    rig.report(&report_token(&task), first_boot(&deployment, "b1"))
        .await
        .unwrap();
    drop(agent);
    rig.until(|app| async move {
        !app.deployments
            .hub()
            .is_connected(&app.nodes.find(&Viewer::All, MAC).await.unwrap().id)
    })
    .await;

    let refused = rig
        .app()
        .deployments
        .create(&admin(), &request(&machine), None)
        .await
        .unwrap_err();
    let DeployError::Refused(reasons) = refused else {
        panic!("{refused}")
    };
    assert_eq!(reasons[0].kind(), "node-active");
    assert!(reasons[0].remedy().contains("reinstall"));
    let request = DeployRequest {
        reinstall: Some(true),
        ..request(&machine)
    };
    let again = rig
        .app()
        .deployments
        .create(&admin(), &request, None)
        .await
        .unwrap();
    assert!(rig.boots_ramdisk().await);
    let cancelled = rig.app().deployments.cancel(&admin(), &again.id).await.unwrap();
    assert_eq!(cancelled.state, DeploymentState::Cancelled);
    assert_eq!(node_state(&rig, &machine).await, NodeState::Active);
    assert!(!rig.boots_ramdisk().await);
    assert!(matches!(
        rig.app().deployments.cancel(&admin(), &deployment.id).await,
        Err(DeployError::Ended { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_a_lost_session_does_not_believe_that_nothing_arrived() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await.task_id;
    drop(agent);
    rig.until_away().await;
    let cancelling = rig
        .app()
        .deployments
        .cancel(&admin(), &deployment.id)
        .await
        .unwrap();
    assert_eq!(cancelling.state, DeploymentState::Running);

    // The agent had taken it, and calls again.
    let mut agent = rig.connect(&machine, hello("boot-1", &task)).await;
    assert_eq!(agent.cancelled().await, task);
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Running
    );
    agent
        .outcome(
            &task,
            outcome::Result::Cancelled(Cancelled { head_cleared: true }),
        )
        .await;
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Cancelled
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_after_a_restart_of_the_controller_knows_that_the_task_was_sent() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    agent.task().await;
    let rig = rig.restart().await;
    drop(agent);
    rig.app()
        .deployments
        .cancel(&admin(), &deployment.id)
        .await
        .unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Running
    );
    rig.clock.advance(SignedDuration::from_secs(90));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);
}
