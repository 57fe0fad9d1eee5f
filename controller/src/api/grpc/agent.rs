//! gRPC: the sessions of agents.
//!
//! One task for each session reads what the agent says; what the controller says goes through the outbox that the hub has. The
//! session ends when the agent ends it, when it is silent for too long, when another session of the node takes over
//! (ABORTED), or with the controller.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use imprint_proto::agent::v1::{
    AgentMessage, ControllerMessage, Hello,
    agent_message::Message,
    agent_server::{Agent, AgentServer},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    service::{LayerExt as _, RoutesBuilder},
};
use tower::util::MapRequestLayer;

use super::{lean::cut, peer_node};
use crate::{
    api::rest::problem::chain,
    app::App,
    deploy::{Outgoing, Seat},
    inventory::{Inventory, InventoryError},
};

/// Messages that may wait for an agent that does not read.
const OUTBOX: usize = 256;

/// How long an agent may take to say Hello.
const HELLO_LIMIT: Duration = Duration::from_secs(30);

/// Largest message of an agent: an inventory of 1,024 disks.
const MAX_MESSAGE: usize = 4 << 20;

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    let agent = AgentServer::new(AgentService(app.clone())).max_decoding_message_size(MAX_MESSAGE);
    routes.add_service(MapRequestLayer::new(cut).named_layer(agent));
}

/// `imprint.agent.v1.Agent`.
#[derive(Debug, Clone)]
struct AgentService(App);

type Outbox = mpsc::Sender<Outgoing>;

#[tonic::async_trait]
impl Agent for AgentService {
    type SessionStream = BoxStream<'static, Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node_id = peer_node(&request)?;
        self.0.nodes.get(&node_id).await.map_err(|error| match error {
            InventoryError::NotFound { .. } => {
                Status::unauthenticated("The node of this certificate is not known any more.")
            }
            error => fault(&error),
        })?;
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        // What is put into the outbox while the agent takes its place is not said before it has.
        let (seated, begins) = oneshot::channel();
        let app = self.0.clone();
        // On the heap, as it is handed on from one to the other, and each would have room for it.
        let inbound = Box::new(request.into_inner());
        tokio::spawn(async move { run(&app, &node_id, inbound, &outbox, seated).await });
        let open = |out| match out {
            Outgoing::Message(message) => Ok(*message),
            Outgoing::LastWord(status) => Err(*status),
        };
        let begins = stream::once(begins).filter_map(|_: Result<(), _>| None);
        Ok(Response::new(Box::pin(
            begins.chain(ReceiverStream::new(outgoing).map(open)),
        )))
    }
}

/// The whole life of a session. `seated` goes when the agent has its place, or gets none.
async fn run(
    app: &App,
    node_id: &str,
    mut inbound: Box<Streaming<AgentMessage>>,
    outbox: &Outbox,
    seated: oneshot::Sender<()>,
) {
    let hello = match timeout(HELLO_LIMIT, inbound.message()).await {
        Ok(Ok(Some(AgentMessage {
            message: Some(Message::Hello(hello)),
        }))) => hello,
        Ok(Ok(_)) => {
            return last_word(
                outbox,
                Status::invalid_argument("The first message of a session is Hello."),
            )
            .await;
        }
        Ok(Err(status)) => {
            return tracing::debug!(node.id = node_id, %status, "a session broke before it began");
        }
        Err(_) => {
            return last_word(
                outbox,
                Status::deadline_exceeded("The agent did not say Hello in time."),
            )
            .await;
        }
    };
    match attend(app, node_id, &hello, inbound, outbox, seated).await {
        Ok(()) => {}
        Err(status) => last_word(outbox, status).await,
    }
}

async fn last_word(outbox: &Outbox, status: Status) {
    if outbox.send(Outgoing::LastWord(Box::new(status))).await.is_err() {
        tracing::debug!("the agent did not hear why its session ended");
    }
}

