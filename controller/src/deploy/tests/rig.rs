//! A controller that serves, and a machine whose agent speaks through a real connection.

use std::time::Duration;

use imprint_proto::agent::v1::{
    self as wire, agent_client::AgentClient, agent_message, controller_message,
    enrollment_client::EnrollmentClient, first_boot_client::FirstBootClient,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub(super) use super::said::{
    deploy_task, failure, fingerprint, first_boot, hello, inventory, report_token, step_event, success,
};
use crate::{
    app::App,
    boot::{BootAction, BootFacts},
    clock::Clock,
    config::Config,
    deploy::{DeployRequest, Deployment},
    events::{Event, EventQuery},
    ingest::ImportRequest,
    power::{BmcKind, NewBmc},
    testing::{TestServer, crash},
};
pub(super) use crate::{identity::Viewer, testing::admin};

pub(super) const UUID: &str = "9f1b0000-2222-4333-8444-000000000001";
pub(super) const MAC: &str = "52:54:00:ab:cd:01";
pub(super) const GIB: u64 = 1 << 30;

/// A controller with an image `debian` of 4 MiB.
pub(super) struct Rig {
    pub server: TestServer,
    pub clock: Clock,
    config: Config,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fake(jiff::Timestamp::now());
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut config = Config::loopback(data);
        config.boot.ramdisk_dir = dir.path().join("ramdisk");
        std::fs::create_dir(&config.boot.ramdisk_dir).unwrap();
        std::fs::write(config.boot.ramdisk_dir.join("rescue.img"), "rescue").unwrap();
        let app = App::for_test_with(config.clone(), clock.clone()).await;
        let request = ImportRequest {
            spec: crate::catalog::ImageSpec::named("debian"),
            file: crate::ingest::FileSpec::default(),
            idempotency_key: None,
            by: admin(),
        };
        app.ingest
            .import(request, None, axum::body::Body::from(vec![7_u8; 4 << 20]))
            .await
            .unwrap();
        Self {
            server: TestServer::serve(app).await,
            clock,
            config,
            _dir: dir,
        }
    }

    pub(super) fn app(&self) -> &App {
        &self.server.app
    }

    /// Ends the controller and starts it again over the same data.
    pub(super) async fn restart(self) -> Self {
        self.restart_over(|_| ()).await
    }

    /// The same, with something done to the data folder in between.
    pub(super) async fn restart_over(self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        let app = self.server.app.clone();
        // An open session is no reason to wait.
        assert_eq!(self.server.stop().await, crate::server::Ended::Answered);
        app.close().await;
        drop(app);
        meanwhile(&self.config.data_dir);
        Self::over(self.config, self.clock, self._dir).await
    }

    /// A controller over data that is there.
    async fn over(config: Config, clock: Clock, _dir: tempfile::TempDir) -> Self {
        let app = App::open(config.clone(), clock.clone()).await.unwrap();
        Self {
            server: TestServer::serve(app).await,
            clock,
            config,
            _dir,
        }
    }

    /// Starts the controller again after it was killed (`crash::now`): what it would write down at its end is lost.
    pub(super) async fn restart_killed(self) -> Self {
        let app = self.server.app.clone();
        self.server.stop().await;
        app.close().await;
        drop(app);
        assert!(crash::never(), "the controller was alive");
        Self::over(self.config, self.clock, self._dir).await
    }

    /// Ends the controller, and starts one over a backup that was restored; the store is the same.
    pub(super) async fn restored(self, backup: &std::path::Path) -> Self {
        let app = self.server.app.clone();
        self.server.stop().await;
        app.close().await;
        drop(app);
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("restored");
        crate::backup::restore(backup, &data, &self.clock).await.unwrap();
        std::fs::remove_dir_all(data.join("store")).unwrap();
        std::fs::rename(self.config.data_dir.join("store"), data.join("store")).unwrap();
        Self::over(Config::loopback(&data), self.clock, dir).await
    }

    /// A machine that has enrolled, with its certificate.
    pub(super) async fn machine(&self) -> Machine {
        let token = self.app().boot_tokens.issue(&facts()).await.unwrap();
        self.enroll(&token.token, fingerprint()).await.unwrap()
    }

    pub(super) async fn enroll(
        &self,
        token: &str,
        fingerprint: wire::Fingerprint,
    ) -> Result<Machine, Status> {
        self.enroll_with(&KeyPair::generate().unwrap(), token, fingerprint)
            .await
    }

    pub(super) async fn enroll_with(
        &self,
        key: &KeyPair,
        token: &str,
        fingerprint: wire::Fingerprint,
    ) -> Result<Machine, Status> {
        let csr = CertificateParams::default().serialize_request(key).unwrap();
        let request = wire::EnrollRequest {
            boot_token: token.to_owned(),
            csr_der: csr.der().to_vec(),
            fingerprint: Some(fingerprint),
            agent_version: "0.1.0".to_owned(),
            boot_id: "boot-1".to_owned(),
        };
        let answer = EnrollmentClient::new(self.server.channel().await)
            .enroll(request)
            .await?
            .into_inner();
        let chain: String = answer.certificate_chain_der.iter().map(|der| pem(der)).collect();
        Ok(Machine {
            node_id: answer.node_id,
            identity: Identity::from_pem(chain, key.serialize_pem()),
        })
    }

    /// A machine that was taken into service, and whose agent is connected.
    pub(super) async fn available(&self) -> (Machine, FakeAgent) {
        let machine = self.machine().await;
        let mut agent = self.connect(&machine, hello("boot-1", "")).await;
        agent
            .send(agent_message::Message::Inventory(Box::new(inventory())))
            .await;
        self.until(|app| {
            let id = machine.node_id.clone();
            async move { app.nodes.inventory(&id).await.unwrap().is_some() }
        })
        .await;
        self.app()
            .nodes
            .approve(&admin(), &machine.node_id, None)
            .await
            .unwrap();
        (machine, agent)
    }

    pub(super) async fn node_channel(&self, machine: &Machine) -> Channel {
        let ca = Certificate::from_pem(self.app().authority.ca_pem().as_bytes());
        let tls = ClientTlsConfig::new()
            .ca_certificate(ca)
            .identity(machine.identity.clone());
        Endpoint::from_shared(self.server.base.clone())
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Opens a session and takes the Welcome.
    pub(super) async fn connect(&self, machine: &Machine, hello: wire::Hello) -> FakeAgent {
        let (outbox, stream) = mpsc::channel(64);
        outbox
            .send(message(agent_message::Message::Hello(hello)))
            .await
            .unwrap();
        let mut client = AgentClient::new(self.node_channel(machine).await);
        let inbox = client
            .session(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        let mut agent = FakeAgent {
            outbox,
            inbox,
            sequence: 0,
        };
        let controller_message::Message::Welcome(welcome) = agent.next().await else {
            panic!("no Welcome")
        };
        assert_eq!(
            (welcome.node_id, welcome.heartbeat_seconds),
            (machine.node_id.clone(), 30)
        );
        agent
    }

    pub(super) async fn report(&self, token: &str, report: wire::FirstBootReport) -> Result<(), Status> {
        let mut request = Request::new(report);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        FirstBootClient::new(self.server.channel().await)
            .report(request)
            .await
            .map(drop)
    }

    pub(super) async fn deploy(&self, machine: &Machine) -> Deployment {
        self.app()
            .deployments
            .create(&admin(), &request(machine), None)
            .await
            .unwrap()
    }

    pub(super) async fn deployment(&self, id: &str) -> Deployment {
        self.app().deployments.get(&Viewer::All, id).await.unwrap()
    }

    pub(super) async fn events(&self) -> Vec<Event> {
        self.app()
            .events
            .list(&EventQuery {
                page_size: 1000,
                ..EventQuery::default()
            })
            .await
            .unwrap()
            .items
    }

    pub(super) async fn count(&self, kind: &str) -> usize {
        self.events()
            .await
            .iter()
            .filter(|event| event.kind == kind)
            .count()
    }

    pub(super) async fn boots_ramdisk(&self) -> bool {
        match self.app().deployments.boot_action(&facts()).await.unwrap() {
            BootAction::Ramdisk { reason, .. } => !reason.is_empty(),
            BootAction::LocalDisk { reason, .. } => reason.is_empty(),
        }
    }

    /// A machine that runs its own system, deployed from here; its agent is gone.
    pub(super) async fn active(&self) -> (Machine, Deployment) {
        let (machine, mut agent) = self.available().await;
        let deployment = self.deploy(&machine).await;
        let task = agent.task().await;
        self.installs(&mut agent, &task, &deployment).await;
        drop(agent);
        self.until_away().await;
        (machine, deployment)
    }

    /// The agent does its task, and the system starts and reports.
    pub(super) async fn installs(&self, agent: &mut FakeAgent, task: &wire::Task, deployment: &Deployment) {
        agent
            .step(&task.task_id, wire::Step::Write, wire::StepKind::Started)
            .await;
        agent.outcome(&task.task_id, success(deployment)).await;
        self.report(&report_token(task), first_boot(deployment, "b1"))
            .await
            .unwrap();
    }

    /// Waits until the agent's session has ended.
    pub(super) async fn until_away(&self) {
        self.until(|app| async move {
            !app.deployments
                .hub()
                .is_connected(&app.nodes.find(&Viewer::All, MAC).await.unwrap().id)
        })
        .await;
    }

    /// Waits until something that happens elsewhere has happened.
    pub(super) async fn until<F: Future<Output = bool>>(&self, check: impl Fn(App) -> F) {
        for _ in 0..500 {
            if check(self.app().clone()).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen within 5 seconds");
    }
}

pub(super) struct Machine {
    pub node_id: String,
    identity: Identity,
}

pub(super) struct FakeAgent {
    outbox: mpsc::Sender<wire::AgentMessage>,
    inbox: Streaming<wire::ControllerMessage>,
    pub sequence: u64,
}

impl FakeAgent {
    pub(super) async fn send(&mut self, body: agent_message::Message) {
        self.outbox.send(message(body)).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> controller_message::Message {
        self.try_next().await.unwrap().message.unwrap()
    }

    pub(super) async fn try_next(&mut self) -> Result<wire::ControllerMessage, Status> {
        let message = timeout(Duration::from_secs(10), self.inbox.message())
            .await
            .expect("the controller says something");
        message.map(|message| message.expect("the session is open"))
    }

    pub(super) async fn task(&mut self) -> wire::Task {
        match self.next().await {
            controller_message::Message::Task(task) => task,
            other => panic!("expected a task, got {other:?}"),
        }
    }

    pub(super) async fn cancelled(&mut self) -> String {
        match self.next().await {
            controller_message::Message::Cancel(cancel) => cancel.task_id,
            other => panic!("expected a cancellation, got {other:?}"),
        }
    }

    pub(super) async fn acked(&mut self) -> u64 {
        match self.next().await {
            controller_message::Message::Ack(ack) => ack.sequence,
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }

    /// Sends a step event and waits until it is kept.
    pub(super) async fn step(&mut self, task: &str, step: wire::Step, kind: wire::StepKind) {
        self.sequence += 1;
        let event = step_event(task, self.sequence, step, kind);
        self.send(agent_message::Message::Step(event)).await;
        assert_eq!(self.acked().await, self.sequence);
    }

    pub(super) async fn outcome(&mut self, task: &str, result: wire::outcome::Result) {
        self.send_outcome(task, result).await;
        assert_eq!(self.acked().await, self.sequence);
    }

    /// Sends a success that is not wanted any more: cancelled before it is acknowledged, for the agent restarts with
    /// the acknowledgement.
    pub(super) async fn unwanted_outcome(&mut self, task: &str, result: wire::outcome::Result) {
        self.send_outcome(task, result).await;
        assert_eq!(self.cancelled().await, task);
        assert_eq!(self.acked().await, self.sequence);
    }

    /// Sends the end of a wipe, and waits until it is kept.
    pub(super) async fn certified(
        &mut self,
        task: &str,
        result: wire::outcome::Result,
        certificates: Vec<wire::WipeCertificate>,
    ) {
        self.sequence += 1;
        let outcome = wire::Outcome {
            task_id: task.to_owned(),
            sequence: self.sequence,
            result: Some(result),
            certificates,
        };
        self.send(agent_message::Message::Outcome(Box::new(outcome)))
            .await;
        // One that is not believed is told to stop first.
        while !matches!(self.next().await, controller_message::Message::Ack(_)) {}
    }

    /// Ends the session; what the controller had said until then.
    pub(super) async fn heard(self) -> Vec<controller_message::Message> {
        let Self {
            outbox, mut inbox, ..
        } = self;
        drop(outbox);
        let mut heard = Vec::new();
        while let Ok(Ok(Some(message))) = timeout(Duration::from_secs(10), inbox.message()).await {
            heard.extend(message.message);
        }
        heard
    }

    pub(super) async fn send_outcome(&mut self, task: &str, result: wire::outcome::Result) {
        self.sequence += 1;
        let outcome = wire::Outcome {
            task_id: task.to_owned(),
            sequence: self.sequence,
            result: Some(result),
            ..wire::Outcome::default()
        };
        self.send(agent_message::Message::Outcome(Box::new(outcome)))
            .await;
    }

    pub(super) async fn progress(&mut self, task: &str, done: u64) {
        let progress = wire::Progress {
            task_id: task.to_owned(),
            step: wire::Step::Write.into(),
            bytes_done: done,
            bytes_total: 4 << 20,
            ..wire::Progress::default()
        };
        self.send(agent_message::Message::Progress(progress)).await;
    }
}

/// A BMC that answers nobody.
pub(super) async fn has_bmc(rig: &Rig, node_id: &str) {
    let new = NewBmc {
        kind: BmcKind::Redfish,
        address: "https://127.0.0.1:1".to_owned(),
        user: "root".to_owned(),
        password: Some("secret".to_owned().into()),
        ..NewBmc::manual("")
    };
    rig.app().power.set_bmc(&admin(), node_id, new).await.unwrap();
}

/// How often a BMC was asked since: nobody asks them in these tests, and this is what comes of it.
pub(super) async fn power_ends(rig: &Rig, state: &str, why: &str) -> u64 {
    let ended = sqlx::query(
        "UPDATE power_actions SET state = ?, why = ?, remedy = 'Look at it.', ended_at = ? WHERE state = 'running'",
    )
    .bind(state)
    .bind(why)
    .bind(rig.clock.now_ms())
    .execute(&rig.app().db)
    .await
    .unwrap();
    ended.rows_affected()
}

pub(super) fn facts() -> BootFacts {
    BootFacts::parse(MAC, UUID, "SN-1", "efi").unwrap()
}

pub(super) fn request(machine: &Machine) -> DeployRequest {
    DeployRequest {
        node: machine.node_id.clone(),
        image: "debian".to_owned(),
        user_data: Some("#cloud-config\nusers: []\n".to_owned()),
        ..DeployRequest::default()
    }
}

fn message(body: agent_message::Message) -> wire::AgentMessage {
    wire::AgentMessage { message: Some(body) }
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(der)
    )
}
