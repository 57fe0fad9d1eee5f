//! The agent with a controller in the same process: real TLS, real gRPC, a CA made for the test.

use std::{
    fs,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, mpsc as std_mpsc},
};

use futures::Stream;
use imprint_proto::agent::v1::{
    Ack, AgentMessage, CancelTask, ControllerMessage, DeployTask, DiskRule, EnrollRequest, EnrollResponse,
    ImageSource, RebootTask, RenewRequest, RenewResponse, Task, Welcome,
    agent_message::Message as Ours,
    agent_server::{Agent, AgentServer},
    controller_message::Message as Theirs,
    enrollment_server::{Enrollment, EnrollmentServer},
    outcome, task,
};
use jiff::SignedDuration;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use super::*;

mod encrypted;
mod learning;
mod logging;
mod rescued;
mod wiping;

const PATIENCE: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_millis(300);

/// One session as the controller sees it.
struct Line {
    from_agent: Streaming<AgentMessage>,
    to_agent: mpsc::Sender<Result<ControllerMessage, Status>>,
}

impl Line {
    async fn send(&self, message: Theirs) {
        self.to_agent
            .send(Ok(ControllerMessage {
                message: Some(message),
            }))
            .await
            .unwrap();
    }

    /// The next message that is no heartbeat and no progress.
    async fn next(&mut self) -> Ours {
        loop {
            let message = timeout(PATIENCE, self.from_agent.message())
                .await
                .expect("a message")
                .unwrap()
                .unwrap();
            match message.message.unwrap() {
                Ours::Heartbeat(_) | Ours::Progress(_) => {}
                other => return other,
            }
        }
    }

    async fn greet(&mut self) -> imprint_proto::agent::v1::Hello {
        let Ours::Hello(hello) = self.next().await else {
            panic!("Hello comes first")
        };
        assert!(matches!(self.next().await, Ours::Inventory(_)));
        self.send(Theirs::Welcome(Welcome {
            node_id: "N".into(),
            heartbeat_seconds: 1,
            ..Welcome::default()
        }))
        .await;
        hello
    }

    async fn outcome(&mut self) -> imprint_proto::agent::v1::Outcome {
        loop {
            if let Ours::Outcome(outcome) = self.next().await {
                return *outcome;
            }
        }
    }
}

#[derive(Clone)]
struct Fake {
    issuer: Arc<Issuer<'static, KeyPair>>,
    tokens: Arc<Mutex<Vec<String>>>,
    lines: mpsc::Sender<Line>,
    life: SignedDuration,
}

impl Fake {
    fn sign(&self, csr: &[u8]) -> Result<(Vec<Vec<u8>>, Option<prost_types::Timestamp>), Status> {
        let csr = CertificateSigningRequestParams::from_der(&csr.into())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let certificate = csr.signed_by(&*self.issuer).unwrap();
        let expires = Timestamp::now() + self.life;
        let expires = prost_types::Timestamp {
            seconds: expires.as_second(),
            nanos: 0,
        };
        Ok((vec![certificate.der().to_vec()], Some(expires)))
    }
}

