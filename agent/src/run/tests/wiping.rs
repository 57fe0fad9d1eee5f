//! A wipe over a session: files stand for the disks.

use imprint_proto::agent::v1::{AfterWipe, Step, StepKind, WipeMethod, WipePolicy, WipeTask};

use super::*;
use crate::tasks::Leave;

const BYTES: usize = 3 << 20;

/// Disks that the agent finds below its root.
fn plug(world: &World, names: &[&str]) {
    let root = world.folder.path().join("root");
    for name in names {
        let folder = root.join("sys/block").join(name);
        fs::create_dir_all(folder.join("queue")).unwrap();
        fs::write(folder.join("size"), format!("{}\n", BYTES / 512)).unwrap();
        fs::write(folder.join("queue/logical_block_size"), "512\n").unwrap();
        fs::write(folder.join("serial"), format!("SER-{name}\n")).unwrap();
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::write(root.join("dev").join(name), vec![0xA5; BYTES]).unwrap();
    }
}

fn content(world: &World, name: &str) -> Vec<u8> {
    fs::read(world.folder.path().join("root/dev").join(name)).unwrap()
}

fn wipe(task_id: &str, change: impl FnOnce(&mut WipeTask)) -> Task {
    let mut wipe = WipeTask {
        release_id: "REL".into(),
        all_local_disks: true,
        policy: WipePolicy::Overwrite.into(),
        ..WipeTask::default()
    };
    change(&mut wipe);
    Task {
        task_id: task_id.into(),
        kind: Some(task::Kind::Wipe(wipe)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_local_disks_are_wiped_and_the_machine_loses_power_once_the_certificates_are_kept() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    plug(&world, &["sda", "sdb", "sdc"]);
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    let task = wipe("W", |task| {
        task.leave = vec!["serial=SER-sdc".into()];
        task.after = AfterWipe::PowerOff.into();
    });
    line.send(Theirs::Task(task.clone())).await;
    let mut steps = Vec::new();
    let outcome = loop {
        match line.next().await {
            Ours::Step(step) => steps.push((step.step(), step.kind())),
            Ours::Outcome(outcome) => break outcome,
            _ => {}
        }
    };
    assert!(
        matches!(outcome.result, Some(outcome::Result::Success(_))),
        "{outcome:?}"
    );
    steps.retain(|(_, kind)| *kind != StepKind::Note);
    assert_eq!(
        steps,
        [
            (Step::ClaimDisk, StepKind::Started),
            (Step::ClaimDisk, StepKind::Finished),
            (Step::Wipe, StepKind::Started),
            (Step::Wipe, StepKind::Finished),
            (Step::Reboot, StepKind::Started),
        ]
    );
    assert_eq!(outcome.certificates.len(), 2);
    for (certificate, name) in outcome.certificates.iter().zip(["sda", "sdb"]) {
        assert!(certificate.wiped, "{}", certificate.cause);
        assert_eq!(certificate.method(), WipeMethod::Overwrite);
        assert_eq!(certificate.disk.as_ref().unwrap().serial, format!("SER-{name}"));
        assert!(content(&world, name).iter().all(|byte| *byte == 0));
    }
    assert!(
        content(&world, "sdc").iter().all(|byte| *byte == 0xA5),
        "it is left alone"
    );
    assert!(
        world.restarts.try_recv().is_err(),
        "not before the controller has it"
    );
    // The same task once more changes nothing.
    line.send(Theirs::Task(task)).await;
    line.send(Theirs::Ack(Ack {
        task_id: "W".into(),
        sequence: outcome.sequence,
    }))
    .await;
    let restarts = world.restarts;
    let left = tokio::task::spawn_blocking(move || restarts.recv_timeout(PATIENCE))
        .await
        .unwrap();
    assert_eq!(left, Ok(Leave::PowerOff));
    assert!(
        !world.folder.path().join("state/wipe").exists(),
        "nothing of it is kept"
    );
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_wholly_is_not_begun() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    plug(&world, &["sda", "sdb"]);
    fs::write(world.folder.path().join("root/sys/block/sdb/ro"), "1\n").unwrap();
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    type Case = (&'static str, fn(&mut WipeTask), &'static str);
    let cases: [Case; 3] = [
        ("W1", |_| {}, "read-only"),
        ("W2", |task| task.policy = 99, "does not know"),
        (
            "W3",
            |task| {
                task.all_local_disks = false;
                task.disks = vec!["serial=SER-sda".into(), "serial=none".into()];
            },
            "no disk matches",
        ),
    ];
    for (task_id, change, word) in cases {
        line.send(Theirs::Task(wipe(task_id, change))).await;
        let outcome = line.outcome().await;
        assert_eq!(
            (outcome.task_id.as_str(), outcome.certificates.len()),
            (task_id, 0)
        );
        let Some(outcome::Result::Failure(failure)) = outcome.result else {
            panic!("{task_id} is refused")
        };
        assert!(failure.cause.contains(word), "{failure:?}");
        assert!(!failure.remedy.is_empty());
        line.send(Theirs::Ack(Ack {
            task_id: task_id.into(),
            sequence: outcome.sequence,
        }))
        .await;
    }
    for name in ["sda", "sdb"] {
        assert!(
            content(&world, name).iter().all(|byte| *byte == 0xA5),
            "{name} is untouched"
        );
    }
    stop.cancel();
    agent.await.unwrap().unwrap();
}
