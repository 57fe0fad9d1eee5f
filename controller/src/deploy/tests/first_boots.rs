//! Systems that come up, and do not work.

use imprint_proto::agent::v1::{self as wire, CloudInit, CloudInitState};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tonic::Code;

use super::{requests::post, rig::*};
use crate::{
    deploy::*,
    inventory::{Node, NodeState},
    testing::problem,
};

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn failed_cloud_init(deployment: &Deployment) -> wire::FirstBootReport {
    wire::FirstBootReport {
        cloud_init_status: "error: modules-final: boom".to_owned(),
        cloud_init: Some(CloudInit {
            state: CloudInitState::Ended.into(),
            errors: vec!["modules-final: boom".to_owned()],
            ..CloudInit::default()
        }),
        ..first_boot(deployment, "b1")
    }
}

fn waits(deployment: &Deployment, stage: &str) -> wire::FirstBootReport {
    wire::FirstBootReport {
        waiting_for: format!("cloud-init to end (stage {stage})"),
        ..first_boot(deployment, "b1")
    }
}

/// A deployment whose image is on the disk, and its report token.
async fn written(rig: &Rig) -> (Machine, Deployment, String) {
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    (machine, deployment, report_token(&task))
}

async fn node(rig: &Rig, machine: &Machine) -> Node {
    rig.app().nodes.get(&machine.node_id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_cloud_init_fails_the_deployment_until_somebody_accepts_it() {
    let rig = Rig::start().await;
    let (machine, deployment, token) = written(&rig).await;
    let accept = format!("/v1/deployments/{}/accept", deployment.id);
    let (status, kind, _) = problem(post(&rig, &accept, &json!({})).await).await;
    assert_eq!((status, kind.as_str()), (409, "deployment-not-acceptable"));

    let report = failed_cloud_init(&deployment);
    rig.report(&token, report.clone()).await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    let found = failed.problem.clone().unwrap();
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(found.cause.contains("modules-final: boom"), "{}", found.cause);
    assert!(
        found.remedy.contains("imprint deployment accept"),
        "{}",
        found.remedy
    );
    let view = rig.app().deployments.view(failed).await.unwrap();
    assert!(view.explanation.contains("boom"));
    assert_eq!(
        view.first_boot.unwrap().cloud_init_errors,
        ["modules-final: boom"]
    );
    let step = view.steps.last().unwrap();
    assert_eq!(
        (step.state, step.cause.contains("boom")),
        (StepState::Failed, true)
    );
    let now = node(&rig, &machine).await;
    assert_eq!((now.state, now.problem.is_some()), (NodeState::Failed, true));
    let event = rig.events().await.pop().unwrap();
    assert_eq!(event.kind, "deployment.failed");
    assert!(event.message.contains("boom"), "{}", event.message);
    assert!(!rig.boots_ramdisk().await, "the system stays");
    // Its answer was lost: the same again changes nothing. Another boot may not say that all is well.
    rig.report(&token, report).await.unwrap();
    let again = rig
        .report(&token, first_boot(&deployment, "b2"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated);
    assert_eq!(rig.count("deployment.failed").await, 1);

    let accepted: Value = post(&rig, &accept, &json!({})).await.json().await.unwrap();
    assert_eq!(accepted["state"], "succeeded", "{accepted}");
    assert_eq!(accepted["problem"], Value::Null);
    let now = node(&rig, &machine).await;
    assert_eq!((now.state, now.problem), (NodeState::Active, None));
    assert_eq!(rig.count("deployment.accepted").await, 1);
    let told = rig.events().await.pop().unwrap();
    assert!(told.message.contains("accepted as it is"), "{}", told.message);
    // Once more is no fault.
    assert_eq!(post(&rig, &accept, &json!({})).await.status(), 200);
    assert_eq!(rig.count("deployment.accepted").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_being_replaced_is_not_accepted() {
    let rig = Rig::start().await;
    let (machine, deployment, token) = written(&rig).await;
    rig.report(&token, failed_cloud_init(&deployment)).await.unwrap();
    rig.deploy(&machine).await;
    let accept = format!("/v1/deployments/{}/accept", deployment.id);
    let (status, kind, _) = problem(post(&rig, &accept, &json!({})).await).await;
    assert_eq!((status, kind.as_str()), (409, "deployment-not-acceptable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_up_has_time_while_its_cloud_init_comes_on() {
    let rig = Rig::start().await;
    let (_machine, deployment, token) = written(&rig).await;
    rig.clock.advance(minutes(20));
    rig.report(&token, waits(&deployment, "init")).await.unwrap();
    rig.clock.advance(minutes(20));
    rig.app().deployments.reconcile().await.unwrap();
    rig.report(&token, waits(&deployment, "modules-final"))
        .await
        .unwrap();
    rig.report(&token, waits(&deployment, "modules-final"))
        .await
        .unwrap();
    assert_eq!(rig.count("deployment.system-up").await, 2, "what is new is told");
    let running = rig.deployment(&deployment.id).await;
    let view = rig.app().deployments.view(running).await.unwrap();
    assert_eq!(view.state, DeploymentState::Running);
    assert!(view.explanation.contains("cloud-init"), "{}", view.explanation);
    assert!(view.steps.last().unwrap().detail.contains("modules-final"));
    assert!(view.deadline.is_some());
    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_init_that_does_not_come_on_ends_by_the_deadline_and_may_still_say_how_it_went() {
    let rig = Rig::start().await;
    let (machine, deployment, token) = written(&rig).await;
    rig.report(&token, waits(&deployment, "modules-final"))
        .await
        .unwrap();
    for _ in 0..3 {
        rig.clock.advance(minutes(11));
        // The same again is no progress.
        rig.report(&token, waits(&deployment, "modules-final"))
            .await
            .unwrap();
        rig.app().deployments.reconcile().await.unwrap();
    }
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(failed.problem.unwrap().cause.contains("cloud-init"));
    rig.report(&token, waits(&deployment, "modules-final"))
        .await
        .unwrap();
    rig.report(&token, failed_cloud_init(&deployment)).await.unwrap();
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(failed.problem.unwrap().cause.contains("boom"));
    assert_eq!(node(&rig, &machine).await.state, NodeState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_calls_before_the_agent_s_last_word_is_waited_for() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    let token = report_token(&task);
    drop(agent);
    rig.until_away().await;
    rig.report(&token, waits(&deployment, "init")).await.unwrap();
    let running = rig.deployment(&deployment.id).await;
    assert_eq!(
        (running.state, running.step),
        (DeploymentState::Running, Step::FirstBootReport)
    );
    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    assert_eq!(node(&rig, &machine).await.state, NodeState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_for_users_of_the_image_comes_from_the_request_or_from_the_image() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let app = rig.app();
    let property = async |value: &str| {
        sqlx::query("UPDATE images SET properties = json_object('image_users', ?)")
            .bind(value)
            .execute(&app.db)
            .await
            .unwrap();
    };
    let base = json!({ "node": machine.node_id, "image": "debian" });
    let mut asked = base.clone();
    asked["image_users"] = "sideways".into();
    let (status, kind, remedy) = problem(post(&rig, "/v1/deployments", &asked).await).await;
    assert_eq!((status, kind.as_str()), (422, "bad-image-users"));
    assert!(remedy.contains("remove-keys"), "{remedy}");
    property("of-the-future").await;
    let (_, kind, _) = problem(post(&rig, "/v1/deployments", &base).await).await;
    assert_eq!(kind, "bad-image-users");

    property("lock-passwords").await;
    for (asked, keys, passwords) in [(None, false, true), (Some("remove-keys"), true, false)] {
        let mut body = base.clone();
        if let Some(asked) = asked {
            body["image_users"] = asked.into();
        }
        let begun: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
        assert_eq!(begun["image_users"], asked.unwrap_or("lock-passwords"));
        let warned = begun["warnings"].to_string();
        assert!(warned.contains("reset-password"), "{warned}");
        let task = agent.task().await;
        let plan = deploy_task(&task).finish.clone().unwrap();
        assert_eq!(
            (plan.remove_image_keys, plan.lock_image_passwords),
            (keys, passwords)
        );
        let failed = failure(wire::Step::Write, true);
        agent.outcome(&task.task_id, failed).await;
    }
}
