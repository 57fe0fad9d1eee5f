//! The session with the controller: opened by the agent, kept open, opened again.
//!
//! One loop owns the stream. It sends what the durable [`outbox`] holds beyond the last number sent in this session
//! (so a new session resends all that is not acknowledged), the newest progress at most twice a second, and a
//! heartbeat when it has sent nothing else. Lines of the log go once a second, where the queue has room beside all that.
//! That the peer is silent is noticed by the transport's pings, which the controller answers whatever it is busy with.

use std::{sync::Arc, time::Duration};

use imprint_proto::agent::v1::{
    AgentMessage, ControllerMessage, Heartbeat, Hello, Inventory, Progress, agent_client::AgentClient,
    agent_message::Message as Ours, controller_message::Message as Theirs,
};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

pub mod backoff;
pub mod outbox;

use backoff::{Backoff, chain};
use outbox::{Outbox, sequence};

use crate::{
    identity::{BootIdentity, Credentials, NodeKey, enroll, tls},
    log::Log,
    machine::{Line, Machine},
    tasks::Tasks,
};

const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A session that was open for this long was a good one.
const HELD: Duration = Duration::from_secs(30);
/// Within this time the agents of a fleet call again whose controller has died.
const LOSS_SPREAD: Duration = Duration::from_secs(2);
/// For TCP and TLS together: a peer that accepts and then says nothing must not hold the session for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const LOG_EVERY: Duration = Duration::from_secs(1);
const QUEUE: usize = 64;
/// How long a message may wait for a peer that has stopped reading.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// All that a session needs.
#[derive(Debug)]
pub struct Session {
    /// The controller.
    pub identity: BootIdentity,
    /// The key pair of this boot.
    pub key: Arc<NodeKey>,
    /// The certificate; a renewed one is published here.
    pub credentials: watch::Sender<Credentials>,
    /// The state folder.
    pub state: std::path::PathBuf,
    /// The hardware; what is learned of it later is sent again.
    pub inventory: watch::Receiver<Inventory>,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// How often the agent was started in this boot.
    pub start_count: u32,
    /// What the self-check found.
    pub defects: Vec<String>,
    /// Durable messages.
    pub outbox: Arc<Outbox>,
    /// The work.
    pub tasks: Arc<Tasks>,
    /// One sentence about the connection, for systemd.
    pub status: watch::Sender<String>,
    /// Whose session it is.
    pub machine: Arc<dyn Machine>,
    /// What the agent says.
    pub log: Log,
}

/// What of the outbox has gone out in a session.
#[derive(Debug, Default)]
struct Sent {
    task: String,
    number: u64,
    /// Refused tasks.
    refused: Vec<String>,
    /// Lines of the log, up to this number.
    logged: u64,
}

/// Why a session ended.
enum End {
    /// Told to stop.
    Stop,
    /// The certificate was renewed: a new session uses it.
    Renewed,
    /// The connection is gone.
    Lost(Status),
}

