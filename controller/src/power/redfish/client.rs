//! Requests to a Redfish service: authentication, redirects, waits and retries. What it is asked for is elsewhere.

use std::{error::Error, sync::PoisonError, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};
use url::Url;
use zeroize::Zeroizing;

use super::{
    answer::{Answer, link, plain},
    trust::{Refusals, Trust, settings},
};
use crate::power::{BmcError, quirks::BmcQuirks};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 2 << 20;
const MAX_REDIRECTS: usize = 5;
/// How often a request without an answer is made again.
const RETRIES: u32 = 2;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A service may ask for more time than this; it gets no more at once.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
pub(super) const ROOT: &str = "/redfish/v1/";

/// Who asks, and whom.
pub(in crate::power) struct Access {
    pub address: String,
    pub user: String,
    pub password: Zeroizing<String>,
    pub trust: Trust,
}

#[derive(Debug)]
enum Proof {
    /// Nothing was asked yet.
    None,
    /// User and password with each request.
    Basic,
    /// A session, by its token; and where it is ended.
    Session {
        token: Zeroizing<String>,
        place: Option<String>,
    },
}

/// A conversation with one service.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    access: Access,
    refusals: Refusals,
    limit: Duration,
    basic_only: bool,
    proof: Mutex<Proof>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} as {})", self.access.address, self.access.user)
    }
}

/// A request that may be sent again.
struct Request<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
    if_match: Option<&'a str>,
}

