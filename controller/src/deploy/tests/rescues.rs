//! Rescues: somebody is let into the ramdisk, until the end; the node is what it was before.

use imprint_proto::agent::v1::{
    self as wire, Step as S, StepKind as K, agent_message, controller_message, outcome, task::Kind,
};
use jiff::SignedDuration;

use super::{machine, rig::*};
use crate::{
    boot::BootAction,
    deploy::{rescue::OneTimePassword, *},
    inventory::{InventoryError, Node, NodeState},
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHSmuXoqzBQvQsXHAVxJ5S1n8v1NGVRrEjEwR2Q5P7Vk";

async fn node(rig: &Rig, machine: &Machine) -> Node {
    rig.app().nodes.get(&machine.node_id).await.unwrap()
}

async fn begin(rig: &Rig, node: &str) -> Result<Rescue, DeployError> {
    let request = RescueRequest {
        ssh_keys: vec![format!("{KEY} me@home")],
        life_seconds: Some(3600),
    };
    rig.app().deployments.begin_rescue(&admin(), node, &request).await
}

async fn view(rig: &Rig, id: &str) -> DeploymentView {
    let deployment = rig.deployment(id).await;
    rig.app().deployments.view(deployment).await.unwrap()
}

fn rescue_of(task: &wire::Task) -> &wire::RescueTask {
    match &task.kind {
        Some(Kind::Rescue(rescue)) => rescue,
        other => panic!("no rescue: {other:?}"),
    }
}

/// What the agent says when somebody can get in.
async fn tells(agent: &mut FakeAgent, task: &wire::Task, host_key: &str, used: u32) {
    agent.sequence += 1;
    let event = wire::StepEvent {
        rescue: Some(wire::RescueReport {
            addresses: vec![
                "10.0.0.5".to_owned(),
                "nonsense\n".to_owned(),
                "fd00::5".to_owned(),
            ],
            host_key: format!("ssh-ed25519 {host_key}"),
            host_key_fingerprint: format!("SHA256:{host_key}"),
            password_used: used,
        }),
        ..step_event(&task.task_id, agent.sequence, S::Rescue, K::Note)
    };
    agent.send(agent_message::Message::Step(event)).await;
    assert_eq!(agent.acked().await, agent.sequence);
}

fn ended() -> outcome::Result {
    outcome::Result::Success(wire::Success::default())
}

/// Nothing that the database keeps of the rescue lets anybody in.
async fn keeps_no_hash(rig: &Rig, id: &str) {
    let terms: String = sqlx::query_scalar("SELECT terms FROM deployments WHERE id = ?")
        .bind(id)
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    assert!(!terms.contains("$6$"), "{terms}");
}

/// Neither the database nor a log of the controller has a password.
fn keeps_no_password(rig: &Rig, passwords: &[&OneTimePassword]) {
    let mut folders = vec![rig.app().config.data_dir.clone()];
    let mut database = false;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            database |= bytes.starts_with(b"SQLite format 3");
            for password in passwords {
                let password = password.0.as_bytes();
                let told = bytes.windows(password.len()).any(|part| part == password);
                assert!(!told, "{}", path.display());
            }
        }
    }
    assert!(database, "the database was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_let_in_once_and_the_node_is_what_it_was() {
    let rig = Rig::start().await;
    let (machine, installed) = rig.active().await;
    let id = machine.node_id.as_str();
    let Rescue {
        deployment: begun,
        password,
    } = begin(&rig, id).await.unwrap();
    assert_eq!(format!("{password:?}"), "<secret>");
    assert_eq!(
        (begun.purpose, begun.state),
        (Purpose::Rescue, DeploymentState::Running)
    );
    assert_eq!(node(&rig, &machine).await.state, NodeState::Rescue);
    let action = rig.app().deployments.boot_action(&facts()).await.unwrap();
    assert!(
        matches!(action, BootAction::Ramdisk { rescue: true, .. }),
        "{action:?}"
    );
    let taken = begin(&rig, id).await;
    assert!(
        matches!(taken, Err(DeployError::Node(InventoryError::Taken { .. }))),
        "{taken:?}"
    );

    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    let rescue = rescue_of(&task).clone();
    assert_eq!(
        (rescue.rescue_id.as_str(), rescue.password_number),
        (begun.id.as_str(), 1)
    );
    assert_eq!(
        (rescue.ssh_keys.as_slice(), rescue.remaining_seconds),
        ([KEY.to_owned()].as_slice(), 3600)
    );
    assert!(rescue.password_hash.starts_with("$6$"));
    agent.step(&task.task_id, S::Rescue, K::Started).await;
    tells(&mut agent, &task, "one", 0).await;
    let access = view(&rig, &begun.id).await.rescue_access.unwrap();
    assert_eq!(access.addresses, ["10.0.0.5", "fd00::5"]);
    assert_eq!(
        (access.host_key_fingerprint.as_str(), access.password_used),
        ("SHA256:one", false)
    );
    let why = rig.app().deployments.why(&Viewer::All, id).await.unwrap();
    assert!(
        why.summary.contains("SHA256:one")
            && why.summary.contains("was not used yet")
            && why.deadline.is_some(),
        "{}",
        why.summary
    );

    tells(&mut agent, &task, "one", 1).await;
    assert!(view(&rig, &begun.id).await.rescue_access.unwrap().password_used);
    keeps_no_hash(&rig, &begun.id).await;
    let renewed = rig
        .app()
        .deployments
        .new_rescue_password(&admin(), id)
        .await
        .unwrap();
    assert_ne!(renewed.password.0, password.0);
    let again = agent.task().await;
    assert_eq!(again.task_id, task.task_id);
    assert_eq!(rescue_of(&again).password_number, 2);
    assert_ne!(rescue_of(&again).password_hash, rescue.password_hash);
    // What was said before of the old password does not use up the new one.
    tells(&mut agent, &task, "one", 1).await;
    assert!(!view(&rig, &begun.id).await.rescue_access.unwrap().password_used);

    rig.app().deployments.end_rescue(&admin(), id).await.unwrap();
    assert_eq!(agent.cancelled().await, task.task_id);
    agent.outcome(&task.task_id, ended()).await;
    let last = view(&rig, &begun.id).await;
    assert_eq!(
        (last.state, &last.rescue_access),
        (DeploymentState::Succeeded, &None)
    );
    keeps_no_hash(&rig, &begun.id).await;
    keeps_no_password(&rig, &[&password, &renewed.password]);
    let now = node(&rig, &machine).await;
    assert_eq!(
        (now.state, now.deployment_id),
        (NodeState::Active, Some(installed.id))
    );
    assert!(!rig.boots_ramdisk().await, "it boots its own disk again");
    let events = rig.events().await;
    let told = |kind: &str| events.iter().find(|event| event.kind == kind).unwrap();
    for kind in [
        "node.rescue.begun",
        "node.rescue.password",
        "deployment.cancel-requested",
    ] {
        assert!(told(kind).actor.is_some(), "{kind}: {:?}", told(kind));
    }
    assert!(told("node.rescue.ended").message.contains("as it was asked to"));
    assert!(!format!("{events:?}").contains("$6$"));
    for refused in [
        rig.app().deployments.end_rescue(&admin(), id).await.map(drop),
        rig.app()
            .deployments
            .new_rescue_password(&admin(), id)
            .await
            .map(drop),
    ] {
        assert!(matches!(refused, Err(DeployError::NotRescued(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_time_ends_it_and_a_lost_session_does_not() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until_away().await;
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Rescue, K::Started).await;
    tells(&mut agent, &task, "one", 0).await;
    drop(agent);
    rig.until_away().await;
    // Longer than any step may stand still.
    rig.clock.advance(SignedDuration::from_mins(55));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(rig.deployment(&begun.id).await.state, DeploymentState::Running);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(why.summary.contains("goes on without"), "{}", why.summary);
    let mut agent = rig.connect(&machine, hello("boot-2", &task.task_id)).await;
    agent.sequence = 2;
    let again = agent.task().await;
    assert_eq!(
        (again.task_id.as_str(), rescue_of(&again).remaining_seconds),
        (task.task_id.as_str(), 300)
    );
    rig.clock.advance(SignedDuration::from_mins(6));
    rig.app().deployments.reconcile().await.unwrap();
    assert_eq!(agent.cancelled().await, task.task_id);
    agent.outcome(&task.task_id, ended()).await;
    assert_eq!(rig.deployment(&begun.id).await.state, DeploymentState::Succeeded);
    assert_eq!(node(&rig, &machine).await.state, NodeState::Available);
    let events = rig.events().await;
    assert!(
        events
            .iter()
            .any(|event| event.message.contains("its time was over"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_confirms_the_end_keeps_nobody() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Rescue, K::Started).await;
    drop(agent);
    rig.until_away().await;
    rig.clock.advance(SignedDuration::from_hours(3));
    rig.app().deployments.reconcile().await.unwrap();
    let last = rig.deployment(&begun.id).await;
    assert_eq!(last.state, DeploymentState::Cancelled);
    assert!(last.problem.unwrap().cause.contains("ssh server"));
    assert_eq!(node(&rig, &machine).await.state, NodeState::Active);
    keeps_no_hash(&rig, &begun.id).await;
    // It is told when it calls, and its end is taken.
    let mut agent = rig.connect(&machine, hello("boot-2", &task.task_id)).await;
    agent.sequence = 1;
    assert_eq!(agent.cancelled().await, task.task_id);
    agent.unwanted_outcome(&task.task_id, ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_brings_another_key_and_no_old_password() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    let mut first = None;
    for (boot, key) in [
        ("boot-2", "one"),
        ("boot-3", "two"),
        ("boot-4", "three"),
        ("boot-5", "four"),
        ("boot-6", "five"),
    ] {
        let mut agent = rig.connect(&machine, hello(boot, "")).await;
        let task = agent.task().await;
        assert_eq!(
            rescue_of(&task).password_hash.is_empty(),
            first.is_some(),
            "{boot}"
        );
        assert_ne!(first.as_ref(), Some(&task.task_id));
        agent.step(&task.task_id, S::Rescue, K::Started).await;
        tells(&mut agent, &task, key, 0).await;
        let access = view(&rig, &begun.id).await.rescue_access.unwrap();
        assert_eq!(access.host_key_fingerprint, format!("SHA256:{key}"));
        first.get_or_insert(task.task_id);
        drop(agent);
        rig.until_away().await;
    }
    assert_eq!(rig.deployment(&begun.id).await.attempt, 5);
    assert_eq!(rig.count("node.rescue.restarted").await, 4);
    // By the deployment's own name it ends as well.
    let mut agent = rig.connect(&machine, hello("boot-7", "")).await;
    let task = agent.task().await;
    rig.app().deployments.cancel(&admin(), &begun.id).await.unwrap();
    assert_eq!(agent.cancelled().await, task.task_id);
    agent.outcome(&task.task_id, ended()).await;
    assert_eq!(node(&rig, &machine).await.state, NodeState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_in_the_ordinary_ramdisk_gets_the_one_for_rescues() {
    let rig = Rig::start().await;
    let mut machine = machine::Machine::in_service(&rig, 0).await;
    machine.boots(&rig).await;
    machine.calls(&rig).await;
    assert!(!machine.ramdisk().unwrap().rescue);
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    for _ in 0..6 {
        machine.agent(&rig).await;
        rig.app().deployments.reconcile().await.unwrap();
        machine.check(&rig).await;
    }
    assert!(machine.ramdisk().unwrap().rescue);
    let access = view(&rig, &begun.id).await.rescue_access.unwrap();
    assert_eq!(access.host_key_fingerprint, "SHA256:boot-2");
    keeps_hash(&rig, &begun.id).await;
    rig.app()
        .deployments
        .end_rescue(&admin(), &machine.node_id)
        .await
        .unwrap();
    for _ in 0..4 {
        machine.agent(&rig).await;
        machine.check(&rig).await;
    }
    assert_eq!(machine.node(&rig).await.state, NodeState::Available);
    assert!(!machine.ramdisk().unwrap().rescue, "a fresh ramdisk");
}

/// The password was not used, and nobody could have used it in the ordinary ramdisk.
async fn keeps_hash(rig: &Rig, id: &str) {
    let Some(Terms::Rescue(terms)) = rig.deployment(id).await.terms else {
        panic!("no rescue")
    };
    assert!(terms.password_hash.starts_with("$6$"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_and_a_deployment_are_never_together() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let id = machine.node_id.as_str();
    let deployment = rig.deploy(&machine).await;
    let refused = begin(&rig, id).await;
    assert!(
        matches!(refused, Err(DeployError::Node(InventoryError::Taken { .. }))),
        "{refused:?}"
    );
    for refused in [
        rig.app()
            .deployments
            .new_rescue_password(&admin(), id)
            .await
            .map(drop),
        rig.app().deployments.end_rescue(&admin(), id).await.map(drop),
    ] {
        assert!(matches!(refused, Err(DeployError::NotRescued(_))), "{refused:?}");
    }
    let still = rig.deployment(&deployment.id).await;
    assert!(still.cancel_requested_at.is_none() && still.state == DeploymentState::Running);

    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    begin(&rig, &machine.node_id).await.unwrap();
    let refused = rig
        .app()
        .deployments
        .create(&admin(), &request(&machine), None)
        .await;
    assert!(matches!(&refused, Err(DeployError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_refused() {
    let rig = Rig::start().await;
    let machine = rig.machine().await;
    let refused = begin(&rig, &machine.node_id).await;
    assert!(
        matches!(refused, Err(DeployError::Node(InventoryError::NotAllowed { .. }))),
        "{refused:?}"
    );
    rig.app()
        .nodes
        .approve(&admin(), &machine.node_id, None)
        .await
        .unwrap();
    for (keys, life, why) in [
        (vec!["ssh-dss AAAA".to_owned()], None, "does not know"),
        (Vec::new(), Some(299), "5 minutes"),
        (Vec::new(), Some(604_801), "7 days"),
    ] {
        let request = RescueRequest {
            ssh_keys: keys,
            life_seconds: life,
        };
        let refused = rig
            .app()
            .deployments
            .begin_rescue(&admin(), &machine.node_id, &request)
            .await;
        match refused {
            Err(DeployError::BadTerms(text)) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    std::fs::remove_file(rig.app().config.boot.ramdisk_dir.join("rescue.img")).unwrap();
    let refused = begin(&rig, &machine.node_id).await.unwrap_err();
    let problem = crate::api::rest::problem::Problem::from(refused);
    assert!(problem.remedy.contains("rescue.img"), "{problem:?}");
    assert_eq!(node(&rig, &machine).await.state, NodeState::Available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_come_is_what_it_was_before() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    rig.clock.advance(SignedDuration::from_hours(2));
    rig.app().deployments.reconcile().await.unwrap();
    let last = rig.deployment(&begun.id).await;
    assert_eq!(last.state, DeploymentState::Failed);
    assert!(last.problem.unwrap().remedy.contains("ask for the rescue again"));
    let now = node(&rig, &machine).await;
    assert_eq!(now.state, NodeState::Active);
    keeps_no_hash(&rig, &begun.id).await;

    // An agent that is older than rescues says so.
    let begun = begin(&rig, &machine.node_id).await.unwrap().deployment;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    let unknown = outcome::Result::Failure(wire::Failure {
        cause: "this agent does not know the kind of task".to_owned(),
        remedy: "build the ramdisk again from the controller's version".to_owned(),
        ..wire::Failure::default()
    });
    agent.outcome(&task.task_id, unknown).await;
    let last = rig.deployment(&begun.id).await;
    assert!(last.problem.unwrap().cause.contains("does not know"));
    assert_eq!(node(&rig, &machine).await.state, NodeState::Active);
    let heard = agent.heard().await;
    let other =
        |message: &controller_message::Message| !matches!(message, controller_message::Message::Ack(_));
    assert!(!heard.iter().any(other), "{heard:?}");
}