impl Session {
    /// Keeps a session open until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new(LONGEST_WAIT);
        let mut last = String::new();
        loop {
            let began = Instant::now();
            self.machine.line(Line::Dials);
            let ended = self.once(stop).await;
            self.machine.line(Line::Lost);
            let status = match ended {
                End::Stop => return,
                End::Renewed => continue,
                End::Lost(status) => status,
            };
            // A session that held for a while is a success: what comes next is no repetition.
            let held = began.elapsed() > HELD;
            let cause = chain(&status);
            self.status.send_replace(format!("not connected: {cause}"));
            if cause != last {
                match status.code() {
                    Code::Aborted => {
                        tracing::warn!(cause, "another session of this node has replaced this one");
                    }
                    Code::Unauthenticated | Code::PermissionDenied => tracing::error!(
                        cause,
                        remedy = "restart this machine over the network for a new identity",
                        "the controller refuses the certificate of this machine"
                    ),
                    _ => {
                        tracing::warn!(controller = %self.identity.controller_url, cause, "the session is gone, connecting again");
                    }
                }
                last = cause;
            }
            let wait = match status.code() {
                Code::Aborted | Code::Unauthenticated | Code::PermissionDenied => LONGEST_WAIT,
                _ if held => backoff.after_loss(LOSS_SPREAD),
                _ => backoff.delay(),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn once(&self, stop: &CancellationToken) -> End {
        let opened = tokio::select! {
            () = stop.cancelled() => return End::Stop,
            opened = self.open() => opened,
        };
        match opened {
            Ok((sender, stream, heartbeat)) => self.serve(stop, sender, stream, heartbeat).await,
            Err(status) => End::Lost(status),
        }
    }

    /// Connects and greets.
    async fn open(
        &self,
    ) -> Result<(mpsc::Sender<AgentMessage>, Streaming<ControllerMessage>, Duration), Status> {
        let credentials = self.credentials.borrow().clone();
        let endpoint = tls::endpoint(&self.identity, Some((&credentials, &self.key)))
            .map_err(|error| Status::failed_precondition(chain(&error)))?;
        let channel = timeout(CONNECT_TIMEOUT, endpoint.connect())
            .await
            .map_err(|_| Status::deadline_exceeded("the controller does not answer the connection"))?
            .map_err(|error| Status::unavailable(chain(&error)))?;
        let mut client = AgentClient::new(channel);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let hello = Hello {
            agent_version: self.machine.version().to_owned(),
            boot_id: self.boot_id.clone(),
            task_id: self
                .tasks
                .held()
                .or_else(|| self.outbox.unfinished_task())
                .unwrap_or_default(),
            start_count: self.start_count,
            defects: self.defects.clone(),
        };
        let inventory = self.inventory.borrow().clone();
        // The queue is empty and long enough: both fit before anybody reads.
        for message in [Ours::Hello(hello), Ours::Inventory(Box::new(inventory))] {
            send(&sender, message).await?;
        }
        let greet = async {
            let mut stream = client.session(ReceiverStream::new(receiver)).await?.into_inner();
            let first = stream.message().await?.and_then(|message| message.message);
            Ok::<_, Status>((stream, first))
        };
        let (stream, first) = timeout(WELCOME_TIMEOUT, greet)
            .await
            .map_err(|_| Status::deadline_exceeded("the controller does not greet"))??;
        let Some(Theirs::Welcome(welcome)) = first else {
            return Err(Status::internal("the controller's first message is no Welcome"));
        };
        tracing::info!(
            node.id = welcome.node_id,
            controller.version = welcome.controller_version,
            "connected to the controller"
        );
        self.machine.line(Line::Open);
        self.status.send_replace(format!(
            "connected to {} as node {}",
            self.identity.controller_url, welcome.node_id
        ));
        Ok((
            sender,
            stream,
            Duration::from_secs(u64::from(welcome.heartbeat_seconds.clamp(1, 300))),
        ))
    }

    async fn serve(
        &self,
        stop: &CancellationToken,
        sender: mpsc::Sender<AgentMessage>,
        mut stream: Streaming<ControllerMessage>,
        heartbeat: Duration,
    ) -> End {
        let mut changes = self.outbox.changes();
        let mut progress = self.tasks.progress();
        let mut inventory = self.inventory.clone();
        let mut still_learning = true;
        let mut tick = interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_sent = Instant::now();
        let mut next_log = last_sent;
        let mut sent = Sent {
            logged: self.log.acknowledged(),
            ..Sent::default()
        };
        let mut renewal = Backoff::new(Duration::from_secs(300));
        let mut next_renewal = Instant::now();
        changes.mark_changed();
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => return End::Stop,
                message = stream.message() => match message {
                    Ok(Some(message)) => {
                        self.take(message);
                        Ok(false)
                    }
                    Ok(None) => Err(Status::unavailable("the controller has ended the session")),
                    Err(status) => Err(status),
                },
                changed = changes.changed() => match changed {
                    Ok(()) => self.send_pending(&sender, &mut sent).await,
                    Err(_) => return End::Stop,
                },
                changed = inventory.changed(), if still_learning => match changed {
                    Ok(()) => {
                        let learned = inventory.borrow_and_update().clone();
                        send(&sender, Ours::Inventory(Box::new(learned))).await.map(|()| true)
                    }
                    Err(_) => {
                        still_learning = false;
                        Ok(false)
                    }
                },
                _ = tick.tick() => {
                    if Timestamp::now() >= self.credentials.borrow().renew_at() && Instant::now() >= next_renewal {
                        if self.renew().await {
                            return End::Renewed;
                        }
                        next_renewal = Instant::now() + renewal.delay();
                    }
                    if Instant::now() >= next_log && self.send_log(&sender, &mut sent) {
                        last_sent = Instant::now();
                        next_log = last_sent + LOG_EVERY;
                    }
                    self.send_tick(&sender, &mut progress, last_sent.elapsed() >= heartbeat).await
                }
            };
            match step {
                Ok(true) => last_sent = Instant::now(),
                Ok(false) => {}
                Err(status) => return End::Lost(status),
            }
        }
    }

