use imprint_proto::agent::v1::{Step as S, StepKind as K, agent_message};
use jiff::SignedDuration;
use tonic::Code;

use super::rig::*;
use crate::deploy::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_restarts_in_the_middle_and_nothing_is_repeated() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::ClaimDisk, K::Started).await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    let first_token = report_token(&task);

    // 550 and 500 seconds are more than a step may stand still, but nobody watched all the time.
    rig.clock.advance(SignedDuration::from_secs(550));
    let rig = rig.restart().await;
    assert_eq!(agent.try_next().await.unwrap_err().code(), Code::Unavailable);
    rig.clock.advance(SignedDuration::from_secs(500));
    rig.app().deployments.reconcile().await.unwrap();
    assert!(rig.boots_ramdisk().await);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(why.summary.contains("not connected"), "{}", why.summary);

    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    let same = agent.task().await;
    assert_eq!(same.task_id, task.task_id);
    // The agent did not see the last acknowledgement.
    let started = rig.count("deployment.step.started").await;
    agent
        .send(agent_message::Message::Step(step_event(
            &task.task_id,
            2,
            S::Write,
            K::Started,
        )))
        .await;
    assert_eq!(agent.acked().await, 2);
    assert_eq!(rig.count("deployment.step.started").await, started);
    agent.sequence = 2;
    agent.step(&task.task_id, S::Write, K::Finished).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitReport);

    // The agent went on with the task it held, with the token of that time.
    let rig = rig.restart().await;
    rig.report(&first_token, first_boot(&deployment, "b1"))
        .await
        .unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
    assert_eq!(rig.count("deployment.attempt").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_whose_acknowledgement_was_lost_is_acknowledged_again() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    drop(agent);
    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    agent.sequence = 1;
    agent.outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(rig.count("deployment.written").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_lost_its_task_gets_a_new_attempt() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let mut tasks = vec![agent.task().await.task_id];
    for attempt in 2..=3 {
        agent.sequence = 0;
        agent.step(tasks.last().unwrap(), S::Write, K::Started).await;
        agent = rig.connect(&machine, hello(&format!("boot-{attempt}"), "")).await;
        let task = agent.task().await.task_id;
        assert!(!tasks.contains(&task));
        tasks.push(task);
        assert_eq!(rig.deployment(&deployment.id).await.attempt, attempt);
    }
    agent.step(tasks.last().unwrap(), S::Write, K::Started).await;
    drop(rig.connect(&machine, hello("boot-4", "")).await);
    let failed = rig.deployment(&deployment.id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    assert!(failed.problem.unwrap().cause.contains("restarted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_took_nothing_yet_gets_the_same_task_again() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    rig.deploy(&machine).await;
    let task = agent.task().await.task_id;
    let mut second = rig.connect(&machine, hello("boot-2", "")).await;
    assert_eq!(second.task().await.task_id, task);
    // The second session has ended the first one.
    assert_eq!(agent.try_next().await.unwrap_err().code(), Code::Aborted);
    assert!(rig.app().deployments.hub().is_connected(&machine.node_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_an_agent_left_aside_is_sent_again() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    rig.deploy(&machine).await;
    let first = agent.task().await;
    rig.app().deployments.reconcile().await.unwrap();
    rig.clock.advance(SignedDuration::from_secs(3));
    rig.app().deployments.reconcile().await.unwrap();
    let again = agent.task().await;
    assert_eq!(again.task_id, first.task_id);
    agent.step(&first.task_id, S::ClaimDisk, K::Started).await;
    rig.clock.advance(SignedDuration::from_secs(60));
    rig.app().deployments.reconcile().await.unwrap();
    agent.step(&first.task_id, S::ClaimDisk, K::Finished).await;
}
