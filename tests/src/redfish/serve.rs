//! HTTPS around the BMC, with a certificate of its own making, as BMCs have them.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::Listener;
use http::{HeaderValue, header};
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::service::{Manner, Reply, Service};

/// Longest request that is read.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long a client may take for TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A BMC that serves. It ends when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where: https://127.0.0.1:PORT.
    pub address: String,
    /// SHA-256 over its certificate, hex.
    pub fingerprint: String,
    /// Its certificate.
    pub certificate_pem: String,
    /// What it is.
    pub service: Service,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a BMC at an address of this host.
pub async fn serve(service: Service, listen: SocketAddr) -> Result<Served> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["bmc.lab".to_owned(), listen.ip().to_string()])
            .context("cannot make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot set TLS up")?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .context("cannot use the certificate")?;
    let tcp = TcpListener::bind(listen).await;
    let tcp = tcp.with_context(|| format!("cannot listen at {listen}"))?;
    let address = tcp.local_addr().context("no address of a listener")?;
    let listener = TlsListener {
        tcp,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        service: service.clone(),
    };
    let router = Router::new().fallback(answer).with_state(service.clone());
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("the BMC has ended: {error}");
        }
    });
    Ok(Served {
        address: format!("https://{address}"),
        fingerprint: hex::encode(Sha256::digest(cert.der())),
        certificate_pem: cert.pem(),
        service,
        task,
    })
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    service: Service,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if self.service.is_away() {
                continue;
            }
            // Who does not trust the certificate leaves here.
            let shaken = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn answer(State(service): State<Service>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    // The machine may have to be waited for.
    let asked = tokio::task::spawn_blocking(move || {
        service.answer(&parts.method, parts.uri.path(), &parts.headers, &body)
    });
    match asked.await {
        Ok(reply) => response(reply).await,
        Err(error) => {
            eprintln!("the BMC has died of a request: {error}");
            pending().await
        }
    }
}

async fn response(reply: Reply) -> Response {
    let body = match (reply.manner, reply.body) {
        (Manner::Silent, _) => return pending().await,
        (Manner::Garbage, _) => Body::from("<html>It works!</html>"),
        (Manner::Endless, _) => {
            let piece = || Ok::<_, io::Error>(Bytes::from(vec![b' '; 64 << 10]));
            Body::from_stream(tokio_stream::iter(std::iter::repeat_with(piece)))
        }
        (Manner::Plain, Some(document)) => Body::from(document.to_string()),
        (Manner::Plain, None) => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}
