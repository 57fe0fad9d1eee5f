//! What a Redfish service answers, taken with care: any part may be missing, or of another type.

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::power::BmcError;

/// Longest text of a service that is repeated.
const LONGEST_SAID: usize = 400;

/// An answer with its body.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null: it has none, or it is no JSON.
    pub body: Value,
    /// What was asked, for errors: "GET /redfish/v1/Systems/1".
    pub call: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// An error unless it is done, or under way.
    pub fn done(self, address: &str) -> Result<Self, BmcError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(BmcError::Refused {
            address: address.to_owned(),
            status: self.status.as_u16().into(),
            said: said(&self.body),
            call: self.call,
        })
    }

    /// The version of the resource, as its header or itself tells it.
    pub fn etag(&self) -> Option<String> {
        let told = self
            .header(header::ETAG)
            .or_else(|| self.body["@odata.etag"].as_str());
        told.filter(|etag| !etag.is_empty() && etag.len() <= 200)
            .map(str::to_owned)
    }
}

/// A service's reason in words; "it gives no reason" when it has none.
pub(super) fn said(body: &Value) -> String {
    let error = &body["error"];
    let mut texts: Vec<&str> = error["@Message.ExtendedInfo"]
        .as_array()
        .or_else(|| body["@Message.ExtendedInfo"].as_array())
        .into_iter()
        .flatten()
        .take(8)
        .filter_map(|info| info["Message"].as_str().or_else(|| info["MessageId"].as_str()))
        .collect();
    if texts.is_empty() {
        texts.extend(error["message"].as_str());
    }
    let text = plain(&texts.join(" "));
    if text.is_empty() {
        "it gives no reason".to_owned()
    } else {
        text
    }
}

/// A text of a BMC: one line, no control characters, not too long.
pub(in crate::power) fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .filter(|sign| !sign.is_control())
        .take(LONGEST_SAID)
        .collect()
}

/// A text of a resource; empty when there is none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map(plain).unwrap_or_default()
}

/// The texts of a list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .take(64)
        .filter_map(Value::as_str)
        .map(plain)
        .collect()
}

/// Where a link points.
pub(super) fn link(value: &Value) -> Option<String> {
    let path = value["@odata.id"].as_str()?;
    (path.len() <= 500).then(|| path.to_owned())
}

/// Where the links of a list point.
pub(super) fn links(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().take(64).filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_reason_is_found_wherever_it_is() {
        for (body, expected) in [
            (
                json!({"error": {"message": "see", "@Message.ExtendedInfo": [{"Message": "Not\nnow."}, {"MessageId": "Base.1.0.X"}]}}),
                "Not now. Base.1.0.X",
            ),
            (json!({"error": {"message": "General"}}), "General"),
            (json!({"@Message.ExtendedInfo": [{"Message": "Here"}]}), "Here"),
            (json!({"error": "text"}), "it gives no reason"),
            (json!([1, 2]), "it gives no reason"),
            (Value::Null, "it gives no reason"),
        ] {
            assert_eq!(said(&body), expected);
        }
        let long = json!({"error": {"message": "x".repeat(10_000)}});
        assert_eq!(said(&long).len(), LONGEST_SAID);
    }

    #[test]
    fn links_that_are_none_are_left_out() {
        let members =
            json!([{"@odata.id": "/a"}, {"@odata.id": 1}, "/b", {}, {"@odata.id": "x".repeat(1000)}]);
        assert_eq!(links(&members), ["/a"]);
        assert_eq!(links(&json!({"@odata.id": "/a"})), Vec::<String>::new());
    }
}
