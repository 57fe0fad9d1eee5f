use imprint_proto::agent::v1::{Step as S, StepKind as K, agent_message};
use tonic::Code;

use super::rig::*;
use crate::{deploy::*, identity::Viewer, inventory::NodeState, store::StoreObject};

async fn rows(rig: &Rig, table: &'static str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&rig.app().db)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_call_to_the_first_boot() {
    let rig = Rig::start().await;
    assert!(rig.boots_ramdisk().await, "an unknown machine is discovered");
    let (machine, mut agent) = rig.available().await;
    assert_eq!(rig.count("node.discovered").await, 1);
    let why = rig.app().deployments.why(&Viewer::All, MAC).await.unwrap();
    assert!(
        why.summary.contains("waits for a deployment") && why.summary.contains("connected"),
        "{}",
        why.summary
    );

    let deployment = rig.deploy(&machine).await;
    let image = rig.app().catalog.find(&Viewer::All, "debian").await.unwrap();
    let manifest = StoreObject::Manifest(image.disks[0].manifest.parse().unwrap());
    let task = agent.task().await;
    assert_eq!(task.task_id, deployment.task_id);
    let plan = deploy_task(&task);
    assert_eq!(
        plan.image.as_ref().unwrap().manifest_url,
        format!("/v1/store/manifests/{}", image.disks[0].manifest)
    );
    let finish = plan.finish.as_ref().unwrap();
    let seed = finish.seed.as_ref().unwrap();
    let network = String::from_utf8(seed.network_config.clone()).unwrap();
    assert!(
        network.contains(MAC) && network.contains("dhcp-identifier: mac") && network.contains("enp0s2"),
        "{network}"
    );
    let meta = String::from_utf8(seed.meta_data.clone()).unwrap();
    assert_eq!(
        meta,
        format!("instance-id: {}\nlocal-hostname: node-abcd01\n", deployment.id)
    );
    assert!(
        finish
            .guest
            .as_ref()
            .unwrap()
            .ca_pem
            .contains("BEGIN CERTIFICATE")
    );
    let token = report_token(&task);
    assert_eq!(token.len(), 64);

    assert!(
        rig.app()
            .deployments
            .store_access(&machine.node_id, &manifest)
            .await
    );
    assert!(!rig.app().deployments.store_access("another", &manifest).await);
    for step in [
        S::ClaimDisk,
        S::Write,
        S::Partitions,
        S::Seed,
        S::Guest,
        S::BootEntry,
    ] {
        agent.step(&task.task_id, step, K::Started).await;
        agent.step(&task.task_id, step, K::Finished).await;
    }
    assert!(rig.boots_ramdisk().await);
    agent.progress(&task.task_id, 1 << 20).await;
    rig.until(|app| {
        let id = deployment.id.clone();
        async move {
            let view = app
                .deployments
                .view(app.deployments.get(&Viewer::All, &id).await.unwrap())
                .await
                .unwrap();
            view.progress
                .is_some_and(|progress| progress.bytes_done == 1 << 20)
        }
    })
    .await;
    agent.step(&task.task_id, S::Reboot, K::Started).await;

    // What is sent again changes nothing.
    let before = rig.count("deployment.step.started").await;
    agent
        .send(agent_message::Message::Step(step_event(
            &task.task_id,
            1,
            S::ClaimDisk,
            K::Started,
        )))
        .await;
    assert_eq!(agent.acked().await, agent.sequence);
    assert_eq!(rig.count("deployment.step.started").await, before);

    let early = rig
        .report("wrong", first_boot(&deployment, "b1"))
        .await
        .unwrap_err();
    assert_eq!(early.code(), Code::Unauthenticated);
    agent.outcome(&task.task_id, success(&deployment)).await;
    // The acknowledgement is the promise that all of this is kept.
    assert!(!rig.boots_ramdisk().await, "the next boot goes to the local disk");
    assert_eq!(rows(&rig, "deployment_secrets").await, 0);
    assert!(
        !rig.app()
            .deployments
            .store_access(&machine.node_id, &manifest)
            .await
    );
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(
        why.summary.contains("installed system") && why.deadline.is_some(),
        "{}",
        why.summary
    );
    drop(agent);

    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    rig.report(&token, first_boot(&deployment, "b1")).await.unwrap();
    let other = rig
        .report(&token, first_boot(&deployment, "b2"))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::Unauthenticated);
    assert_eq!(rig.count("deployment.first-boot").await, 1);
    let view = rig
        .app()
        .deployments
        .view(rig.deployment(&deployment.id).await)
        .await
        .unwrap();
    assert_eq!(view.state, DeploymentState::Succeeded);
    assert_eq!(view.first_boot.unwrap().boot_id, "b1");
    assert_eq!(
        (view.boot_entry.as_deref(), view.write.unwrap().bytes_written),
        (Some("Boot0003 debian"), 4 << 20)
    );
    let steps: Vec<_> = view
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.state.as_str()))
        .collect();
    let names = [
        "power",
        "boot",
        "claim_disk",
        "write",
        "partitions",
        "seed",
        "guest",
        "boot_entry",
        "reboot",
        "first_boot_report",
    ];
    assert_eq!(steps, names.map(|name| (name, "finished")));
    assert_eq!(
        rig.app().nodes.get(&machine.node_id).await.unwrap().state,
        NodeState::Active
    );
    assert!(!rig.boots_ramdisk().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_disk_ends_with_the_agents_work() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let request = DeployRequest {
        finish: Some(false),
        user_data: None,
        ..request(&machine)
    };
    let deployment = rig
        .app()
        .deployments
        .create(&admin(), &request, None)
        .await
        .unwrap();
    let task = agent.task().await;
    assert!(deploy_task(&task).finish.is_none() && !deploy_task(&task).reboot);
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
    assert_eq!(
        rig.app().nodes.get(&machine.node_id).await.unwrap().state,
        NodeState::Available
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_names_step_cause_and_remedy_and_may_be_tried_again() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, failure(S::Write, true)).await;
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(
        (failed.state, failed.disk_state),
        (DeploymentState::Failed, DiskState::Cleared)
    );
    let node = rig.app().nodes.get(&machine.node_id).await.unwrap();
    let problem = node.problem.unwrap();
    assert_eq!(
        (node.state, problem.step.as_str(), problem.cause.as_str()),
        (NodeState::Failed, "write", "no space")
    );
    assert_eq!(problem.remedy, "a larger disk");
    assert!(rig.boots_ramdisk().await);
    assert_eq!(
        rows(&rig, "deployment_secrets").await + rows(&rig, "report_tokens").await,
        0
    );
    let view = rig.app().deployments.view(failed).await.unwrap();
    let write = view.steps.iter().find(|step| step.step == Step::Write).unwrap();
    assert_eq!(
        (write.state, write.cause.as_str()),
        (StepState::Failed, "no space")
    );

    // A wrong image is no success, whatever the agent calls it.
    let again = rig.deploy(&machine).await;
    let task = agent.task().await;
    assert_eq!(task.task_id, again.task_id);
    agent.sequence = 0;
    let other = Deployment {
        image_digest: "00".repeat(32),
        ..again.clone()
    };
    agent.unwanted_outcome(&task.task_id, success(&other)).await;
    assert_eq!(rig.deployment(&again.id).await.state, DeploymentState::Failed);
}