async fn attend(
    app: &App,
    node_id: &str,
    hello: &Hello,
    inbound: Box<Streaming<AgentMessage>>,
    outbox: &Outbox,
    seated: oneshot::Sender<()>,
) -> Result<(), Status> {
    let version = env!("CARGO_PKG_VERSION");
    // What is done once is on the heap while it lasts, and so is what a message leads to: a session mostly waits.
    let seat =
        Box::pin(
            app.deployments
                .attach(node_id, hello, outbox.clone(), app.authority.ca_pem(), version),
        )
        .await
        .map_err(|error| fault(&error))?;
    drop(seated);
    let ended = converse(app, &seat, inbound, outbox).await;
    let reason = match &ended {
        Ok(()) => "the agent ended it".to_owned(),
        Err(status) => status.message().trim_end_matches('.').to_owned(),
    };
    Box::pin(app.deployments.detach(&seat, &reason))
        .await
        .map_err(|error| fault(&error))?;
    ended
}

async fn converse(
    app: &App,
    seat: &Seat,
    mut inbound: Box<Streaming<AgentMessage>>,
    outbox: &Outbox,
) -> Result<(), Status> {
    let silence = app.deployments.silence();
    let mut last_noted = tokio::time::Instant::now();
    // One deadline that only the agent moves: what the controller says is no sign of life of the agent.
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            () = seat.superseded.cancelled() => {
                return Err(Status::aborted("Another session of this node has taken over."));
            }
            () = app.shutdown.cancelled() => return Err(Status::unavailable("The controller ends; call again.")),
            () = outbox.closed() => return Err(Status::unavailable("The connection to the agent is lost.")),
            message = inbound.message() => {
                let Some(message) = message? else { return Ok(()) };
                heard = tokio::time::Instant::now();
                if last_noted.elapsed() > Duration::from_secs(60) {
                    last_noted = heard;
                    app.nodes.seen(&seat.node_id);
                }
                Box::pin(handle(app, &seat.node_id, message)).await?;
            }
            () = tokio::time::sleep_until(heard + silence) => {
                return Err(Status::deadline_exceeded(format!("The agent was silent for {} seconds.", silence.as_secs())));
            }
        }
    }
}

async fn handle(app: &App, node_id: &str, message: AgentMessage) -> Result<(), Status> {
    let done = match message.message {
        Some(Message::Inventory(inventory)) => {
            return take_inventory(app, node_id, &Inventory::from(*inventory)).await;
        }
        Some(Message::Step(event)) => app.deployments.take_step(node_id, event).await,
        Some(Message::Progress(progress)) => app.deployments.take_progress(node_id, progress).await,
        Some(Message::Outcome(outcome)) => app.deployments.take_outcome(node_id, *outcome).await,
        Some(Message::Log(batch)) => app.deployments.take_log(node_id, &batch).await,
        Some(Message::Hello(_)) => {
            return Err(Status::invalid_argument(
                "Hello is the first message of a session only.",
            ));
        }
        // A message of a newer agent is no reason to end its session.
        Some(Message::Heartbeat(_)) | None => Ok(()),
    };
    done.map_err(|error| fault(&error))
}

/// Keeps what the hardware is; a model of it may take the machine into service.
async fn take_inventory(app: &App, node_id: &str, inventory: &Inventory) -> Result<(), Status> {
    app.nodes
        .record_inventory(node_id, inventory)
        .await
        .map_err(|error| fault(&error))?;
    let model = app.deployments.matching().hardware_model(Some(inventory)).await;
    if let Some(model) = model
        .map_err(|error| fault(&error))?
        .filter(|model| model.approve)
    {
        app.nodes
            .approve_by_model(node_id, &model.name)
            .await
            .map_err(|error| fault(&error))?;
    }
    Ok(())
}

/// A fault of the controller: the agent keeps what is not acknowledged and calls again.
fn fault(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = %chain(error), "a session ends by a fault of the controller");
    Status::unavailable("The controller cannot read or write its database just now.")
}
