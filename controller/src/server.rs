//! The TLS port: REST and gRPC, HTTP/1.1 and HTTP/2, callers with tokens and nodes with certificates.
//!
//! One task accepts; each connection has a task that shakes hands (bounded in time), notes who is at the other end as
//! [`Peer`], and serves. At the end connections may finish what they do, but not for ever: a session or an event
//! stream has no end of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::{
    api::{grpc, rest},
    app::App,
    identity::{GuestId, guest_of, node_id_of},
};

pub(crate) mod drain;
#[cfg(test)]
mod tests;
mod tls;

pub use drain::Ended;
use drain::Open;
pub use tls::TlsError;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HEADER_LIMIT: Duration = Duration::from_secs(30);
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(20);
/// Handshakes at a time. A fleet that comes back all at once stands in line here: the few that are in work end soon, instead
/// of all of them too late.
const HANDSHAKES: usize = 64;
/// A handshake that takes longer waits for its peer and for no processor, and makes room for another one.
const HANDSHAKE_TURN: Duration = Duration::from_millis(250);
/// The longest that a connection stands in that line; its peer calls again.
const LINE_LIMIT: Duration = Duration::from_secs(20);
/// An agent has up to nine connections at once (one session, eight fetches).
const MAX_CONNECTIONS: usize = 20_000;
/// What one connection gathers before it writes to its socket: a piece of a pack in a few calls instead of one for
/// each TLS record.
const TLS_BUFFER_BYTES: usize = 256 << 10;
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const SEND_BUFFER_BYTES: usize = 1 << 20;
const FRAME_BYTES: u32 = 64 << 10;

/// Who is at the other end of a connection. In the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// From the verified client certificate; `None` for callers without one.
    pub node_id: Option<String>,
    /// From the verified client certificate, when it is one of a guest plugin.
    pub guest: Option<GuestId>,
    /// Where it calls from.
    pub address: SocketAddr,
}

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else has the port.
    #[error("port {} is in use; stop the other program (`ss -ltnp` shows it) or choose another `listen`", address.port())]
    InUse {
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}; check that the address is one of this machine and the port is allowed"
    )]
    Bind {
        /// Where it should listen.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// Descriptors.
    #[error("cannot set up gRPC")]
    Grpc(#[from] grpc::ReflectionError),
}

/// A server that has its port and does not serve yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    health: HealthReporter,
    shutdown: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the port, and everything that can fail.
    pub async fn bind(app: &App) -> Result<Self, ServerError> {
        let address = app.config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => ServerError::InUse { address },
                _ => ServerError::Bind { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| ServerError::Bind { address, source })?;
        let acceptor = TlsAcceptor::from(Arc::new(tls::config(app)?));
        let (grpc, health) = grpc::router(app).await?;
        let router = rest::router(app.clone(), grpc);
        Ok(Self {
            listener,
            address,
            acceptor,
            router,
            health,
            shutdown: app.shutdown.clone(),
        })
    }

    /// Where it listens; the port is the kernel's choice when the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the controller ends.
    pub async fn run(mut self) -> Ended {
        let (open, slots) = (Open::default(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        let line = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files or memory: others will end in a moment.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                tracing::warn!(%address, limit = MAX_CONNECTIONS, "connection refused: too many are open");
                continue;
            };
            let (acceptor, router) = (self.acceptor.clone(), self.router.clone());
            let (gently, here, line) = (self.shutdown.clone(), open.clone(), Arc::clone(&line));
            open.connections.spawn(async move {
                tokio::select! {
                    () = here.at_once.cancelled() => {}
                    () = connection(acceptor, router, stream, (address, &line), gently, &here) => {}
                }
                drop(slot);
            });
        }
        drop(self.listener);
        self.health.clear_service_status("").await;
        open.end(LAST_WORDS_LIMIT).await
    }
}

async fn connection(
    acceptor: TlsAcceptor,
    router: Router,
    stream: TcpStream,
    (address, line): (SocketAddr, &Semaphore),
    shutdown: CancellationToken,
    open: &Open,
) {
    // Each part is on the heap while it lasts, for itself: connections of agents last for months.
    let met = tokio::select! {
        () = shutdown.cancelled() => return,
        met = Box::pin(meet(&acceptor, stream, address, line)) => met,
    };
    if let Some((stream, peer)) = met {
        serve(router, stream, peer, shutdown, open.clone()).await;
    }
}

/// Shakes hands; who is at the other end.
async fn meet(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    line: &Semaphore,
) -> Option<(Box<TlsStream<TcpStream>>, Peer)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "TCP_NODELAY was refused");
    }
    let stream = match shake_hands(acceptor, stream, line).await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake took too long, or stood in line for too long");
            return None;
        }
    };
    let peer = Peer {
        node_id: leaf_of(&stream).and_then(node_id_of),
        guest: leaf_of(&stream).and_then(guest_of),
        address,
    };
    Some((stream, peer))
}

async fn serve(
    router: Router,
    stream: Box<TlsStream<TcpStream>>,
    peer: Peer,
    shutdown: CancellationToken,
    open: Open,
) {
    let address = peer.address;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let (open, router) = (open.clone(), router.clone());
        async move { open.answer(router, request).await }
    });
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        Box::pin(to_its_end(http2().serve_connection(stream, service), shutdown)).await
    } else {
        Box::pin(to_its_end(http1().serve_connection(stream, service), shutdown)).await
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// Serves until the other end has had enough, or the controller ends: then what was asked is still answered.
async fn to_its_end<C: GracefulConnection>(serving: C, shutdown: CancellationToken) -> Result<(), C::Error> {
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

/// Whoever has said nothing yet stands in no line, and whoever says it slowly is in nobody's way.
async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    line: &Semaphore,
) -> Result<io::Result<TlsStream<TcpStream>>, Elapsed> {
    match timeout(HANDSHAKE_LIMIT, stream.readable()).await? {
        Ok(()) => {}
        Err(error) => return Ok(Err(error)),
    }
    let mut turn = timeout(LINE_LIMIT, line.acquire()).await?.ok();
    let shaken = timeout(
        HANDSHAKE_LIMIT,
        acceptor.accept_with(stream, |c| c.set_buffer_limit(Some(TLS_BUFFER_BYTES))),
    );
    tokio::pin!(shaken);
    tokio::select! {
        shaken = &mut shaken => return shaken,
        () = tokio::time::sleep(HANDSHAKE_TURN) => drop(turn.take()),
    }
    shaken.await
}

/// The client certificate, verified.
fn leaf_of(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(AsRef::as_ref)
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_frame_size(FRAME_BYTES);
    builder
}
