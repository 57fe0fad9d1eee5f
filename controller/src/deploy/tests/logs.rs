//! Logs of agents, from the session to whoever reads them.

use imprint_proto::agent::v1::{self as wire, agent_message, controller_message};
use imprint_proto::v1::{
    ReadLogRequest, TakeConsoleRequest, TakeConsoleResponse, deployments_client::DeploymentsClient,
    nodes_client::NodesClient, read_log_request::Part as WirePart,
};
use jiff::SignedDuration;
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use super::rig::*;
use crate::{
    clock::Clock,
    identity::Role,
    testing::{problem, token_of},
};

fn batch(task_id: &str, first: u64, texts: &[&str]) -> agent_message::Message {
    let line = |text: &&str| wire::LogLine {
        level: wire::LogLevel::Info as i32,
        source: wire::LogSource::Agent as i32,
        text: (*text).to_owned(),
        at: None,
    };
    agent_message::Message::Log(wire::LogBatch {
        run: "run".to_owned(),
        task_id: task_id.to_owned(),
        first,
        lines: texts.iter().map(line).collect(),
        left_out: 0,
    })
}

impl FakeAgent {
    /// Waits until the lines are confirmed, up to this number.
    async fn confirmed(&mut self, number: u64) {
        loop {
            if let controller_message::Message::Log(ack) = self.next().await {
                assert_eq!((ack.run.as_str(), ack.number), ("run", number));
                return;
            }
        }
    }
}

impl Rig {
    async fn log(&self, id: &str, query: &str) -> (String, u64) {
        let path = format!("/v1/deployments/{id}/log{query}");
        let response = self
            .server
            .client()
            .get(self.server.url(&path))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        let next = response.headers()["log-next"].to_str().unwrap().parse().unwrap();
        (response.text().await.unwrap(), next)
    }
}

fn said(log: &str) -> Vec<&str> {
    log.lines()
        .map(|line| line.split_once("agent: ").map_or(line, |(_, text)| text))
        .collect()
}

#[tokio::test]
async fn lines_are_kept_with_the_deployment_of_their_task_and_can_be_read() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    // Nothing runs: nobody wants them, and they are not sent again.
    agent.send(batch("", 1, &["waits"])).await;
    agent.confirmed(1).await;
    let first = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.send(batch("", 2, &["before the task"])).await;
    agent.confirmed(2).await;
    agent
        .send(batch(&task.task_id, 3, &["of the task", "and more"]))
        .await;
    agent.confirmed(4).await;
    agent.send(batch("of nobody", 5, &["lost"])).await;
    agent.confirmed(5).await;

    let (log, next) = rig.log(&first.id, "").await;
    assert_eq!(said(&log), ["before the task", "of the task", "and more"]);
    assert_eq!(next, log.len() as u64);
    assert_eq!(said(&rig.log(&first.id, "?tail=1").await.0), ["and more"]);
    assert_eq!(
        rig.log(&first.id, &format!("?from={next}")).await,
        (String::new(), next)
    );

    agent.send(batch(&task.task_id, 6, &["the end"])).await;
    agent.confirmed(6).await;
    assert_eq!(
        said(&rig.log(&first.id, &format!("?from={next}")).await.0),
        ["the end"]
    );
    agent
        .outcome(&task.task_id, failure(wire::Step::Write, true))
        .await;
    // Lines that come late still belong to it.
    agent.send(batch(&task.task_id, 7, &["after the end"])).await;
    agent.confirmed(7).await;
    // As the task does that writes them.
    rig.app().deployments.logs().flush();
    drop(agent);
    let rig = rig.restart().await;
    let (log, _) = rig.log(&first.id, "?tail=2").await;
    assert_eq!(said(&log), ["the end", "after the end"]);

    let mut client = DeploymentsClient::new(rig.server.channel().await);
    let mut request = Request::new(ReadLogRequest {
        id: first.id.clone(),
        part: Some(WirePart::TailLines(1)),
    });
    let token = format!("Bearer {}", rig.server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let answer = client.read_log(request).await.unwrap().into_inner();
    assert_eq!(said(&answer.text), ["after the end"]);

    let both = rig
        .server
        .url(&format!("/v1/deployments/{}/log?tail=1&from=1", first.id));
    let refused = problem(rig.server.client().get(both).send().await.unwrap()).await;
    assert_eq!((refused.0, refused.1.as_str()), (400, "invalid-request"));
    let stranger = token_of(rig.app(), "others", Role::Member).await;
    let path = rig.server.url(&format!("/v1/deployments/{}/log", first.id));
    let refused = rig.server.client_with(&stranger).get(path).send().await.unwrap();
    assert_eq!(refused.status(), 404, "the log of another project's deployment");
}

