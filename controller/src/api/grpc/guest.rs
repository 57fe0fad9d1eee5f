//! gRPC: the sessions of guest plugins.
//!
//! One task for each session. It ends when the plugin ends it, when it is silent for too long, when another session of the
//! node takes over (ABORTED), when its system is not on the node any more (UNAUTHENTICATED), or with the controller.

use std::time::Duration;

use futures::stream::BoxStream;
use imprint_proto::agent::v1::{
    GuestEventAck, GuestHello, GuestMessage, GuestOrder, GuestWelcome, RenewCertificateRequest,
    RenewCertificateResponse,
    guest_message::Message,
    guest_order,
    guest_server::{Guest, GuestServer},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    service::{LayerExt as _, RoutesBuilder},
};
use tower::util::MapRequestLayer;

use super::{enrollment::check_csr, lean::cut};
use crate::{
    api::rest::problem::chain,
    app::App,
    guests::{GuestError, GuestSeat, Outgoing},
    identity::GuestId,
    server::Peer,
};

/// Messages that may wait for a plugin that does not read.
const OUTBOX: usize = 16;
/// How long a plugin may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(30);
/// Tens of thousands of systems are connected and mostly have nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(180);
/// A hello with all its findings, or an event with its diff.
const MAX_MESSAGE: usize = 128 << 10;
/// Events of one system that are taken in a stretch; one that tells more is held back, not heard.
const MAX_EVENTS: u32 = 60;
const STRETCH: Duration = Duration::from_secs(600);

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    let guest = GuestServer::new(GuestService(app.clone())).max_decoding_message_size(MAX_MESSAGE);
    routes.add_service(MapRequestLayer::new(cut).named_layer(guest));
}

/// `imprint.agent.v1.Guest`.
#[derive(Debug, Clone)]
struct GuestService(App);

/// On the heap, as [`Outgoing`] is.
type Answer = Result<Outgoing, Box<Status>>;
type Answers = mpsc::Sender<Answer>;

#[tonic::async_trait]
impl Guest for GuestService {
    type SessionStream = BoxStream<'static, Result<GuestOrder, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<GuestMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let guest = peer(&request)?;
        let (answers, stream) = mpsc::channel(OUTBOX);
        let app = self.0.clone();
        let inbound = Box::new(request.into_inner());
        tokio::spawn(async move {
            let ended = run(&app, &guest, inbound, &answers).await;
            // Whoever has gone does not hear why.
            if let Err(status) = ended {
                let _ = answers.send(Err(Box::new(status))).await;
            }
        });
        let open = |answer: Answer| answer.map(|order| *order).map_err(|status| *status);
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(open))))
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        let guest = peer(&request)?;
        let csr_der = request.into_inner().csr_der;
        check_csr(&csr_der)?;
        let certificate_chain_der = self
            .0
            .guests
            .renew(&guest, &csr_der)
            .await
            .map_err(|error| fault(&error))?;
        Ok(Response::new(RenewCertificateResponse {
            certificate_chain_der,
        }))
    }
}

fn peer<T>(request: &Request<T>) -> Result<GuestId, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|peer| peer.guest.clone()).ok_or_else(|| {
        Status::unauthenticated(
            "The call needs the client certificate that a first-boot report is answered with.",
        )
    })
}

/// The whole life of a session.
async fn run(
    app: &App,
    guest: &GuestId,
    mut inbound: Box<Streaming<GuestMessage>>,
    answers: &Answers,
) -> Result<(), Status> {
    let hello = match timeout(HELLO_LIMIT, inbound.message()).await {
        Ok(message) => match message?.and_then(|message| message.message) {
            Some(Message::Hello(hello)) => hello,
            _ => {
                return Err(Status::invalid_argument(
                    "The first message of a session is GuestHello.",
                ));
            }
        },
        Err(_) => {
            return Err(Status::deadline_exceeded(
                "The plugin did not say who it is in time.",
            ));
        }
    };
    let (outbox, outgoing) = mpsc::channel(OUTBOX);
    // What is done once is on the heap while it lasts, and so is what a message leads to: a session mostly waits.
    let seat = Box::pin(attach(app, guest, &hello, outbox)).await?;
    let welcome = Box::new(GuestOrder {
        message: Some(guest_order::Message::Welcome(GuestWelcome {
            controller_version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat_seconds: u32::try_from(HEARTBEAT.as_secs()).unwrap_or(u32::MAX),
        })),
    });
    let ended = match say(answers, welcome).await {
        Ok(()) => converse(app, &seat, inbound, outgoing, answers).await,
        Err(status) => Err(status),
    };
    app.guests.detach(&seat);
    ended
}

