//! What is sent: a CloudEvent in structured JSON, with the headers of Standard Webhooks. Pure.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use imprint_image::seal::DataKey;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use crate::events::Event;

/// What `Content-Type` says of a message.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// What stands before the text of a secret.
const SECRET_PREFIX: &str = "whsec_";

/// A message, the same at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The id of the event: what was received twice has the same.
    pub id: String,
    pub body: Bytes,
}

impl Message {
    /// An event of the log.
    pub(super) fn of(event: &Event, source: &Url) -> Self {
        Self::new(
            &event.id.to_string(),
            &event.kind,
            event.node_id.as_deref(),
            event.at,
            &json!(event),
            source,
        )
    }

    /// What `test` sends. It is in no log, so its id is none of an event.
    pub(super) fn test(id: &str, webhook: &str, at: Timestamp, source: &Url) -> Self {
        let data = json!({ "message": format!("This is a test of the webhook {webhook}.") });
        Self::new(id, "webhook.test", None, at, &data, source)
    }

    fn new(id: &str, kind: &str, subject: Option<&str>, at: Timestamp, data: &Value, source: &Url) -> Self {
        let mut event = json!({
            "specversion": "1.0",
            "id": id,
            "source": source.as_str(),
            "type": format!("imprint.{kind}"),
            "time": at.to_string(),
            "datacontenttype": "application/json",
            "data": data,
        });
        if let Some(subject) = subject {
            event["subject"] = json!(subject);
        }
        Self {
            id: id.to_owned(),
            body: event.to_string().into(),
        }
    }

    /// The value of `webhook-signature` of an attempt at this time.
    pub(super) fn signature(&self, secret: &DataKey, at: Timestamp) -> String {
        sign(secret.expose(), &self.id, at.as_second(), &self.body)
    }
}

fn sign(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut signed = hmac::Context::with_key(&key);
    signed.update(format!("{id}.{seconds}.").as_bytes());
    signed.update(body);
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

/// The secret as its owner is given it, once.
pub(super) fn shown(secret: &DataKey) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // The example of its reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let event = Event {
            id: 7,
            at: "2026-03-01T10:00:00Z".parse().unwrap(),
            kind: "deployment.failed".to_owned(),
            node_id: Some("n1".to_owned()),
            deployment_id: Some("d1".to_owned()),
            project_id: None,
            actor: None,
            message: "It failed.".to_owned(),
            details: json!({ "step": "write" }),
        };
        let source = Url::parse("https://imprint.example.net:8443/").unwrap();
        let message = Message::of(&event, &source);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            body,
            json!({
                "specversion": "1.0", "id": "7", "source": "https://imprint.example.net:8443/",
                "type": "imprint.deployment.failed", "subject": "n1", "time": "2026-03-01T10:00:00Z",
                "datacontenttype": "application/json",
                "data": {
                    "id": 7, "at": "2026-03-01T10:00:00Z", "kind": "deployment.failed", "node_id": "n1",
                    "deployment_id": "d1", "project_id": null, "actor": null, "message": "It failed.",
                    "details": { "step": "write" },
                },
            })
        );
        assert_eq!(
            message,
            Message::of(&event, &source),
            "each attempt sends the same bytes"
        );
    }
}