#[tonic::async_trait]
impl Enrollment for Fake {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let known = {
            let mut tokens = self.tokens.lock().unwrap();
            let at = tokens.iter().position(|token| *token == request.boot_token);
            at.map(|at| tokens.remove(at))
        };
        known.ok_or_else(|| Status::unauthenticated("the token is spent"))?;
        let (certificate_chain_der, expires_at) = self.sign(&request.csr_der)?;
        Ok(Response::new(EnrollResponse {
            node_id: "N".into(),
            certificate_chain_der,
            expires_at,
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        if request.peer_certs().is_none() {
            return Err(Status::unauthenticated("no certificate"));
        }
        let (certificate_chain_der, expires_at) = self.sign(&request.into_inner().csr_der)?;
        Ok(Response::new(RenewResponse {
            certificate_chain_der,
            expires_at,
        }))
    }
}

#[tonic::async_trait]
impl Agent for Fake {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControllerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if request.peer_certs().is_none() {
            return Err(Status::unauthenticated("no certificate"));
        }
        let (to_agent, receiver) = mpsc::channel(16);
        self.lines
            .send(Line {
                from_agent: request.into_inner(),
                to_agent,
            })
            .await
            .unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct World {
    folder: tempfile::TempDir,
    lines: mpsc::Receiver<Line>,
    restarts: std_mpsc::Receiver<Leave>,
    restarted: std_mpsc::Sender<Leave>,
    log: Log,
}

impl World {
    async fn new(life: SignedDuration) -> Self {
        tls::install_provider();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&server_key, &issuer)
            .unwrap();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(server.pem(), server_key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(&ca_pem))
            .client_auth_optional(true);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (line_sender, lines) = mpsc::channel(8);
        let fake = Fake {
            issuer: Arc::new(issuer),
            tokens: Arc::new(Mutex::new(vec!["token".to_owned()])),
            lines: line_sender,
            life,
        };
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(EnrollmentServer::new(fake.clone()))
            .add_service(AgentServer::new(fake));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

        let folder = tempfile::tempdir().unwrap();
        let identity = serde_json::json!({
            "version": 1, "controller_url": format!("https://{address}"), "ca_pem": ca_pem, "manifest_keys": ["ab".repeat(32)],
            "boot_token": "token", "issued_at": Timestamp::now().to_string(), "node_hint": "",
        });
        fs::write(folder.path().join("identity.json"), identity.to_string()).unwrap();
        let (restarted, restarts) = std_mpsc::channel();
        Self {
            folder,
            lines,
            restarts,
            restarted,
            log: Log::default(),
        }
    }

    /// Starts the agent; cancelling the token is its death by SIGTERM.
    fn start(&self) -> (CancellationToken, tokio::task::JoinHandle<Result<(), RunError>>) {
        let options = RunOptions {
            identity: self.folder.path().join("identity.json"),
            state: self.folder.path().join("state"),
            root: self.folder.path().join("root"),
            log: self.log.clone(),
        };
        let stop = CancellationToken::new();
        let (token, restarted) = (stop.clone(), self.restarted.clone());
        let restart: crate::tasks::Restart = Arc::new(move |leave| restarted.send(leave).unwrap());
        (
            stop,
            tokio::spawn(async move { run_until(options, &token, restart).await }),
        )
    }

    async fn line(&mut self) -> Line {
        timeout(PATIENCE, self.lines.recv())
            .await
            .expect("a session")
            .unwrap()
    }
}

fn deploy(task_id: &str, rule: &str) -> Task {
    let deploy = DeployTask {
        image: Some(ImageSource {
            name: "debian".into(),
            disk_size_bytes: 1 << 20,
            logical_sector_bytes: 512,
            ..ImageSource::default()
        }),
        disk: Some(DiskRule {
            text: rule.into(),
            ..DiskRule::default()
        }),
        reboot: true,
        ..DeployTask::default()
    };
    Task {
        task_id: task_id.into(),
        kind: Some(task::Kind::Deploy(deploy)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_once_and_a_restarted_agent_keeps_its_identity() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let hello = world.line().await.greet().await;
    assert_eq!((hello.start_count, hello.task_id.as_str()), (1, ""));
    assert!(
        hello.defects[0].contains("ramdisk.json"),
        "the tree of the test has no list"
    );
    stop.cancel();
    agent.await.unwrap().unwrap();

    // The token is spent: only the kept certificate opens the second session.
    let (stop, agent) = world.start();
    assert_eq!(world.line().await.greet().await.start_count, 2);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_is_sent_again_over_connections_and_restarts() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    let outcome = line.outcome().await;
    let Some(outcome::Result::Failure(failure)) = outcome.result.clone() else {
        panic!("{outcome:?}")
    };
    assert!(
        failure.cause.contains("the machine has no disk"),
        "{}",
        failure.cause
    );
    assert!(!failure.remedy.is_empty() && !failure.head_cleared);
    drop(line);

    let mut line = world.line().await;
    assert_eq!(line.greet().await.task_id, "T");
    let Ours::Step(first) = line.next().await else {
        panic!("all steps again")
    };
    assert_eq!((first.sequence, first.task_id.as_str()), (1, "T"));
    assert_eq!(line.outcome().await, outcome);
    line.send(Theirs::Ack(Ack {
        task_id: "T".into(),
        sequence: first.sequence,
    }))
    .await;
    // The same task once more is no new one.
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    tokio::time::sleep(SOON).await;
    stop.cancel();
    agent.await.unwrap().unwrap();

    let (stop, agent) = world.start();
    let mut line = world.line().await;
    assert_eq!(line.greet().await.task_id, "T");
    let Ours::Step(next) = line.next().await else {
        panic!("the second number")
    };
    assert_eq!(next.sequence, 2);
    assert_eq!(line.outcome().await, outcome);
    line.send(Theirs::Ack(Ack {
        task_id: "T".into(),
        sequence: outcome.sequence,
    }))
    .await;
    // A new task after the old one counts from 1.
    line.send(Theirs::Task(deploy("T2", "serial=none"))).await;
    let Ours::Step(step) = line.next().await else {
        panic!("the first step")
    };
    assert_eq!((step.sequence, step.task_id.as_str()), (1, "T2"));
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_only_after_the_outcome_is_acknowledged() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Cancel(CancelTask {
        task_id: "other".into(),
        reason: String::new(),
    }))
    .await;
    line.send(Theirs::Task(Task {
        task_id: "R".into(),
        kind: Some(task::Kind::Reboot(RebootTask {})),
    }))
    .await;
    let outcome = line.outcome().await;
    assert!(matches!(outcome.result, Some(outcome::Result::Success(_))));
    tokio::time::sleep(SOON).await;
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
    tokio::task::spawn_blocking(move || restarts.recv_timeout(PATIENCE))
        .await
        .unwrap()
        .expect("a restart");
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_the_controller_refuses_does_not_restart_the_machine() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    let kind = Some(task::Kind::Reboot(RebootTask {}));
    let task_id = "R".to_owned();
    line.send(Theirs::Task(Task { task_id, kind })).await;
    let outcome = line.outcome().await;
    line.send(Theirs::Cancel(CancelTask {
        task_id: "R".into(),
        reason: "timed out".into(),
    }))
    .await;
    line.send(Theirs::Ack(Ack {
        task_id: "R".into(),
        sequence: outcome.sequence,
    }))
    .await;
    tokio::time::sleep(SOON).await;
    assert!(world.restarts.try_recv().is_err(), "the success was refused");
    // The agent is free for the next task.
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    assert_eq!(line.outcome().await.task_id, "T");
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_end_was_acknowledged_is_not_begun_again_by_a_restarted_agent() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    let outcome = line.outcome().await;
    line.send(Theirs::Ack(Ack {
        task_id: "T".into(),
        sequence: outcome.sequence,
    }))
    .await;
    let state = world.folder.path().join("state");
    let pending = || Outbox::open(&state).unwrap().unfinished_task();
    timeout(PATIENCE, async {
        while pending().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the acknowledgement arrives");
    stop.cancel();
    agent.await.unwrap().unwrap();

    // As if it had been killed after the acknowledgement and before it noted the end.
    let file = crate::tasks::record::RecordFile::of(&world.folder.path().join("state"));
    let mut record = file.load().unwrap().unwrap();
    assert!(record.ended);
    (record.ended, record.task) = (false, Some(deploy("T", "serial=none")));
    file.save(&record).unwrap();

    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("T2", "serial=none"))).await;
    let Ours::Step(step) = line.next().await else {
        panic!("a step of the new task")
    };
    assert_eq!((step.task_id.as_str(), step.sequence), ("T2", 1));
    assert!(file.load().unwrap().unwrap().task_id() == "T2");
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_task_is_answered_while_one_runs() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    let Ours::Step(_) = line.next().await else {
        panic!("the first task runs")
    };
    line.send(Theirs::Task(deploy("T2", "serial=none"))).await;
    let refusal = line.outcome().await;
    assert_eq!((refusal.task_id.as_str(), refusal.sequence), ("T2", 1));
    let Some(outcome::Result::Failure(failure)) = refusal.result.clone() else {
        panic!("{refusal:?}")
    };
    assert!(failure.cause.contains("another task (T)") && failure.retryable);
    assert!(!failure.remedy.is_empty() && !failure.head_cleared);
    assert_eq!(line.outcome().await.task_id, "T", "the first task goes on");
    drop(line);

    // It is as durable as any outcome, and stays the answer although the agent is free by now.
    let mut line = world.line().await;
    line.greet().await;
    line.send(Theirs::Task(deploy("T2", "serial=none"))).await;
    let first = line.outcome().await;
    assert_eq!(first.task_id, "T");
    assert_eq!(line.outcome().await, refusal);
    line.send(Theirs::Ack(Ack {
        task_id: "T2".into(),
        sequence: 1,
    }))
    .await;
    line.send(Theirs::Task(deploy("T3", "serial=none"))).await;
    assert_eq!(line.outcome().await.task_id, "T3");
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_comes_in_the_moment_of_the_outcome_is_begun_afterwards() {
    let mut world = World::new(SignedDuration::from_hours(24)).await;
    let (stop, agent) = world.start();
    let mut line = world.line().await;
    line.greet().await;
    let kind = Some(task::Kind::Reboot(RebootTask {}));
    let task_id = "R".to_owned();
    line.send(Theirs::Task(Task { task_id, kind })).await;
    let outcome = line.outcome().await;
    line.send(Theirs::Task(deploy("T", "serial=none"))).await;
    line.send(Theirs::Cancel(CancelTask {
        task_id: "R".into(),
        reason: "cancelled".into(),
    }))
    .await;
    line.send(Theirs::Ack(Ack {
        task_id: "R".into(),
        sequence: outcome.sequence,
    }))
    .await;
    let next = line.outcome().await;
    let Some(outcome::Result::Failure(failure)) = next.result else {
        panic!("{next:?}")
    };
    assert_eq!(next.task_id, "T");
    assert!(
        failure.cause.contains("the machine has no disk"),
        "{}",
        failure.cause
    );
    stop.cancel();
    agent.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn renews_its_certificate_at_two_thirds_of_its_life() {
    let mut world = World::new(SignedDuration::from_secs(4)).await;
    let (stop, agent) = world.start();
    let first = world.line().await.greet_and_hold().await;
    let mut second = world.line().await;
    assert_eq!(
        second.greet().await.start_count,
        1,
        "the same agent with a new session"
    );
    drop(first);
    stop.cancel();
    agent.await.unwrap().unwrap();
}

impl Line {
    async fn greet_and_hold(mut self) -> Self {
        self.greet().await;
        self
    }
}

#[tokio::test]
async fn an_identity_that_is_no_use_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        identity: folder.path().join("none"),
        state: folder.path().join("state"),
        root: folder.path().into(),
        log: Log::default(),
    };
    let error = run_until(options, &CancellationToken::new(), Arc::new(|_| {}))
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Identity(IdentityError::Read { .. })));
}
