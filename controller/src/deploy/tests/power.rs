//! Deployments whose server is powered by a BMC. What BMCs do is tried in `tests/tests/redfish`; here nobody answers.

use jiff::SignedDuration;

use super::rig::*;
use crate::{
    deploy::{DeployRequest, Deployment, DeploymentState, Phase},
    power::{BmcKind, NewBmc},
};

async fn has_bmc(rig: &Rig, machine: &Machine) {
    let new = NewBmc {
        kind: BmcKind::Redfish,
        address: "https://127.0.0.1:1".to_owned(),
        user: "root".to_owned(),
        password: Some("secret".to_owned().into()),
        ..NewBmc::manual("")
    };
    rig.app()
        .power
        .set_bmc(&admin(), &machine.node_id, new)
        .await
        .unwrap();
}

/// What BMCs were asked: what, what to boot, for which deployment, and how that stands.
async fn asked(rig: &Rig) -> Vec<(String, String, String, String)> {
    sqlx::query_as("SELECT action, boot, deployment_id, state FROM power_actions ORDER BY id")
        .fetch_all(&rig.app().db)
        .await
        .unwrap()
}

async fn ends(rig: &Rig, state: &str, why: &str) {
    sqlx::query("UPDATE power_actions SET state = ?, why = ?, remedy = 'Look at it.', ended_at = ? WHERE state = 'running'")
        .bind(state)
        .bind(why)
        .bind(rig.clock.now_ms())
        .execute(&rig.app().db)
        .await
        .unwrap();
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
    has_bmc(&rig, &machine).await;
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
    later(&rig, 1200).await;
    assert_eq!(asked(&rig).await.len(), 2);
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    agent.task().await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AgentWorks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_never_helps_is_named_by_the_failure() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    has_bmc(&rig, &machine).await;
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
    has_bmc(&rig, &machine).await;
    let deployment = again(&rig, &machine).await;
    let app = rig.app();
    app.deployments.cancel(&admin(), &deployment.id).await.unwrap();
    app.power
        .boot_ramdisk(&deployment.id, &machine.node_id)
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
