//! One request with its redirects, each looked at before it is sent.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Certificate, redirect::Policy};
use url::{Host, Url};

use super::{AddressPolicy, Credential, FetchError};

const MAX_REDIRECTS: usize = 5;
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// A server that sends nothing for so long has gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

type Resolve = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Finds the addresses of a name.
#[derive(Clone)]
pub struct Resolver(Arc<Resolve>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// As the system does it.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|host, port| {
            async move {
                let found = tokio::net::lookup_host((host.as_str(), port)).await?;
                Ok(found.collect())
            }
            .boxed()
        })
    }

    /// By other means.
    pub fn new(
        resolve: impl Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(resolve))
    }
}

/// Asks servers on behalf of callers.
#[derive(Debug, Clone)]
pub struct Fetcher {
    policy: AddressPolicy,
    resolver: Resolver,
    authorities: Vec<Certificate>,
}

/// An answer, and where it came from in the end.
#[derive(Debug)]
pub struct Answer {
    /// The URL behind all redirects.
    pub url: Url,
    /// The answer, whatever its status; no redirect.
    pub response: reqwest::Response,
}

impl Fetcher {
    /// With CAs to trust beside those of the system.
    #[must_use]
    pub fn new(policy: AddressPolicy, resolver: Resolver, authorities: Vec<Certificate>) -> Self {
        // The only provider there is. Whoever came first has installed the same one.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Self {
            policy,
            resolver,
            authorities,
        }
    }

    /// A GET with its redirects. `headers` go to every server on the way, the credential to its own only.
    pub async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
    ) -> Result<Answer, FetchError> {
        let mut next = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(&next, headers, credential).await?;
            let Some(target) = redirect(&next, &response)? else {
                return Ok(Answer { url: next, response });
            };
            next = target;
        }
        Err(FetchError::Redirects {
            url: shown(url),
            limit: MAX_REDIRECTS,
        })
    }

    async fn once(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
    ) -> Result<reqwest::Response, FetchError> {
        let client = self.client_for(url).await?;
        let mut request = client.get(url.clone()).headers(headers.clone());
        if let Some(value) = credential.and_then(|credential| credential.header_for(url)) {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.send().await.map_err(|error| FetchError::Broken {
            url: shown(url),
            source: error.without_url(),
        })
    }

    /// Whether a URL may be asked as far as can be told without asking it. A name that has no address just now may have
    /// one later.
    pub(crate) async fn look(&self, url: &Url) -> Result<(), FetchError> {
        match self.client_for(url).await {
            Ok(_) | Err(FetchError::Unresolved { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A POST. Redirects are answers like others, and are not followed.
    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<reqwest::Response, FetchError> {
        let client = self.client_for(url).await?;
        let request = client.post(url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| FetchError::Broken {
            url: shown(url),
            source: error.without_url(),
        })
    }

    /// A client that can go to the addresses of this URL that were looked at, and nowhere else.
    async fn client_for(&self, url: &Url) -> Result<reqwest::Client, FetchError> {
        check(url)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .tls_certs_merge(self.authorities.clone());
        match url.host() {
            Some(Host::Ipv4(address)) => self.require(url, IpAddr::V4(address))?,
            Some(Host::Ipv6(address)) => self.require(url, IpAddr::V6(address))?,
            Some(Host::Domain(name)) => {
                let addresses = self
                    .addresses(name, url.port_or_known_default().unwrap_or(443))
                    .await?;
                builder = builder.resolve_to_addrs(name, &addresses);
            }
            None => unreachable!("a URL that was checked has a host"),
        }
        builder.build().map_err(FetchError::Client)
    }

    fn require(&self, url: &Url, address: IpAddr) -> Result<(), FetchError> {
        match self.policy.refuses(address) {
            None => Ok(()),
            Some(what) => Err(FetchError::Address {
                host: url.host_str().unwrap_or_default().to_owned(),
                address,
                what,
            }),
        }
    }

    /// The addresses of a name that may be asked. One that may not is left out; a name that has no other is refused.
    async fn addresses(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
        let unresolved = |source| FetchError::Unresolved {
            host: name.to_owned(),
            source,
        };
        let found = (self.resolver.0)(name.to_owned(), port)
            .await
            .map_err(|error| unresolved(Some(error)))?;
        let mut refused = None;
        let mut asked = Vec::new();
        for address in found {
            match self.policy.refuses(address.ip()) {
                None => asked.push(address),
                Some(what) => refused = Some((address.ip(), what)),
            }
        }
        match refused {
            _ if !asked.is_empty() => Ok(asked),
            Some((address, what)) => Err(FetchError::Address {
                host: name.to_owned(),
                address,
                what,
            }),
            None => Err(unresolved(None)),
        }
    }
}

/// Refuses what is no plain http or https URL.
pub(crate) fn check(url: &Url) -> Result<(), FetchError> {
    let reason = if !matches!(url.scheme(), "http" | "https") {
        "only http and https are fetched"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it holds a user name or a password"
    } else if url.host().is_none() {
        "it has no host"
    } else {
        return Ok(());
    };
    Err(FetchError::Url {
        url: shown(url),
        reason,
    })
}

/// Where a redirect leads; nothing when the answer is none. A way from https to http is refused.
fn redirect(from: &Url, response: &reqwest::Response) -> Result<Option<Url>, FetchError> {
    if !matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    ) {
        return Ok(None);
    }
    let refused = |reason| FetchError::Url {
        url: shown(from),
        reason,
    };
    let target = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| from.join(text).ok())
        .ok_or_else(|| refused("it redirects to nowhere"))?;
    if from.scheme() == "https" && target.scheme() == "http" {
        return Err(refused("it redirects from https to http"));
    }
    check(&target)?;
    Ok(Some(target))
}

/// A URL as it may be shown: its query may be a signature that gives access.
pub(in crate::ingest) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    if !shown.username().is_empty() || shown.password().is_some() {
        // Both fail only for URLs that can have neither.
        shown.set_username("").ok();
        shown.set_password(None).ok();
    }
    shown.to_string()
}
