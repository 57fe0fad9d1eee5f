//! A controller whose database is older than the world.

use imprint_proto::agent::v1::{Step as S, StepKind as K};
use jiff::SignedDuration;

use super::rig::*;
use crate::{backup, boot::BootAction, deploy::*, inventory::NodeState};

impl Rig {
    /// A backup of now.
    async fn backup(&self) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::remove_file(&file).unwrap();
        backup::take(&self.app().config.data_dir, &file, &self.clock)
            .await
            .unwrap();
        file
    }

    pub(super) async fn boots_its_disk(&self) -> bool {
        let action = self.app().deployments.boot_action(&facts()).await.unwrap();
        matches!(action, BootAction::LocalDisk { reason, .. } if reason.contains("on hold"))
    }

    pub(super) async fn on_hold(&self, machine: &Machine) -> bool {
        self.app().holds.of(&machine.node_id).await.unwrap().is_some()
    }

    /// What the reconciler does in an hour.
    pub(super) async fn an_hour_passes(&self) {
        for _ in 0..6 {
            self.clock.advance(SignedDuration::from_mins(10));
            self.app().deployments.reconcile().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_into_service_since_is_not_written_again() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until_away().await;
    // In the backup the server is still to come up.
    let deployment = rig.deploy(&machine).await;
    let file = rig.backup().await;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    rig.installs(&mut agent, &task, &deployment).await;
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
    drop(agent);
    rig.until_away().await;

    let rig = rig.restored(&file).await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitAgent);
    assert!(
        rig.boots_its_disk().await,
        "it restarts, and comes up with its own system"
    );
    // Somebody boots the ramdisk by hand: the agent holds nothing, and gets nothing.
    let agent = rig.connect(&machine, hello("boot-3", "")).await;
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(agent.heard().await, []);
    assert!(rig.on_hold(&machine).await);
    assert_eq!(rig.count("alarm.restored-mismatch").await, 1);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(why.summary.contains("restored from a backup"), "{}", why.summary);
    rig.an_hour_passes().await;
    let ended = rig.deployment(&deployment.id).await;
    assert_eq!(ended.state, DeploymentState::Failed);
    assert!(ended.problem.unwrap().remedy.contains("node confirm"));
    assert!(rig.boots_its_disk().await, "whatever became of the deployment");

    // Nothing is deployed on it before somebody has looked.
    let refused = rig
        .app()
        .deployments
        .create(&admin(), &request(&machine), None)
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("node-on-hold"), "{refused:?}");
    let node = rig
        .app()
        .nodes
        .find(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    rig.app().holds.confirm(&admin(), &node).await.unwrap();
    rig.deploy(&machine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_lost_its_agent_is_not_begun_anew() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    let file = rig.backup().await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    rig.report(&report_token(&task), first_boot(&deployment, "b1"))
        .await
        .unwrap();
    drop(agent);
    rig.until_away().await;

    let rig = rig.restored(&file).await;
    assert!(rig.boots_its_disk().await);
    let agent = rig.connect(&machine, hello("boot-9", "")).await;
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(agent.heard().await, []);
    assert_eq!(
        rig.count("deployment.attempt").await,
        0,
        "a restart in the middle is not what happened"
    );
    // The system itself may say what is true.
    rig.report(&report_token(&task), first_boot(&deployment, "b2"))
        .await
        .unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
    let node = rig
        .app()
        .nodes
        .find(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert_eq!(node.state, NodeState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_holds_just_what_the_database_says_goes_on() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    let file = rig.backup().await;
    agent.step(&task.task_id, S::Write, K::Note).await;
    drop(agent);
    rig.until_away().await;

    let rig = rig.restored(&file).await;
    assert!(rig.on_hold(&machine).await);
    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.holds.of(&id).await.unwrap().is_none() }
    })
    .await;
    assert_eq!(agent.task().await.task_id, task.task_id);
    // What it was acknowledged by the controller that is lost, it does not say again.
    agent.sequence = 2;
    agent.step(&task.task_id, S::Write, K::Finished).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitReport);
    assert_eq!(rig.count("node.hold-released").await, 1);
}

/// Its agent has a task that the database does not know, and is neither stopped nor acknowledged.
pub(super) async fn is_left_alone(rig: &Rig, machine: &Machine, task_id: &str, deployment: &Deployment) {
    let mut agent = rig.connect(machine, hello("boot-1", task_id)).await;
    agent.sequence = 1;
    agent.send_outcome(task_id, success(deployment)).await;
    assert_eq!(
        agent.heard().await,
        [],
        "a cancellation would clear the head of the disk"
    );
    assert!(rig.on_hold(machine).await);
    assert_eq!(rig.count("alarm.restored-mismatch").await, 1);
    assert!(rig.boots_its_disk().await);
    let refused = rig
        .app()
        .deployments
        .create(&admin(), &request(machine), None)
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("node-on-hold"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_the_database_does_not_know_is_neither_stopped_nor_acknowledged() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let file = rig.backup().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    drop(agent);
    rig.until_away().await;

    let rig = rig.restored(&file).await;
    is_left_alone(&rig, &machine, &task.task_id, &deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_agent_ends_the_hold_of_a_free_server() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    let file = rig.backup().await;
    drop(agent);
    rig.until_away().await;
    let rig = rig.restored(&file).await;
    assert!(rig.boots_its_disk().await);
    let mut agent = rig.connect(&machine, hello("boot-1", "")).await;
    rig.deploy(&machine).await;
    agent.task().await;
    assert!(!rig.on_hold(&machine).await);
}
