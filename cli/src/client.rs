//! Requests to the controller: JSON in, JSON out, all pages, problem documents as faults.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Body, Method, RequestBuilder, Response,
    header::{HeaderMap, HeaderName},
};
use serde_json::{Map, Value};
use url::Url;

use crate::fault::Fault;

const ANSWER: Duration = Duration::from_secs(60);
const PAGE_SIZE: &str = "500";
/// More than any list has; a bound against a server that never ends one.
const MAX_PAGES: usize = 100_000;

/// Query parameters.
pub type Query<'a> = &'a [(&'a str, &'a str)];

/// A controller, and the right to ask it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// Over a client that carries token and CA.
    pub fn new(http: reqwest::Client, base: Url) -> Self {
        Self { http, base }
    }

    /// The controller's address.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// One object.
    pub async fn get(&self, path: &[&str], query: Query<'_>) -> Result<Value, Fault> {
        let request = self.request(Method::GET, path, query).timeout(ANSWER);
        self.json(request, "GET", path).await
    }

    /// All items of a list, whatever number of pages it has.
    pub async fn list(&self, path: &[&str], query: Query<'_>) -> Result<Vec<Value>, Fault> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = query.to_vec();
            query.push(("page_size", PAGE_SIZE));
            if let Some(cursor) = &cursor {
                query.push(("page_token", cursor));
            }
            let mut page = self.get(path, &query).await?;
            match page["items"].take() {
                Value::Array(more) => items.extend(more),
                _ => return Err(self.not_understood(path, "a list without `items`")),
            }
            let next = match &page["next_page_token"] {
                Value::String(token) if !token.is_empty() => token.clone(),
                Value::Number(token) => token.to_string(),
                _ => return Ok(items),
            };
            if cursor.as_ref() == Some(&next) {
                return Err(self.not_understood(path, "the same page twice"));
            }
            cursor = Some(next);
        }
        Err(self.not_understood(path, "a list without an end"))
    }

    /// Sends an object. With a key, a repeated request is answered like the first one.
    pub async fn post(
        &self,
        path: &[&str],
        body: &Map<String, Value>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, Fault> {
        let mut request = self.request(Method::POST, path, &[]).timeout(ANSWER).json(body);
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        self.json(request, "POST", path).await
    }

    /// Puts an object in the place that the path names.
    pub async fn put(&self, path: &[&str], body: &Map<String, Value>) -> Result<Value, Fault> {
        let request = self.request(Method::PUT, path, &[]).timeout(ANSWER).json(body);
        self.json(request, "PUT", path).await
    }

    /// Changes what is named in the object.
    pub async fn patch(&self, path: &[&str], body: &Map<String, Value>) -> Result<Value, Fault> {
        let request = self.request(Method::PATCH, path, &[]).timeout(ANSWER).json(body);
        self.json(request, "PATCH", path).await
    }

    /// Deletes what the path names; the answer is what it was.
    pub async fn delete(&self, path: &[&str]) -> Result<Value, Fault> {
        let request = self.request(Method::DELETE, path, &[]).timeout(ANSWER);
        self.json(request, "DELETE", path).await
    }

    /// Sends a file of any size. There is no deadline: the answer comes when the controller has converted it.
    pub async fn upload(
        &self,
        path: &[&str],
        query: Query<'_>,
        body: Body,
        length: Option<u64>,
    ) -> Result<Value, Fault> {
        let mut request = self
            .request(Method::POST, path, query)
            .header("content-type", "application/octet-stream")
            .body(body);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        self.json(request, "POST", path).await
    }

    /// How far an upload is.
    pub async fn upload_offset(&self, path: &[&str]) -> Result<u64, Fault> {
        let upload = self.get(path, &[]).await?;
        let offset = upload["offset"].as_u64();
        offset.ok_or_else(|| self.not_understood(path, "an upload without `offset`"))
    }

    /// Sends a piece of an upload; gives how far it is then. There is no deadline: a connection that is gone is found
    /// out about otherwise.
    pub async fn append(&self, path: &[&str], offset: u64, body: Body, length: u64) -> Result<u64, Fault> {
        let request = self
            .request(Method::PATCH, path, &[])
            .header("content-type", "application/offset+octet-stream")
            .header("content-length", length)
            .header("upload-offset", offset)
            .body(body);
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let response = self.success(response, "PATCH", path).await?;
        let offset = response.headers().get("upload-offset");
        offset
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .ok_or_else(|| self.not_understood(path, "an answer without Upload-Offset"))
    }

    /// Opens an event stream; what comes is the caller's to read.
    pub async fn stream(&self, path: &[&str], query: Query<'_>) -> Result<Response, Fault> {
        let request = self
            .request(Method::GET, path, query)
            .header("accept", "text/event-stream");
        let response = tokio::time::timeout(ANSWER, request.send())
            .await
            .map_err(|_| self.silent())?
            .map_err(|e| self.unanswered(&e))?;
        self.success(response, "GET", path).await
    }

    /// What the answer to a request for a file would be headed with.
    pub async fn head(&self, path: &[&str], query: Query<'_>) -> Result<HeaderMap, Fault> {
        let request = self.request(Method::HEAD, path, query).timeout(ANSWER);
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        if !response.status().is_success() {
            // An answer to HEAD has no document that says why; the same request for the file has.
            let request = self.request(Method::GET, path, query).timeout(ANSWER);
            let response = request.send().await.map_err(|error| self.unanswered(&error))?;
            return self
                .success(response, "GET", path)
                .await
                .map(|it| it.headers().clone());
        }
        Ok(response.headers().clone())
    }

    /// Opens a file of any size; what comes is read with [`Client::piece`].
    pub async fn download(
        &self,
        path: &[&str],
        query: Query<'_>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response, Fault> {
        let mut request = self.request(Method::GET, path, query);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = tokio::time::timeout(ANSWER, request.send())
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| self.unanswered(&error))?;
        self.success(response, "GET", path).await
    }

    /// A text, and a header of the answer as a number.
    pub async fn text(
        &self,
        path: &[&str],
        query: Query<'_>,
        header: &str,
    ) -> Result<(String, Option<u64>), Fault> {
        let request = self.request(Method::GET, path, query).timeout(ANSWER);
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let response = self.success(response, "GET", path).await?;
        let number = response.headers().get(header);
        let number = number.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.map_err(|error| self.unanswered(&error))?;
        Ok((text, number))
    }

    /// The next bytes of a file; `None` at its end.
    pub async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, Fault> {
        tokio::time::timeout(ANSWER, response.chunk())
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| self.unanswered(&error))
    }

    /// As [`Client::get`], for what takes the controller as long as it takes.
    pub async fn patient_get(&self, path: &[&str], query: Query<'_>) -> Result<Value, Fault> {
        let request = self.request(Method::GET, path, query);
        self.json(request, "GET", path).await
    }

    fn request(&self, method: Method, path: &[&str], query: Query<'_>) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an https URL has a path")
            .pop_if_empty()
            // Names come from the command line: a slash in one must not lead to another resource.
            .extend(path);
        self.http.request(method, url).query(query)
    }

    async fn json(&self, request: RequestBuilder, method: &str, path: &[&str]) -> Result<Value, Fault> {
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        let response = self.success(response, method, path).await?;
        let body = response.bytes().await.map_err(|error| self.unanswered(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.not_understood(path, &error.to_string()))
    }

    async fn success(&self, response: Response, method: &str, path: &[&str]) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| self.unanswered(&error))?;
        Err(Fault::answered(
            status.as_u16(),
            &body,
            &format!("{method} /{}", path.join("/")),
        ))
    }

    fn unanswered(&self, error: &reqwest::Error) -> Fault {
        Fault::unanswered(error, self.base())
    }

    fn silent(&self) -> Fault {
        Fault::local(
            format!("The controller did not answer in time at {}", self.base()),
            format!("no answer within {} s", ANSWER.as_secs()),
            "Read the controller's log (journalctl -u imprint-controller).",
        )
    }

    fn not_understood(&self, path: &[&str], what: &str) -> Fault {
        Fault::local(
            format!("The answer of {} is not understood", self.base()),
            format!("/{}: {what}", path.join("/")),
            "Check that the URL is that of an Imprint controller of the same version.",
        )
    }
}
