//! HTTP as the data path uses it.
//!
//! HTTP/1.1 is the default, also where a server offers both: each request in flight has a connection of its own, so
//! that TLS and the kernel's work for several of them spread over all cores, one lost packet holds up one range and not
//! all, and no window but that of TCP bounds what is on the way. HTTP/2 is for servers that speak nothing else, which
//! the first handshake tells, or where an operator wants a single connection. All requests share it then; its windows
//! are large enough for a range per request and four of them at once, since no request may wait for another one's
//! window. They are fixed, not adaptive: an adaptive window grows by measuring round trips, which costs the first
//! seconds, and its size could not be held against the memory that a write may use.

use std::{
    error::Error,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Response, header::HeaderMap};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tracing::info;
use url::Url;

use super::error::cause_of;
use crate::identity::tls;

/// A connection that can't be made within this time counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed soon: the controller has one of each of thousands of agents.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// What one request may have on the way with HTTP/2: a whole range.
const STREAM_WINDOW: u32 = 4 << 20;
/// What all of them together may.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Frames of HTTP/2 that we take: fewer, larger ones cost less than the 16 KiB that are the rule.
const FRAME_BYTES: u32 = 256 << 10;
/// A connection of HTTP/2 carries everything, so that its death must be noticed.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A client with the settings of the data path. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http1: Client,
    // Made when it is needed.
    http2: OnceLock<Client>,
    use_http2: AtomicBool,
    tls: Option<ClientConfig>,
}

/// A client for HTTP/1.1, and for HTTP/2 with servers that speak nothing else. Connections are kept alive, and no
/// proxy is taken from the environment. `tls` carries trusted roots and, for a node, its certificate; without it the
/// roots of the system are used.
///
/// # Errors
/// When the TLS settings can't be used.
pub fn http_client(tls: Option<ClientConfig>) -> reqwest::Result<HttpClient> {
    if tls.is_none() {
        tls::install_provider();
    }
    let builder = builder().http1_only();
    let http1 = match &tls {
        Some(tls) => {
            let mut tls = tls.clone();
            // Named, so that a server without it says so instead of guessing.
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            builder.tls_backend_preconfigured(tls).build()?
        }
        None => builder.build()?,
    };
    Ok(HttpClient {
        shared: Arc::new(Shared {
            http1,
            http2: OnceLock::new(),
            use_http2: AtomicBool::new(false),
            tls,
        }),
    })
}

/// The same client for servers whose certificates come from `roots` alone, to which it shows none of its own.
///
/// # Errors
/// When the TLS settings can't be used.
pub fn http_client_trusting(roots: RootCertStore) -> reqwest::Result<HttpClient> {
    let tls = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    http_client(Some(tls))
}

fn builder() -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_LIMIT)
        .user_agent(concat!("imprint-agent/", env!("CARGO_PKG_VERSION")))
}

impl HttpClient {
    /// The same client, which speaks HTTP/2 with every server, also without TLS.
    #[must_use]
    pub fn with_http2(self) -> Self {
        self.shared.use_http2.store(true, Relaxed);
        self
    }

    /// What the windows of its connections can hold in memory, beyond what its requests take.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        if self.shared.use_http2.load(Relaxed) {
            u64::from(CONNECTION_WINDOW)
        } else {
            0
        }
    }

    /// Asks for what lies at `url`.
    pub(super) async fn get(&self, url: &Url, headers: HeaderMap) -> reqwest::Result<Response> {
        let shared = &self.shared;
        if !shared.use_http2.load(Relaxed) {
            let asked = shared
                .http1
                .get(url.clone())
                .headers(headers.clone())
                .send()
                .await;
            match asked {
                Err(error) if refuses_http1(&error) => {
                    if !shared.use_http2.swap(true, Relaxed) {
                        info!(host = url.host_str(), "the server speaks only HTTP/2");
                    }
                }
                asked => return asked,
            }
        }
        self.http2()?.get(url.clone()).headers(headers).send().await
    }

    fn http2(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.shared.http2.get() {
            return Ok(client);
        }
        let builder = builder()
            .http2_prior_knowledge()
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_frame_size(FRAME_BYTES)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY * 2);
        let client = match &self.shared.tls {
            Some(tls) => {
                let mut tls = tls.clone();
                tls.alpn_protocols = vec![b"h2".to_vec()];
                builder.tls_backend_preconfigured(tls).build()?
            }
            None => builder.build()?,
        };
        Ok(self.shared.http2.get_or_init(|| client))
    }
}

/// Whether a server has ended the handshake because none of the protocols that we named is its own.
fn refuses_http1(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) =
            error.downcast_ref()
        {
            return true;
        }
        next = cause_of(error);
    }
    false
}