    fn take(&self, message: ControllerMessage) {
        match message.message {
            Some(Theirs::Task(task)) => self.tasks.accept(task),
            Some(Theirs::Cancel(cancel)) => self.tasks.cancel(&cancel.task_id, &cancel.reason),
            Some(Theirs::Ack(ack)) => self.outbox.acknowledge(&ack.task_id, ack.sequence),
            Some(Theirs::Log(ack)) => self.log.acknowledge(&ack),
            // A second Welcome, or what a newer controller says.
            Some(Theirs::Welcome(_)) | None => {}
        }
    }

    /// True when something was sent.
    async fn send_pending(
        &self,
        sender: &mpsc::Sender<AgentMessage>,
        sent: &mut Sent,
    ) -> Result<bool, Status> {
        let task = self.outbox.task();
        if sent.task != task {
            (sent.task, sent.number) = (task, 0); // a new task counts from 1 again
        }
        let mut any = false;
        for message in self.outbox.pending_after(sent.number) {
            let number = sequence(&message);
            if matches!(message.message, Some(Ours::Outcome(_))) {
                // The machine may leave the ramdisk as soon as this is acknowledged.
                self.send_log(sender, sent);
            }
            send_message(sender, message).await?;
            sent.number = number;
            any = true;
        }
        let refusals = self.outbox.refusals();
        sent.refused
            .retain(|task_id| refusals.iter().any(|refusal| refusal.task_id == *task_id));
        for refusal in refusals {
            if !sent.refused.contains(&refusal.task_id) {
                sent.refused.push(refusal.task_id.clone());
                send(sender, Ours::Outcome(Box::new(refusal))).await?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Sends the next lines of the log if the queue has room beside what matters more; true when it had.
    fn send_log(&self, sender: &mpsc::Sender<AgentMessage>, sent: &mut Sent) -> bool {
        if sender.capacity() < QUEUE / 2 {
            return false;
        }
        let Some((batch, last)) = self.log.batch_after(sent.logged) else {
            return false;
        };
        let message = AgentMessage {
            message: Some(Ours::Log(batch)),
        };
        let went = sender.try_send(message).is_ok();
        if went {
            sent.logged = last;
        }
        went
    }

    async fn send_tick(
        &self,
        sender: &mpsc::Sender<AgentMessage>,
        progress: &mut watch::Receiver<Option<Progress>>,
        heartbeat: bool,
    ) -> Result<bool, Status> {
        let newest = if progress.has_changed().unwrap_or(false) {
            progress.borrow_and_update().clone()
        } else {
            None
        };
        match newest {
            Some(newest) => send(sender, Ours::Progress(newest)).await.map(|()| true),
            None if heartbeat => send(sender, Ours::Heartbeat(Heartbeat {})).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn renew(&self) -> bool {
        let old = self.credentials.borrow().clone();
        match enroll::renew(&self.identity, &self.key, &old, &self.state).await {
            Ok(new) => {
                tracing::info!(expires_at = %new.expires_at, "the certificate has been renewed");
                self.credentials.send_replace(new);
                true
            }
            Err(status) => {
                tracing::warn!(cause = chain(&status), expires_at = %old.expires_at, "cannot renew the certificate yet");
                false
            }
        }
    }
}

async fn send(sender: &mpsc::Sender<AgentMessage>, message: Ours) -> Result<(), Status> {
    send_message(
        sender,
        AgentMessage {
            message: Some(message),
        },
    )
    .await
}

async fn send_message(sender: &mpsc::Sender<AgentMessage>, message: AgentMessage) -> Result<(), Status> {
    match timeout(SEND_TIMEOUT, sender.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Status::unavailable("the session has ended")),
        Err(_) => Err(Status::deadline_exceeded("the controller takes no messages")),
    }
}