async fn attach(
    app: &App,
    guest: &GuestId,
    hello: &GuestHello,
    outbox: mpsc::Sender<Outgoing>,
) -> Result<GuestSeat, Status> {
    if hello.sealing_key.len() != 32 {
        return Err(Status::invalid_argument("The sealing key has not 32 bytes."));
    }
    app.guests
        .attach(guest, hello, outbox)
        .await
        .map_err(|error| fault(&error))
}

async fn converse(
    app: &App,
    seat: &GuestSeat,
    mut inbound: Box<Streaming<GuestMessage>>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    answers: &Answers,
) -> Result<(), Status> {
    let mut heard = Instant::now();
    let mut stretch = (Instant::now(), 0);
    loop {
        tokio::select! {
            biased;
            () = seat.ended.cancelled() => {
                return Err(Status::aborted("Another session of this node has taken over."));
            }
            () = app.shutdown.cancelled() => return Err(Status::unavailable("The controller ends; call again.")),
            Some(order) = outgoing.recv() => say(answers, order).await?,
            message = inbound.message() => {
                let Some(message) = message? else { return Ok(()) };
                heard = Instant::now();
                if matches!(message.message, Some(Message::Event(_))) {
                    if stretch.0.elapsed() > STRETCH {
                        stretch = (heard, 0);
                    }
                    stretch.1 += 1;
                    if stretch.1 > MAX_EVENTS {
                        return Err(Status::resource_exhausted("This system tells more than anybody can read."));
                    }
                }
                Box::pin(handle(app, seat, message, answers)).await?;
            }
            () = sleep_until(heard + SILENCE) => {
                return Err(Status::deadline_exceeded(format!("The plugin was silent for {} seconds.", SILENCE.as_secs())));
            }
        }
    }
}

async fn handle(app: &App, seat: &GuestSeat, message: GuestMessage, answers: &Answers) -> Result<(), Status> {
    match message.message {
        Some(Message::Event(event)) => {
            let taken = app.guests.take_event(seat, &event).await;
            taken.map_err(|error| fault(&error.into()))?;
            let ack = guest_order::Message::EventAck(GuestEventAck { id: event.id });
            say(answers, Box::new(GuestOrder { message: Some(ack) })).await
        }
        Some(Message::PasswordReset(result)) => {
            let taken = app.guests.take_result(seat, &result).await;
            taken.map_err(|error| fault(&error.into()))
        }
        Some(Message::Disks(told)) => {
            app.guests.take_disks(seat, told);
            Ok(())
        }
        Some(Message::Heartbeat(_)) => app.guests.seen(seat).await.map_err(|error| fault(&error)),
        Some(Message::Hello(_)) => Err(Status::invalid_argument(
            "GuestHello is the first message of a session only.",
        )),
        // A message of a newer plugin is no reason to end its session.
        None => Ok(()),
    }
}

async fn say(answers: &Answers, order: Outgoing) -> Result<(), Status> {
    answers
        .send(Ok(order))
        .await
        .map_err(|_| Status::unavailable("The connection to the plugin is lost."))
}

fn fault(error: &GuestError) -> Status {
    match error {
        GuestError::Gone => Status::unauthenticated(
            "The system of this certificate is not on its node any more: the node was deleted, or deployed anew.",
        ),
        GuestError::Identity(error) => Status::invalid_argument(chain(error)),
        error => {
            tracing::error!(error = %chain(error), "a session of a guest plugin ends by a fault of the controller");
            Status::unavailable("The controller cannot read or write its database just now.")
        }
    }
}
