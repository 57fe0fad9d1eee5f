//! Deployments whose server is powered by a BMC. What BMCs do is tried in `tests/tests/redfish`; here nobody answers.

use jiff::SignedDuration;

use imprint_proto::agent::v1 as wire;

use super::rig::*;
use crate::{
    deploy::{DeployRequest, Deployment, DeploymentState, Effect, Phase},
    power::NewBmc,
};

/// What BMCs were asked: what, what to boot, for which deployment, and how that stands.
async fn asked(rig: &Rig) -> Vec<(String, String, String, String)> {
    sqlx::query_as("SELECT action, boot, deployment_id, state FROM power_actions ORDER BY id")
        .fetch_all(&rig.app().db)
        .await
        .unwrap()
}

async fn ends(rig: &Rig, state: &str, why: &str) {
    power_ends(rig, state, why).await;
}

/// A running system is to be replaced.
async fn again(rig: &Rig, machine: &Machine) -> Deployment {
    let request = DeployRequest {
        reinstall: Some(true),
        user_data: None,
        ..request(machine)
    };
    let deployments = &rig.app().deployments;
    deployments.create(&admin(), &request, None).await.unwrap()
}

async fn later(rig: &Rig, seconds: i64) {
    rig.clock.advance(SignedDuration::from_secs(seconds));
    rig.app().deployments.reconcile().await.unwrap();
}

async fn why(rig: &Rig, machine: &Machine) -> String {
    let why = rig.app().deployments.why(&Viewer::All, &machine.node_id).await;
    why.unwrap().waiting_for.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_is_asked_once_and_a_server_that_boots_anyway_goes_on() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    has_bmc(&rig, &machine.node_id).await;
    let deployment = again(&rig, &machine).await;
    later(&rig, 1).await;
    assert!(asked(&rig).await.is_empty());
    later(&rig, 20).await;
    later(&rig, 1).await;
    let once = |state: &str| -> (String, String, String, String) {
        ["cycle", "pxe", deployment.id.as_str(), state]
            .map(str::to_owned)
            .into()
    };
    assert_eq!(asked(&rig).await, vec![once("running")]);
    assert!(why(&rig, &machine).await.contains("BMC is to have it boot"));
    ends(&rig, "failed", "nobody answers").await;
    let told = why(&rig, &machine).await;
    for part in ["nobody answers", "Look at it.", "by hand"] {
        assert!(told.contains(part), "{told}");
    }
    later(&rig, 61).await;
    assert_eq!(asked(&rig).await, vec![once("failed"), once("running")]);
    ends(&rig, "done", "").await;
    assert!(why(&rig, &machine).await.contains("waits for it to ask"));
    // It has asked: nobody switches it off again.
    assert!(rig.boots_ramdisk().await);
    later(&rig, 119).await;
    assert_eq!(asked(&rig).await.len(), 2);
    later(&rig, 1000).await;
    let by_now = asked(&rig).await;
    assert_eq!(by_now.len(), 3);
    assert_eq!(by_now[2].0, "on", "only switched on, should it be off");
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    agent.task().await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AgentWorks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_never_helps_is_named_by_the_failure() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    has_bmc(&rig, &machine.node_id).await;
    let deployment = again(&rig, &machine).await;
    later(&rig, 20).await;
    for _ in 0..8 {
        ends(&rig, "failed", "the fuse has blown").await;
        later(&rig, 200).await;
    }
    assert_eq!(asked(&rig).await.len(), 3);
    later(&rig, 3600).await;
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    let problem = failed.problem.unwrap();
    assert!(problem.cause.contains("the fuse has blown"), "{problem:?}");
    assert!(
        problem.remedy.contains("Look at it.") && problem.remedy.contains("by hand"),
        "{problem:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_switched_off_for_a_deployment_that_waits_no_more() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    has_bmc(&rig, &machine.node_id).await;
    let deployment = again(&rig, &machine).await;
    let app = rig.app();
    app.deployments.cancel(&admin(), &deployment.id).await.unwrap();
    app.power
        .have_boot(&deployment.id, &machine.node_id, Effect::BootRamdisk)
        .await
        .unwrap();
    later(&rig, 60).await;
    assert!(asked(&rig).await.is_empty());
    // Nor without a BMC, and what is known of the server is told.
    app.power
        .set_bmc(&admin(), &machine.node_id, NewBmc::manual("rack 4, unit 12"))
        .await
        .unwrap();
    again(&rig, &machine).await;
    later(&rig, 60).await;
    assert!(asked(&rig).await.is_empty());
    assert!(why(&rig, &machine).await.contains("rack 4, unit 12"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_lost_in_mid_work_is_switched_on_again() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    has_bmc(&rig, &machine.node_id).await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent
        .step(&task.task_id, wire::Step::ClaimDisk, wire::StepKind::Started)
        .await;
    drop(agent);
    rig.until_away().await;
    later(&rig, 119).await;
    assert!(asked(&rig).await.is_empty(), "a network that was cut comes back");
    later(&rig, 2).await;
    let by_now = asked(&rig).await;
    // Only switched on: whoever works there goes on.
    let on = |boot: &str, state: &str| -> (String, String, String, String) {
        ["on", boot, deployment.id.as_str(), state]
            .map(str::to_owned)
            .into()
    };
    assert_eq!(by_now, vec![on("pxe", "running")]);
    ends(&rig, "done", "").await;
    assert!(rig.boots_ramdisk().await);
    later(&rig, 30).await;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let again = agent.task().await;
    assert_ne!(again.task_id, task.task_id, "the machine has lost the first one");
    agent
        .step(&again.task_id, wire::Step::Write, wire::StepKind::Started)
        .await;
    agent.outcome(&again.task_id, success(&deployment)).await;
    drop(agent);
    rig.until_away().await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitReport);
    later(&rig, 121).await;
    let by_now: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT action, boot FROM power_actions ORDER BY id")
            .fetch_all(&rig.app().db)
            .await
            .unwrap();
    assert_eq!(by_now.len(), 2);
    assert_eq!(by_now[1], ("on".to_owned(), None), "it has its own system");
}
