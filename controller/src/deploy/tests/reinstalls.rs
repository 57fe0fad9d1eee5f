use imprint_proto::agent::v1::{self as wire, Step as S, StepKind as K, outcome};
use jiff::SignedDuration;

use super::rig::*;
use crate::{deploy::*, inventory::NodeState};

async fn node_state(rig: &Rig, machine: &Machine) -> NodeState {
    rig.app().nodes.get(&machine.node_id).await.unwrap().state
}

async fn again(rig: &Rig, machine: &Machine, finish: bool) -> Deployment {
    let request = DeployRequest {
        reinstall: Some(true),
        finish: Some(finish),
        user_data: None,
        ..request(machine)
    };
    rig.app()
        .deployments
        .create(&admin(), &request, None)
        .await
        .unwrap()
}

/// A success on the disk with this serial number.
fn success_on(deployment: &Deployment, serial: &str) -> outcome::Result {
    let outcome::Result::Success(mut success) = success(deployment) else {
        unreachable!()
    };
    success.disk.as_mut().unwrap().serial = serial.to_owned();
    outcome::Result::Success(success)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstallation_whose_ramdisk_never_came_up_leaves_the_node_in_service() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    for powered in [false, true] {
        let deployment = again(&rig, &machine, true).await;
        if powered {
            assert!(rig.boots_ramdisk().await);
        }
        rig.clock.advance(SignedDuration::from_mins(30));
        rig.app().deployments.reconcile().await.unwrap();
        let failed = rig.deployment(&deployment.id).await;
        assert_eq!(failed.state, DeploymentState::Failed);
        assert!(failed.problem.is_some(), "the reason is kept with the deployment");
        let node = rig.app().nodes.get(&machine.node_id).await.unwrap();
        assert_eq!((node.state, node.problem), (NodeState::Active, None));
        assert!(!rig.boots_ramdisk().await, "it goes back to its system");
        let why = rig
            .app()
            .deployments
            .why(&Viewer::All, &machine.node_id)
            .await
            .unwrap();
        assert!(
            why.summary.contains("runs its own system") && why.summary.contains("failed"),
            "{}",
            why.summary
        );
        assert_eq!(why.problem, failed.problem);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstallation_whose_task_was_sent_may_have_written() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let deployment = again(&rig, &machine, true).await;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    agent.task().await;
    drop(agent);
    rig.until_away().await;
    rig.clock.advance(SignedDuration::from_mins(30));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Failed
    );
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);

    // And what is not known stays unknown with the next deployment.
    again(&rig, &machine, true).await;
    rig.clock.advance(SignedDuration::from_mins(30));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_system_fails_as_before() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until_away().await;
    rig.deploy(&machine).await;
    rig.clock.advance(SignedDuration::from_mins(30));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);
    assert!(rig.boots_ramdisk().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_disk_leaves_an_active_node_active_unless_it_was_the_systems_disk() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    for (serial, expected) in [
        ("D2", NodeState::Active),
        ("D2", NodeState::Active),
        ("D1", NodeState::Available),
    ] {
        let deployment = again(&rig, &machine, false).await;
        let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
        let task = agent.task().await;
        agent.step(&task.task_id, S::Write, K::Started).await;
        agent
            .outcome(&task.task_id, success_on(&deployment, serial))
            .await;
        assert_eq!(
            rig.deployment(&deployment.id).await.state,
            DeploymentState::Succeeded
        );
        assert_eq!(node_state(&rig, &machine).await, expected, "{serial}");
        assert_eq!(rig.boots_ramdisk().await, expected == NodeState::Available);
        drop(agent);
        rig.until_away().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_disk_that_failed_and_then_succeeded_brings_the_node_back() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    again(&rig, &machine, false).await;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent
        .outcome(&task.task_id, failure(wire::Step::Write, true))
        .await;
    assert_eq!(node_state(&rig, &machine).await, NodeState::Failed);

    let deployment = again(&rig, &machine, false).await;
    let task = agent.task().await;
    agent.sequence = 0;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, success_on(&deployment, "D2")).await;
    assert_eq!(node_state(&rig, &machine).await, NodeState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstallation_that_names_nothing_is_as_the_last_installation() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    let nothing = DeployRequest {
        node: machine.node_id.clone(),
        reinstall: Some(true),
        ..DeployRequest::default()
    };
    let deployments = &rig.app().deployments;
    // There was none.
    let refused = deployments.create(&admin(), &nothing, None).await;
    assert!(matches!(&refused, Err(DeployError::Refused(_))), "{refused:?}");
    drop(agent);
    rig.until_away().await;

    let request = DeployRequest {
        disk: Some("serial=D1".to_owned()),
        ..request(&machine)
    };
    let first = deployments.create(&admin(), &request, None).await.unwrap();
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    rig.installs(&mut agent, &task, &first).await;
    drop(agent);
    rig.until_away().await;
    let plan = deployments.plan(&admin(), &nothing).await.unwrap();
    assert_eq!(plan.image_name, "debian");
    let second = deployments.create(&admin(), &nothing, None).await.unwrap();
    assert_eq!(
        (&second.image_id, &second.disk_rule),
        (&first.image_id, &first.disk_rule)
    );
    assert_eq!(second.disk_rule, "serial=D1");
}
