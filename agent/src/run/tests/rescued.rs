//! A rescue over a session. Scripts stand for the ssh server and its key maker; what the server would say is put into its log.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use imprint_proto::agent::v1::{RescueReport, RescueTask, Step, StepKind};

use super::*;
use crate::tasks::Leave;

const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
const FINGERPRINT: &str = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";

fn put(world: &World, path: &str, text: &str) -> PathBuf {
    let path = world.folder.path().join("root").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn program(world: &World, path: &str, script: &str) {
    let path = put(world, path, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A ramdisk with the part for rescues, and a kernel that says that port 22 is listened at.
fn load(world: &World) {
    put(
        world,
        "etc/imprint/rescue.json",
        r#"{"version":1,"kernel":"","min_memory_mib":1,"files":[]}"#,
    );
    put(world, "proc/uptime", "1000.00 500.00\n");
    let listens = "   0: 00000000000000000000000000000000:0016 00000000:0000 0A 0";
    put(
        world,
        "proc/net/tcp6",
        &format!("  sl  local_address\n{listens}\n"),
    );
    program(
        world,
        "usr/bin/dropbearkey",
        &format!("for last; do :; done; : > \"$last\"; echo '{PUBLIC} root@imprint'"),
    );
    program(world, "usr/sbin/dropbear", "exec sleep 600");
}

fn rescue(number: u32) -> Task {
    let rescue = RescueTask {
        rescue_id: "RES".into(),
        password_hash: format!("$6$salt$hash{number}"),
        password_number: number,
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        remaining_seconds: 3600,
        until: None,
    };
    Task {
        task_id: "R".into(),
        kind: Some(task::Kind::Rescue(rescue)),
    }
}

fn shadow(world: &World) -> String {
    fs::read_to_string(world.folder.path().join("root/etc/shadow")).unwrap()
}

/// The next event that says how to get in.
async fn report(line: &mut Line) -> (String, RescueReport) {
    loop {
        if let Ours::Step(step) = line.next().await
            && let Some(report) = step.rescue.clone()
        {
            assert_eq!((step.step(), step.kind()), (Step::Rescue, StepKind::Note));
            return (step.detail, report);
        }
    }
}

fn processes(world: &World) -> Vec<i32> {
    let group = world
        .folder
        .path()
        .join("root/sys/fs/cgroup/imprint-rescue/cgroup.procs");
    let text = fs::read_to_string(group).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn runs(process: i32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_let_in_once_and_the_machine_restarts_when_it_is_over() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    load(&world);
    put(&world, "etc/hostname", "imprint\n");
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(rescue(1))).await;
    let (detail, told) = report(&mut line).await;
    assert!(
        detail.contains("listens") && detail.contains(FINGERPRINT),
        "{detail}"
    );
    assert_eq!(
        (told.host_key.as_str(), told.host_key_fingerprint.as_str()),
        (PUBLIC, FINGERPRINT)
    );
    assert_eq!((told.password_used, told.addresses[0].as_str()), (0, "127.0.0.1"));
    assert!(shadow(&world).starts_with("root:$6$salt$hash1:"));
    let server = processes(&world)[0];
    assert!(runs(server));

    // A killed agent: the next one takes up what runs.
    stop.cancel();
    agent.await.unwrap().unwrap();
    assert!(runs(server));
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    assert_eq!(line.greet().await.task_id, "R");
    let (detail, _) = report(&mut line).await;
    assert!(
        detail.contains("goes on") || detail.contains("listens"),
        "{detail}"
    );
    assert_eq!(processes(&world), [server]);

    let log = world.folder.path().join("state/rescue/log");
    let said = "[7] Nov 22 13:00:00 Password auth succeeded for 'root' from 10.0.0.9:50000\n";
    fs::write(&log, format!("{}{said}", fs::read_to_string(&log).unwrap())).unwrap();
    let told = loop {
        let (detail, told) = report(&mut line).await;
        if detail.contains("10.0.0.9") {
            break told;
        }
    };
    assert_eq!(told.password_used, 1);
    assert!(shadow(&world).starts_with("root:!:"));
    line.send(Theirs::Task(rescue(2))).await;
    let (detail, _) = report(&mut line).await;
    assert!(detail.contains("new one-time password"), "{detail}");
    assert!(shadow(&world).starts_with("root:$6$salt$hash2:"));
    let guessed = "[8] Nov 22 13:00:00 Bad password attempt for 'root' from 10.0.0.8:50000\n".repeat(100);
    fs::write(&log, format!("{}{guessed}", fs::read_to_string(&log).unwrap())).unwrap();
    let (detail, told) = report(&mut line).await;
    assert!(
        detail.contains("100 wrong passwords") && told.password_used == 2,
        "{detail}"
    );
    assert!(shadow(&world).starts_with("root:!:"));

    line.send(Theirs::Cancel(CancelTask {
        task_id: "R".into(),
        reason: String::new(),
    }))
    .await;
    let outcome = line.outcome().await;
    assert!(
        matches!(outcome.result, Some(outcome::Result::Success(_))),
        "{outcome:?}"
    );
    assert!(!runs(server) && shadow(&world).starts_with("root:!:"));
    assert!(
        !world
            .folder
            .path()
            .join("root/root/.ssh/authorized_keys")
            .exists()
    );
    assert!(
        world.restarts.try_recv().is_err(),
        "not before the controller has it"
    );
    line.send(Theirs::Ack(Ack {
        task_id: "R".into(),
        sequence: outcome.sequence,
    }))
    .await;
    let restarts = world.restarts;
    let left = tokio::task::spawn_blocking(move || restarts.recv_timeout(PATIENCE));
    assert_eq!(left.await.unwrap().unwrap(), Leave::Restart);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ordinary_ramdisk_is_left_for_the_one_with_the_ssh_server() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(rescue(1))).await;
    let Ours::Step(step) = line.next().await else {
        panic!("it is told")
    };
    assert!(step.detail.contains("restarts to get"), "{}", step.detail);
    assert!(world.restarts.try_recv().is_err());
    line.send(Theirs::Ack(Ack {
        task_id: "R".into(),
        sequence: step.sequence,
    }))
    .await;
    let restarts = world.restarts;
    let left = tokio::task::spawn_blocking(move || restarts.recv_timeout(PATIENCE));
    assert_eq!(left.await.unwrap().unwrap(), Leave::Restart);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ramdisk_of_a_rescue_writes_no_disk() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    load(&world);
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("D", "name=sda"))).await;
    let Ours::Step(step) = line.next().await else {
        panic!("it is told")
    };
    assert!(
        step.step() == Step::ClaimDisk && step.detail.contains("made for a rescue"),
        "{}",
        step.detail
    );
    line.send(Theirs::Ack(Ack {
        task_id: "D".into(),
        sequence: step.sequence,
    }))
    .await;
    let restarts = world.restarts;
    let left = tokio::task::spawn_blocking(move || restarts.recv_timeout(PATIENCE));
    assert_eq!(left.await.unwrap().unwrap(), Leave::Restart);
    // The machine takes its time, and the deployment is cancelled meanwhile.
    line.send(Theirs::Cancel(CancelTask {
        task_id: "D".into(),
        reason: String::new(),
    }))
    .await;
    let outcome = line.outcome().await;
    assert!(
        matches!(outcome.result, Some(outcome::Result::Cancelled(_))),
        "{outcome:?}"
    );
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ramdisk_without_its_part_or_a_server_that_dies_is_a_failure_with_a_remedy() {
    for (line_of_kernel, why) in [
        ("imprint.rescue quiet", "did not come along"),
        ("quiet", "does not listen"),
    ] {
        let mut world = World::new(SignedDuration::from_hours(24)).await;
        put(&world, "proc/cmdline", line_of_kernel);
        if why == "does not listen" {
            load(&world);
            put(&world, "proc/net/tcp6", "");
            program(&world, "usr/sbin/dropbear", "echo 'port is taken' >&2; exit 1");
        }
        let (stop, agent) = world.start();
        let mut line = world.line().await;
        line.greet().await;
        line.send(Theirs::Task(rescue(1))).await;
        let outcome = line.outcome().await;
        let Some(outcome::Result::Failure(failure)) = outcome.result else {
            panic!("{outcome:?}")
        };
        assert!(
            failure.cause.contains(why) && !failure.remedy.is_empty(),
            "{failure:?}"
        );
        assert_eq!(failure.step(), Step::Rescue);
        assert!(world.restarts.try_recv().is_err());
        stop.cancel();
        agent.await.unwrap().unwrap();
    }
}
