//! Requests to the controller of another region.

use std::{fs, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use http::{Method, StatusCode};
use imprint_image::Digest;
use reqwest::redirect::Policy;
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::{
    CopyFault,
    transfer::{BeginTransfer, Transfer},
};
use crate::config::RegionConfig;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// From the end of a request to the head of its answer: a manifest of a large image is looked up chunk by chunk.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
const RETRIES: usize = 6;
const FIRST_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Longest answer that is read: an image, a problem, or a bit for each chunk of the largest manifest.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The other controller.
#[derive(Debug)]
pub(super) struct RegionClient {
    http: reqwest::Client,
    base: Url,
    token: Zeroizing<String>,
    region: String,
}

/// What a request came to.
#[derive(Debug)]
enum Failed {
    /// It may go better the next time.
    Passing(String),
    Final(CopyFault),
}

impl RegionClient {
    /// With CA and token of the configuration. Nothing is sent yet.
    pub(super) fn open(region: &RegionConfig) -> Result<Self, CopyFault> {
        let unusable = |why: String| CopyFault::Region {
            region: region.name.clone(),
            why,
        };
        let (Some(base), Some(token_file)) = (&region.url, &region.token_file) else {
            return Err(unusable(
                "it has no url and token_file; images only come from it".to_owned(),
            ));
        };
        let read = |path: &std::path::Path| {
            fs::read_to_string(path)
                .map_err(|error| unusable(format!("{} cannot be read: {error}", path.display())))
        };
        let token = Zeroizing::new(read(token_file)?);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT);
        if let Some(path) = &region.ca_file {
            let certificates =
                reqwest::Certificate::from_pem_bundle(read(path)?.as_bytes()).unwrap_or_default();
            if certificates.is_empty() {
                return Err(unusable(format!("{} has no certificate", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        // The only provider there is. Whoever came first has installed the same one.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Ok(Self {
            http: builder.build().map_err(|error| unusable(error.to_string()))?,
            base: base.clone(),
            token: Zeroizing::new(token.trim().to_owned()),
            region: region.name.clone(),
        })
    }

    /// Announces an image, or takes its transfer up again.
    pub(super) async fn begin(&self, request: &BeginTransfer) -> Result<Transfer, CopyFault> {
        let body = serde_json::to_vec(request).map_err(|error| self.strange(&error))?;
        let answer = self
            .send(Method::POST, &[], Some(("application/json", body.into())))
            .await?;
        serde_json::from_slice(&answer).map_err(|error| self.strange(&error))
    }

    pub(super) async fn put_manifest(
        &self,
        id: &str,
        position: usize,
        bytes: Bytes,
    ) -> Result<(), CopyFault> {
        let path = [id, "disks", &position.to_string(), "manifest"];
        self.send(Method::PUT, &path, Some(("application/octet-stream", bytes)))
            .await
            .map(drop)
    }

    pub(super) async fn missing(&self, id: &str, position: usize) -> Result<Bytes, CopyFault> {
        self.send(
            Method::GET,
            &[id, "disks", &position.to_string(), "missing"],
            None,
        )
        .await
    }

    pub(super) async fn put_pack(&self, id: &str, digest: &Digest, bytes: Bytes) -> Result<(), CopyFault> {
        let path = [id, "packs", &digest.to_string()];
        self.send(Method::PUT, &path, Some(("application/octet-stream", bytes)))
            .await
            .map(drop)
    }

    /// The image that it became.
    pub(super) async fn complete(&self, id: &str) -> Result<Value, CopyFault> {
        let answer = self.send(Method::POST, &[id, "complete"], None).await?;
        serde_json::from_slice(&answer).map_err(|error| self.strange(&error))
    }

    /// Gives a transfer up. That it cannot be is no news: the other side gives it up on its own.
    pub(super) async fn abandon(&self, id: &str) {
        if let Err(error) = self.send(Method::DELETE, &[id], None).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::info!(region = self.region, error, "a transfer was not given up");
        }
    }

    /// Sends a request, and again while that can help. All of them may be sent twice.
    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, CopyFault> {
        let waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(RETRIES)
            .with_jitter();
        let result = (|| self.send_once(&method, path, body.clone()))
            .retry(waits)
            .when(|failed| matches!(failed, Failed::Passing(_)))
            .await;
        result.map_err(|failed| match failed {
            Failed::Final(fault) => fault,
            Failed::Passing(why) => CopyFault::Unreachable {
                region: self.region.clone(),
                why,
            },
        })
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &[&str],
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, Failed> {
        let passing =
            |error: reqwest::Error| Failed::Passing(crate::api::rest::problem::chain(&error.without_url()));
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an https URL has a path")
            .pop_if_empty()
            .extend(["v1", "transfers"])
            .extend(path);
        let mut request = self
            .http
            .request(method.clone(), url)
            .bearer_auth(self.token.as_str());
        if let Some((kind, body)) = body {
            request = request.header(http::header::CONTENT_TYPE, kind).body(body);
        }
        let mut response = request.send().await.map_err(passing)?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(passing)? {
            if answer.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(Failed::Final(self.strange(&"an answer without an end")));
            }
            answer.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(answer.into());
        }
        Err(self.refused(status, &answer))
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> Failed {
        let document: Value = serde_json::from_slice(answer).unwrap_or_default();
        let text = |key: &str| document[key].as_str().map(str::to_owned);
        let detail = text("detail").unwrap_or_else(|| format!("it answers {status}"));
        if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE
            || status == StatusCode::TOO_MANY_REQUESTS
        {
            return Failed::Passing(detail);
        }
        Failed::Final(CopyFault::Refused {
            region: self.region.clone(),
            detail: detail.trim_end_matches('.').to_owned(),
            remedy: text("remedy")
                .unwrap_or_else(|| "Check url, ca_file and token_file of the region.".to_owned()),
        })
    }

    fn strange(&self, error: &dyn std::fmt::Display) -> CopyFault {
        CopyFault::Unreachable {
            region: self.region.clone(),
            why: format!("its answer is not understood: {error}"),
        }
    }
}