#[tokio::test]
async fn another_node_cannot_write_into_a_log() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    let lines = |text: &str| wire::LogBatch {
        run: "other".into(),
        task_id: task.task_id.clone(),
        first: 1,
        lines: vec![wire::LogLine {
            text: text.into(),
            ..wire::LogLine::default()
        }],
        left_out: 0,
    };
    let deployments = &rig.app().deployments;
    deployments
        .take_log("another-node", &lines("forged"))
        .await
        .unwrap();
    deployments
        .take_log(&machine.node_id, &lines("true"))
        .await
        .unwrap();
    assert_eq!(said(&rig.log(&deployment.id, "").await.0), ["true"]);
}

#[tokio::test]
async fn a_log_goes_with_its_deployment_and_when_it_is_old() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.send(batch(&task.task_id, 1, &["a line"])).await;
    agent.confirmed(1).await;
    let logs = rig.app().deployments.logs();
    logs.flush();
    let folder = rig.app().config.data_dir.join("logs");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    logs.sweep(&rig.app().db).await.unwrap();
    assert_eq!(files(), 1, "a fresh log of a known deployment stays");

    let later = Clock::fake(jiff::Timestamp::now() + SignedDuration::from_hours(24 * 91));
    let in_a_while = crate::logs::Logs::new(&rig.app().config, later);
    std::fs::copy(
        folder.join(format!("{}.log", deployment.id)),
        folder.join("01JD3Y6N9M1V9S1M6V1M3B3W5T.log"),
    )
    .unwrap();
    logs.sweep(&rig.app().db).await.unwrap();
    assert_eq!(files(), 1, "nobody knows the other deployment");
    in_a_while.sweep(&rig.app().db).await.unwrap();
    assert_eq!((files(), rig.log(&deployment.id, "").await.0.as_str()), (0, ""));
}

#[tokio::test]
async fn what_the_console_says_is_in_the_log_of_the_deployment_that_runs() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let id = machine.node_id.clone();
    let console = async |node: &str, text: &'static str| {
        let url = rig.server.url(&format!("/v1/nodes/{node}/console"));
        rig.server.client().post(url).body(text).send().await.unwrap()
    };
    let taken = async |text| {
        console(&id, text)
            .await
            .json::<serde_json::Value>()
            .await
            .unwrap()
    };
    assert_eq!(
        taken("one\r\ntwo").await,
        json!({ "kept_lines": 0, "other_lines": 2 })
    );
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.send(batch(&task.task_id, 1, &["works"])).await;
    agent.confirmed(1).await;
    assert_eq!(
        taken("\x1b[1;31mKernel panic\x1b[0m\r\n---[ end ]").await,
        json!({ "kept_lines": 2, "other_lines": 0 })
    );
    let (log, _) = rig.log(&deployment.id, "").await;
    let lines: Vec<&str> = log.lines().map(|line| &line[25..]).collect();
    assert_eq!(
        lines,
        [
            "info  agent: works",
            "info  console: Kernel panic",
            "info  console: ---[ end ]"
        ]
    );
    let (status, kind, _) = problem(console("nobody", "lost").await).await;
    assert_eq!((status, kind.as_str()), (404, "node-not-found"));
}

#[tokio::test]
async fn a_console_is_read_as_it_comes_and_ends_with_the_controller() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let id = machine.node_id.clone();
    let deployment = rig.deploy(&machine).await;
    agent.task().await;
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let url = rig.server.url(&format!("/v1/nodes/{id}/console"));
    let open = tokio::spawn(rig.server.client().post(url).body(body).send());
    pieces.send(Ok("loading\n")).await.unwrap();
    pieces.send(Ok("more")).await.unwrap();
    while !rig.log(&deployment.id, "").await.0.contains("console: loading") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    rig.app().shutdown.cancel();
    let (status, kind, _) = problem(open.await.unwrap().unwrap()).await;
    assert_eq!((status, kind.as_str()), (503, "controller-ends"));
}

#[tokio::test]
async fn a_console_comes_over_grpc_as_well() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    agent.task().await;
    let node = machine.node_id.clone();
    let part = |node: &str, piece: &str| TakeConsoleRequest {
        node: node.to_owned(),
        piece: piece.into(),
    };
    let call = async |parts: Vec<TakeConsoleRequest>| {
        let mut nodes = NodesClient::new(rig.server.channel().await);
        let mut request = Request::new(tokio_stream::iter(parts));
        let token = format!("Bearer {}", rig.server.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        nodes.take_console(request).await.map(Response::into_inner)
    };
    let taken = call(vec![part(&node, "load"), part("", "ing\r\nmore")])
        .await
        .unwrap();
    assert_eq!((taken.kept_lines, taken.other_lines), (2, 0));
    let (log, _) = rig.log(&deployment.id, "").await;
    assert!(
        log.contains("console: loading\n") && log.contains("console: more\n"),
        "{log}"
    );
    let refused = |answer: Result<_, Status>| answer.map(|_: TakeConsoleResponse| ()).unwrap_err().code();
    assert_eq!(refused(call(vec![part("nobody", "lost")]).await), Code::NotFound);
    assert_eq!(refused(call(Vec::new()).await), Code::InvalidArgument);
}