impl Client {
    /// Nothing is sent yet.
    pub fn new(access: Access, quirks: &BmcQuirks) -> Result<Self, BmcError> {
        let unusable = |why: String| BmcError::Setup(format!("`{}` cannot be asked: {why}", access.address));
        let base: Url = access
            .address
            .parse()
            .map_err(|error: url::ParseError| unusable(error.to_string()))?;
        let (tls, refusals) = settings(&access.trust)?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(quirks.request())
            // They have few connections to give.
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            http,
            base,
            refusals,
            limit: quirks.request(),
            basic_only: quirks.basic_auth == Some(true),
            proof: Mutex::new(Proof::None),
            access,
        })
    }

    pub fn address(&self) -> &str {
        &self.access.address
    }

    pub fn silent(&self, said: impl Into<String>) -> BmcError {
        BmcError::Silent {
            address: self.access.address.clone(),
            said: said.into(),
        }
    }

    pub fn strange(&self, call: &str, what: impl Into<String>) -> BmcError {
        BmcError::Strange {
            address: self.access.address.clone(),
            call: call.to_owned(),
            what: what.into(),
        }
    }

    /// A resource that must be there.
    pub async fn get(&self, path: &str) -> Result<Answer, BmcError> {
        let answer = self
            .ask(Method::GET, path, None, None)
            .await?
            .done(self.address())?;
        if answer.body.is_object() {
            Ok(answer)
        } else {
            Err(self.strange(&answer.call, "no JSON object"))
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, BmcError> {
        self.ask(Method::POST, path, Some(body), None).await
    }

    /// What the service answers, also when it refuses.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Answer, BmcError> {
        let request = Request {
            method,
            path,
            body,
            if_match,
        };
        let mut renewed = false;
        loop {
            let headers = self.proof().await?;
            let answer = self.send(&request, headers).await?;
            match answer.status {
                StatusCode::UNAUTHORIZED if !renewed && self.forget_session().await => renewed = true,
                StatusCode::UNAUTHORIZED => return Err(self.not_let_in()),
                StatusCode::FORBIDDEN => {
                    return Err(BmcError::Forbidden {
                        address: self.access.address.clone(),
                        user: self.access.user.clone(),
                        call: answer.call,
                    });
                }
                _ => return Ok(answer),
            }
        }
    }

    fn not_let_in(&self) -> BmcError {
        BmcError::Credentials {
            address: self.access.address.clone(),
            user: self.access.user.clone(),
        }
    }

    /// Ends the session, if there is one.
    pub async fn close(&self) {
        let proof = std::mem::replace(&mut *self.proof.lock().await, Proof::None);
        let Proof::Session {
            token,
            place: Some(place),
        } = proof
        else {
            return;
        };
        let request = Request {
            method: Method::DELETE,
            path: &place,
            body: None,
            if_match: None,
        };
        let sent = tokio::time::timeout(self.limit, self.send(&request, session_header(&token))).await;
        match sent {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a session of a BMC was not ended"),
            Err(_) => tracing::debug!(
                address = self.access.address,
                "a session of a BMC was not ended in time"
            ),
        }
    }

    /// Whether there was a session, which is believed to be over now.
    async fn forget_session(&self) -> bool {
        let mut proof = self.proof.lock().await;
        let had = matches!(*proof, Proof::Session { .. });
        if had {
            *proof = Proof::None;
        }
        had
    }

    /// The headers that let a request in; a session is opened where there is none yet.
    async fn proof(&self) -> Result<HeaderMap, BmcError> {
        let mut proof = self.proof.lock().await;
        if matches!(*proof, Proof::None) {
            *proof = if self.basic_only {
                Proof::Basic
            } else {
                self.log_in().await?
            };
        }
        Ok(match &*proof {
            Proof::Session { token, .. } => session_header(token),
            Proof::Basic | Proof::None => self.basic_header(),
        })
    }

    fn basic_header(&self) -> HeaderMap {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let pair = Zeroizing::new(format!("{}:{}", self.access.user, &*self.access.password));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        secret_header(header::AUTHORIZATION, &value)
    }

    /// Services without sessions, or without room for one more, get user and password with each request.
    async fn log_in(&self) -> Result<Proof, BmcError> {
        let root = Request {
            method: Method::GET,
            path: ROOT,
            body: None,
            if_match: None,
        };
        let root = self.send(&root, HeaderMap::new()).await?;
        // A service with sessions says where they are. One without may answer such a request as it answers all that come
        // without a password, which says nothing about this one.
        let Some(path) = link(&root.body["Links"]["Sessions"]) else {
            return Ok(Proof::Basic);
        };
        let body = json!({ "UserName": self.access.user, "Password": &*self.access.password });
        let request = Request {
            method: Method::POST,
            path: &path,
            body: Some(&body),
            if_match: None,
        };
        let answer = self.send(&request, HeaderMap::new()).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.not_let_in()),
            status if !status.is_success() => return Ok(Proof::Basic),
            _ => {}
        }
        let place = answer
            .header(header::LOCATION)
            .map(str::to_owned)
            .or_else(|| link(&answer.body));
        Ok(match answer.header("x-auth-token") {
            Some(token) if !token.is_empty() => Proof::Session {
                token: Zeroizing::new(token.to_owned()),
                place,
            },
            _ => Proof::Basic,
        })
    }

    /// Sends a request, and again while that can help.
    async fn send(&self, request: &Request<'_>, headers: HeaderMap) -> Result<Answer, BmcError> {
        let until = Instant::now() + self.limit * (RETRIES + 1);
        let (mut url, mut wait, mut lost) = (self.resolve(request.path)?, FIRST_WAIT, 0);
        let mut redirects = 0;
        loop {
            let failed = match self.send_once(request, &url, &headers).await {
                Ok(answer) if is_redirect(answer.status) => {
                    redirects += 1;
                    url = self.redirected(&url, &answer, redirects)?;
                    continue;
                }
                Ok(answer) if !is_busy(answer.status) => return Ok(answer),
                Ok(answer) => {
                    let asked = answer
                        .header(header::RETRY_AFTER)
                        .and_then(|text| text.parse().ok());
                    wait = wait
                        .max(asked.map_or(FIRST_WAIT, Duration::from_secs))
                        .min(LONGEST_WAIT);
                    Err(answer)
                }
                Err(failed) => {
                    self.expect_trusted()?;
                    // What may have arrived is not sent twice; whoever asks looks what has become of it.
                    let again = request.method != Method::POST || failed.never_left;
                    lost += 1;
                    if !again || lost > RETRIES {
                        return Err(self.silent(failed.said));
                    }
                    Ok(failed.said)
                }
            };
            if Instant::now() + wait >= until {
                return match failed {
                    Err(answer) => Ok(answer),
                    Ok(said) => Err(self.silent(said)),
                };
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Answer, Failed> {
        let mut builder = self
            .http
            .request(request.method.clone(), url.clone())
            .headers(headers.clone())
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        if let Some(etag) = request.if_match {
            builder = builder.header(header::IF_MATCH, etag);
        }
        if let Some(body) = request.body {
            builder = builder.json(body);
        }
        let mut response = builder.send().await.map_err(Failed::of)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(Failed::of)? {
            if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(Failed {
                    said: format!("its answer is longer than {} KiB", MAX_ANSWER_BYTES >> 10),
                    never_left: false,
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            call: format!("{} {}", request.method, url.path()),
        })
    }

    /// A certificate that was refused since this was looked at last.
    fn expect_trusted(&self) -> Result<(), BmcError> {
        let refused = self
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match refused {
            None => Ok(()),
            Some(refused) => Err(BmcError::Certificate {
                address: self.access.address.clone(),
                fingerprint: refused.fingerprint,
                said: plain(&refused.said),
            }),
        }
    }

    /// A path of the service, or one that the service has told. Passwords go nowhere else.
    pub fn resolve(&self, path: &str) -> Result<Url, BmcError> {
        self.within(self.base.join(path).ok(), path)
    }

    fn redirected(&self, from: &Url, answer: &Answer, redirects: usize) -> Result<Url, BmcError> {
        let to = answer.header(header::LOCATION).unwrap_or_default();
        if to.is_empty() || redirects > MAX_REDIRECTS {
            return Err(self.strange(&answer.call, "redirects without an end"));
        }
        self.within(from.join(to).ok(), to)
    }

    fn within(&self, url: Option<Url>, told: &str) -> Result<Url, BmcError> {
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        match url {
            Some(url) if url.scheme() == self.base.scheme() && place(&url) == place(&self.base) => Ok(url),
            _ => Err(BmcError::Elsewhere {
                address: self.access.address.clone(),
                to: plain(told),
            }),
        }
    }
}

/// There is no answer.
struct Failed {
    said: String,
    /// The service has certainly not seen it.
    never_left: bool,
}

impl Failed {
    fn of(error: reqwest::Error) -> Self {
        let never_left = error.is_connect();
        let said = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            let error = error.without_url();
            let mut innermost: &dyn Error = &error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            plain(&innermost.to_string())
        };
        Self { said, never_left }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308)
}

/// It may be let in a little later.
fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn session_header(token: &str) -> HeaderMap {
    secret_header(header::HeaderName::from_static("x-auth-token"), token)
}

fn secret_header(name: header::HeaderName, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // What cannot be a header lets nobody in: the service says so.
    if let Ok(mut value) = header::HeaderValue::from_str(text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}
