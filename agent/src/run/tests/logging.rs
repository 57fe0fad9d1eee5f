//! The log on its way to the controller.

use imprint_proto::agent::v1::{LogAck, LogBatch};

use super::*;
use crate::log::{Level, Source};

impl Line {
    /// The next lines of the log; other messages are left aside.
    async fn log(&mut self) -> LogBatch {
        loop {
            if let Ours::Log(batch) = self.next().await {
                return batch;
            }
        }
    }
}

fn texts(batch: &LogBatch) -> Vec<&str> {
    batch.lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_nobody_listened_comes_with_the_next_session() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    world
        .log
        .push(Level::Info, Source::Agent, "before the first session");
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    let batch = line.log().await;
    assert_eq!((batch.first, batch.task_id.as_str()), (1, ""));
    line.send(Theirs::Log(LogAck {
        run: batch.run.clone(),
        number: 1,
    }))
    .await;
    let taken = async {
        while world.log.acknowledged() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, taken)
        .await
        .expect("the agent takes the confirmation");
    world
        .log
        .push(Level::Warn, Source::Agent, "sent, and never confirmed");
    assert_eq!(texts(&line.log().await), ["sent, and never confirmed"]);
    drop(line);
    world
        .log
        .push(Level::Error, Source::Kernel, "while the network was away");

    let mut line = world.line().await;
    line.greet().await;
    let batch = line.log().await;
    assert_eq!(
        texts(&batch),
        ["sent, and never confirmed", "while the network was away"]
    );
    assert_eq!((batch.first, batch.left_out), (2, 0));
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_task_are_told_before_its_outcome() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    // Nobody subscribes to the agent's events in this process: the line stands for them.
    world.log.push(Level::Info, Source::Agent, "before the task");
    assert_eq!(line.log().await.task_id, "");
    world.log.push(Level::Info, Source::Agent, "just before the task");
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    let mut told = Vec::new();
    loop {
        match line.next().await {
            Ours::Log(batch) => told.extend(batch.lines.into_iter().map(|line| line.text)),
            Ours::Outcome(_) => break,
            _ => {}
        }
    }
    assert_eq!(told, ["just before the task"]);
    world.log.push(Level::Info, Source::Agent, "after the task");
    let batch = line.log().await;
    assert_eq!(
        (batch.task_id.as_str(), texts(&batch)),
        ("T", vec!["after the task"])
    );
    stop.cancel();
    agent.await.unwrap().unwrap();
}
