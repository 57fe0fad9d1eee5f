//! What a caller asks for, checked.

use url::Url;

use super::WebhookError;
use crate::ingest::fetch;

const MAX_NAME: usize = 64;
const MAX_URL: usize = 2048;
const MAX_KINDS: usize = 50;
const MAX_KIND: usize = 100;

/// A webhook to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedWebhook {
    /// 1 to 64 letters, digits and `. _ -`.
    pub name: String,
    /// `https://…`.
    pub url: String,
    /// Kinds of events, or beginnings of kinds with a `*` behind them; empty: all.
    pub kinds: Vec<String>,
    /// Id of the project whose events are sent; `None`: those of all.
    pub project_id: Option<String>,
    /// The event after which it begins; `None`: with what happens from now on.
    pub after: Option<i64>,
}

impl WantedWebhook {
    /// The URL, when all of it can be.
    pub(super) fn check(&self, allow_http: bool) -> Result<Url, WebhookError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(is_name) {
            return Err(WebhookError::Bad(
                format!("`{}` cannot be the name of a webhook", clip(&self.name)),
                "A name is 1 to 64 letters, digits and . _ -.",
            ));
        }
        if self.name.parse::<ulid::Ulid>().is_ok() {
            return Err(WebhookError::Bad(
                format!("the name `{}` could be taken for an id", self.name),
                "Choose a name that says who receives the events.",
            ));
        }
        if self.kinds.len() > MAX_KINDS {
            return Err(WebhookError::Bad(
                format!("{} kinds are more than {MAX_KINDS}", self.kinds.len()),
                "Name the beginnings of kinds, as in `deployment.*`, or none for all.",
            ));
        }
        for kind in &self.kinds {
            check_kind(kind)?;
        }
        if self.after.is_some_and(|after| after < 0) {
            return Err(WebhookError::Bad(
                "an event has no number below 0".to_owned(),
                "Give the id of an event, 0 for the whole log, or nothing for what happens from now on.",
            ));
        }
        self.url(allow_http)
    }

    fn url(&self, allow_http: bool) -> Result<Url, WebhookError> {
        let bad = |what: &str| {
            WebhookError::Bad(
                format!("the URL of a webhook {what}"),
                "Write it like https://hooks.example.net/imprint; what is secret in it belongs into its path or query.",
            )
        };
        if self.url.len() > MAX_URL {
            return Err(bad("is longer than 2,048 characters"));
        }
        let url = Url::parse(&self.url).map_err(|_| bad("cannot be read as one"))?;
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => {
                return Err(WebhookError::Bad(
                    "events would be sent without encryption".to_owned(),
                    "Give an https:// URL, or set webhooks.allow_http in the configuration.",
                ));
            }
            _ => return Err(bad("does not begin with https://")),
        }
        if url.fragment().is_some() {
            return Err(bad("has a fragment, which is never sent"));
        }
        fetch::check(&url).map_err(WebhookError::Address)?;
        Ok(url)
    }
}

fn check_kind(kind: &str) -> Result<(), WebhookError> {
    let (word, beginning) = match kind.strip_suffix('*') {
        Some(word) => (word, true),
        None => (kind, false),
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if kind.len() <= MAX_KIND && (beginning || !word.is_empty()) && word.chars().all(fits) {
        return Ok(());
    }
    Err(WebhookError::Bad(
        format!("`{}` is no kind of events", clip(kind)),
        "Give kinds as `imprint events` shows them, or the beginning of some: `deployment.failed`, `alarm.*`.",
    ))
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(url: &str, kinds: &[&str]) -> WantedWebhook {
        WantedWebhook {
            name: "pager".to_owned(),
            url: url.to_owned(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..WantedWebhook::default()
        }
    }

    #[test]
    fn only_what_can_be_sent_to_is_taken() {
        for (url, http, is) in [
            ("https://h.example/x?key=1", false, true),
            ("http://h.example/", false, false),
            ("http://h.example/", true, true),
            ("ftp://h.example/", true, false),
            ("file:///etc/passwd", true, false),
            ("https://user:secret@h.example/", false, false),
            ("https://h.example/#part", false, false),
            ("/only/a/path", false, false),
        ] {
            assert_eq!(wanted(url, &[]).check(http).is_ok(), is, "{url}");
        }
        let long = format!("https://h.example/{}", "x".repeat(MAX_URL));
        assert!(wanted(&long, &[]).check(false).is_err());
    }

    #[test]
    fn kinds_and_names_are_bounded() {
        let url = "https://h.example/";
        for (kind, is) in [
            ("deployment.failed", true),
            ("alarm.*", true),
            ("*", true),
            ("", false),
            ("Deployment", false),
            ("a*b", false),
            ("a b", false),
        ] {
            assert_eq!(wanted(url, &[kind]).check(false).is_ok(), is, "{kind:?}");
        }
        assert!(wanted(url, &["a"; MAX_KINDS + 1]).check(false).is_err());
        for name in ["", "a b", "01JD3Y6N9M1V9S1M6V1M3B3W5T", &"x".repeat(65)] {
            let named = WantedWebhook {
                name: name.to_owned(),
                ..wanted(url, &[])
            };
            assert!(named.check(false).is_err(), "{name:?}");
        }
    }
}
