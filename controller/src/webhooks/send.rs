//! One message: sent, and what came of it.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use imprint_image::seal::DataKey;
use jiff::SignedDuration;
use serde::Serialize;
use tokio::time::timeout;
use ulid::Ulid;
use url::Url;
use utoipa::ToSchema;

use super::{
    Inner, Webhook, WebhookError, Webhooks,
    message::{self, Message},
    schedule::Refused,
};
use crate::{api::rest::problem::chain, ingest::fetch::FetchError};

/// From the first byte to the answer's head. The rest of an answer is not read.
const LIMIT: Duration = Duration::from_secs(15);

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestResult {
    /// Whether it was taken with a 2xx.
    pub delivered: bool,
    /// What was wrong; empty when it was taken.
    pub error: String,
    /// How long it took.
    pub duration_ms: u64,
}

impl Webhooks {
    /// Sends a message of the kind `webhook.test`, once, also to one that is disabled. It is in no log.
    pub async fn test(&self, wanted: &str) -> Result<TestResult, WebhookError> {
        let webhook = self.get(wanted).await?;
        let secret = self.secret(&webhook.id).await?;
        let id = format!("test-{}", Ulid::generate());
        let message = Message::test(&id, &webhook.name, self.0.clock.now(), &self.0.source);
        let begun = Instant::now();
        let sent = self.0.send(&webhook, &secret, &message).await;
        Ok(TestResult {
            delivered: sent.is_ok(),
            error: sent.err().map(|refused| refused.error).unwrap_or_default(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Inner {
    /// Sends it once. Errors name the host, and nothing of the path: what is secret may be there.
    pub(super) async fn send(
        &self,
        webhook: &Webhook,
        secret: &DataKey,
        message: &Message,
    ) -> Result<(), Refused> {
        let sent = timeout(LIMIT, self.try_send(webhook, secret, message)).await;
        let result = sent.unwrap_or_else(|_| Err(plain(format!("no answer in {} seconds", LIMIT.as_secs()))));
        self.metrics.delivered(result.is_ok());
        result
    }

    async fn try_send(&self, webhook: &Webhook, secret: &DataKey, message: &Message) -> Result<(), Refused> {
        let url =
            Url::parse(&webhook.url).map_err(|_| plain("its URL cannot be read any more".to_owned()))?;
        let now = self.clock.now();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(message::CONTENT_TYPE),
        );
        for (name, value) in [
            ("webhook-id", message.id.clone()),
            ("webhook-timestamp", now.as_second().to_string()),
            ("webhook-signature", message.signature(secret, now)),
        ] {
            let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are good in headers");
            headers.insert(name, value);
        }
        let answer = self.fetcher.post(&url, headers, message.body.clone()).await;
        match answer {
            Ok(answer) => judge(answer.status(), answer.headers()),
            Err(error) => Err(plain(without_path(&error, &url))),
        }
    }
}

fn plain(error: String) -> Refused {
    Refused {
        error,
        gone: false,
        retry_after: None,
    }
}

fn without_path(error: &FetchError, url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match error {
        FetchError::Broken { source, .. } => format!("{host} cannot be reached: {}", chain(source)),
        other => chain(other),
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Refused> {
    if status.is_success() {
        return Ok(());
    }
    let error = match status.is_redirection() {
        true => format!("it answered {status}, and redirects are not followed"),
        false => format!("it answered {status}"),
    };
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(SignedDuration::from_secs);
    Err(Refused {
        error,
        gone: status == StatusCode::GONE,
        retry_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_taken() {
        let none = HeaderMap::new();
        for (status, taken) in [
            (200, true),
            (202, true),
            (204, true),
            (301, false),
            (404, false),
            (500, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(judge(status, &none).is_ok(), taken, "{status}");
        }
        let moved = judge(StatusCode::FOUND, &none).unwrap_err();
        assert!(moved.error.contains("not followed") && !moved.gone);
        assert!(judge(StatusCode::GONE, &none).unwrap_err().gone);
        let mut later = HeaderMap::new();
        later.insert(header::RETRY_AFTER, HeaderValue::from_static("120"));
        let refused = judge(StatusCode::TOO_MANY_REQUESTS, &later).unwrap_err();
        assert_eq!(refused.retry_after, Some(SignedDuration::from_secs(120)));
    }
}
