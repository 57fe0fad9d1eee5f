//! The controller's API as an operator's program uses it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use reqwest::{Certificate, Client, Method, Response, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Where a controller is, and what opens it.
#[derive(Clone)]
pub struct Site {
    /// REST and gRPC.
    pub url: Url,
    /// Boot HTTP.
    pub boot_url: Url,
    /// The CA of its certificate.
    pub ca_pem: String,
    /// An admin's token. A secret.
    pub token: String,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// A client with an admin's token.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: Url,
}

/// A node as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeView {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: String,
    /// Whether its agent has a session.
    pub agent_connected: bool,
    /// Its addresses.
    pub macs: Vec<String>,
    /// The agent that called last.
    pub agent_version: Option<String>,
}

/// A deployment as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct DeploymentView {
    /// Its id.
    pub id: String,
    /// Its node.
    pub node_id: String,
    /// How it stands.
    pub state: String,
    /// Which attempt it is in.
    pub attempt: u32,
    /// Why it failed.
    pub problem: Option<Value>,
}

/// An event as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct EventView {
    /// Counts up.
    pub id: i64,
    /// What happened.
    pub kind: String,
    /// To which node.
    pub node_id: Option<String>,
    /// In which deployment.
    pub deployment_id: Option<String>,
    /// Further facts.
    pub details: Value,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_page_token: Option<String>,
}

impl Api {
    /// Of a controller.
    ///
    /// # Errors
    /// When its CA or its token is none.
    pub fn of(site: &Site) -> Result<Self> {
        imprint_agent::identity::tls::install_provider();
        let ca = Certificate::from_pem(site.ca_pem.as_bytes()).context("the CA is no certificate")?;
        let mut value: reqwest::header::HeaderValue = format!("Bearer {}", site.token)
            .parse()
            .context("the token is no header")?;
        value.set_sensitive(true);
        let client = Client::builder()
            .tls_certs_only([ca])
            .default_headers([(reqwest::header::AUTHORIZATION, value)].into_iter().collect())
            .connect_timeout(Duration::from_secs(10))
            .build()
            .context("cannot make a client")?;
        Ok(Self {
            client,
            base: site.url.clone(),
        })
    }

    async fn answer(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let url = self
            .base
            .join(path)
            .with_context(|| format!("{path} is no path"))?;
        let mut request = self.client.request(method, url).timeout(Duration::from_secs(60));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("no answer to {path}"))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let problem = answer.text().await.unwrap_or_default();
        bail!("{path} is answered with {status}: {problem}");
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or another one than is wanted.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.answer(Method::GET, path, None).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{path} is answered otherwise than is told"))
    }

    /// Orders.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let answer = self.answer(Method::POST, path, Some(body)).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{path} is answered otherwise than is told"))
    }

    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let page: Page<T> = self
                .get(&format!("{path}?page_size=1000&page_token={next}"))
                .await?;
            all.extend(page.items);
            match page.next_page_token {
                Some(token) => next = token,
                None => return Ok(all),
            }
        }
    }

    /// All nodes.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn nodes(&self) -> Result<Vec<NodeView>> {
        self.all("/v1/nodes").await
    }

    /// All deployments.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn deployments(&self) -> Result<Vec<DeploymentView>> {
        self.all("/v1/deployments").await
    }

    /// All that happened.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn events(&self) -> Result<Vec<EventView>> {
        self.all("/v1/events").await
    }

    /// Whether the guest plugin of a node has a session.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn guest_connected(&self, node: &str) -> Result<bool> {
        let guest: Value = self.get(&format!("/v1/nodes/{node}/guest")).await?;
        Ok(guest["connected"] == true)
    }

    /// Imports an image.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn import(&self, name: &str, content: Vec<u8>) -> Result<()> {
        let url = self
            .base
            .join(&format!("/v1/images?name={name}"))
            .context("no name of an image")?;
        let sent = self
            .client
            .post(url)
            .body(content)
            .send()
            .await
            .context("the image is not taken")?;
        let status = sent.status();
        if !status.is_success() {
            bail!(
                "the image is not taken ({status}): {}",
                sent.text().await.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Takes a node into service.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn approve(&self, node: &str) -> Result<()> {
        let _node: Value = self
            .post(&format!("/v1/nodes/{node}/approve"), &json!({}))
            .await?;
        Ok(())
    }

    /// Begins a deployment.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn deploy(&self, node: &str, image: &str) -> Result<DeploymentView> {
        let user_data = "#cloud-config\npackage_update: false\n";
        let request =
            json!({ "node": node, "image": image, "disk": "transport=nvme", "user_data": user_data });
        self.post("/v1/deployments", &request).await
    }
}

/// The ids that a follower of the live stream was told, and the figures of progress.
#[derive(Debug, Default)]
pub struct Followed {
    /// Ids of events.
    pub ids: HashSet<i64>,
    /// The last of them.
    pub last: i64,
    /// Events that came twice, or before an earlier one.
    pub disordered: u64,
    /// Figures.
    pub progress: u64,
}

/// Follows the live stream from the first event on, also over an end of the controller, until told to stop.
pub async fn follow(api: Api, followed: Arc<Mutex<Followed>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = follow_once(&api, &followed) => {}
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn follow_once(api: &Api, followed: &Mutex<Followed>) -> Result<()> {
    let after = followed.lock().await.last;
    let url = api.base.join(&format!("/v1/events/stream?after={after}"))?;
    let mut stream = api
        .client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) = stream.next().await {
        rest.extend_from_slice(&piece?);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            continue;
        };
        let mut followed = followed.lock().await;
        for line in rest[..end].split(|byte| *byte == b'\n') {
            followed.take(line);
        }
        rest.drain(..=end);
    }
    Ok(())
}

impl Followed {
    fn take(&mut self, line: &[u8]) {
        if line == b"event: progress" {
            self.progress += 1;
        }
        let id = line
            .strip_prefix(b"id: ")
            .and_then(|id| std::str::from_utf8(id).ok()?.parse::<i64>().ok());
        if let Some(id) = id {
            if id <= self.last || !self.ids.insert(id) {
                self.disordered += 1;
            }
            self.last = self.last.max(id);
        }
    }
}
