//! What goes wrong, told with a remedy, and the exit code that it leads to.

use std::{error::Error, io, path::Path};

use rustls::CertificateError;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Title, what happened this time, and what to do: from the controller's problem document, or made here.
    #[error("{title}")]
    Problem {
        /// The HTTP status; 0 when no controller was asked or none answered.
        status: u16,
        /// The kind of problem, for people.
        title: String,
        /// What happened this time.
        detail: String,
        /// What to do about it.
        remedy: String,
        /// The document as the controller sent it, for `--output json`.
        document: Option<Value>,
    },
    /// The deployments were waited for, and not all succeeded; it has been said which and why.
    #[error("not all deployments succeeded")]
    NotAllSucceeded,
    /// The time of `--timeout` is over.
    #[error("still running after the time of --timeout")]
    TimedOut,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Fault {
    /// Something on this side of the wire.
    pub fn local(title: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Problem {
            status: 0,
            title: title.into(),
            detail: detail.into(),
            remedy: remedy.into(),
            document: None,
        }
    }

    /// A file of the user's that cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::local(
            format!("Cannot read {}", path.display()),
            error.to_string(),
            "Check the path and its permissions.",
        )
    }

    /// An answer that is no success.
    pub fn answered(status: u16, body: &[u8], request: &str) -> Self {
        let document = serde_json::from_slice::<Value>(body)
            .ok()
            .filter(Value::is_object);
        let text = |key: &str| {
            document
                .as_ref()
                .and_then(|d| d[key].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let (mut title, mut detail, mut remedy) = (text("title"), text("detail"), text("remedy"));
        if title.is_empty() {
            title = format!("The controller answered {status}");
        }
        if detail.is_empty() {
            let start: String = String::from_utf8_lossy(body)
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            detail = format!("{request}{}{start}", if start.is_empty() { "" } else { ": " });
        }
        if remedy.is_empty() {
            remedy = match status {
                401 => "Set IMPRINT_TOKEN, or --token-file, to a valid API token.",
                403 => "Use a token that has this right.",
                404 => "Check that the URL is that of an Imprint controller of the same version.",
                500.. => "Read the controller's log (journalctl -u imprint-controller) and try again.",
                _ => "See `imprint help`.",
            }
            .into();
        }
        Self::Problem {
            status,
            title,
            detail,
            remedy,
            document,
        }
    }

    /// A request that got no answer.
    pub fn unanswered(error: &(dyn Error + 'static), base: &str) -> Self {
        let (title, remedy) = explain(error);
        Self::local(format!("{title} at {base}"), innermost(error), remedy)
    }

    /// Whether the same request may succeed a little later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            // 0 with a document would be ours; connection faults have none, nor have mistakes on the command line,
            // which never get as far as a repeated request.
            Self::Problem { status, .. } => matches!(status, 0 | 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether something else was there first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Problem { status: 409, .. })
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problem { .. } | Self::NotAllSucceeded => 1,
            Self::TimedOut => 3,
            Self::Interrupted => 130,
        }
    }

    /// For people: title, detail, remedy.
    pub fn text(&self) -> String {
        match self {
            Self::Problem {
                title,
                detail,
                remedy,
                ..
            } => {
                let mut text = format!("imprint: {title}\n");
                for (label, part) in [("", detail), ("remedy: ", remedy)] {
                    if !part.is_empty() {
                        text.push_str(&format!("  {label}{}\n", part.replace('\n', "\n  ")));
                    }
                }
                text
            }
            other => format!("imprint: {other}\n"),
        }
    }

    /// For programs: the problem document, or one made of the same parts.
    pub fn json(&self) -> Value {
        match self {
            Self::Problem {
                document: Some(document),
                ..
            } => document.clone(),
            Self::Problem {
                status,
                title,
                detail,
                remedy,
                ..
            } => {
                json!({"type": "about:blank", "title": title, "status": status, "detail": detail, "remedy": remedy})
            }
            other => json!({"type": "about:blank", "title": other.to_string(), "status": 0}),
        }
    }
}

/// A token from a file or the environment: without the newline that editors add, and not empty.
pub fn clean_token(text: &str, origin: &str) -> Result<Zeroizing<String>, Fault> {
    let token = text.trim();
    if token.is_empty() || token.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(Fault::local(
            "The API token cannot be used",
            format!("{origin} is empty or holds more than one word"),
            "Put the token alone there, as `imprint-controller init` wrote it.",
        ));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

/// The error and all its causes. `io::Error::source` skips the error that it wraps, this does not.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&this| {
        match this.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => this.source(),
        }
    })
}

/// What an error comes from in the end.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
    // The TLS library adds where its documentation is, which helps nobody here.
    match text.split_once(": https://docs.rs") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

fn explain(error: &(dyn Error + 'static)) -> (&'static str, &'static str) {
    for cause in causes(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return explain_tls(tls);
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                return (
                    "No controller is listening",
                    "Start it (systemctl start imprint-controller), or check address and port of --url.",
                );
            }
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe,
            ) => {
                return (
                    "The connection was broken",
                    "See whether the controller runs and what its log says (journalctl -u imprint-controller), then try again.",
                );
            }
            _ => {}
        }
    }
    if causes(error)
        .filter_map(|cause| cause.downcast_ref::<reqwest::Error>())
        .any(reqwest::Error::is_timeout)
    {
        return (
            "The controller did not answer in time",
            "Check network, routes and firewalls on the way to the controller, and its log.",
        );
    }
    (
        "The controller cannot be reached",
        "Check --url (IMPRINT_URL), and network, routes and firewalls on the way to the controller.",
    )
}

fn explain_tls(error: &rustls::Error) -> (&'static str, &'static str) {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                "The certificate is not from the trusted CA",
                "Point --ca (IMPRINT_CA) to the ca.pem of this controller's data folder.",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "The certificate is for another name or address",
                "Use a name that the certificate carries, or set public_url in the controller's configuration.",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                "The certificate is not valid yet",
                "Check the clock of this machine and of the controller.",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "The certificate has expired",
                "Check the clock of this machine; restart the controller to renew its certificate.",
            ),
            _ => (
                "The certificate was refused",
                "Check that a controller answers at this address.",
            ),
        },
        _ => (
            "There is no TLS server",
            "Check address and port of --url: the API is on the TLS port (8443), not on the boot port (8080).",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_documents_are_told_whole() {
        let body =
            br#"{"type":"urn:imprint:problem:image-not-found","title":"There is no such image","status":404,
            "detail":"debian-13 is not known; near: debian-12","remedy":"imprint image list"}"#;
        let fault = Fault::answered(404, body, "GET /v1/images/debian-13");
        assert_eq!(
            fault.text(),
            "imprint: There is no such image\n  debian-13 is not known; near: debian-12\n  remedy: imprint image list\n"
        );
        assert_eq!(fault.json()["type"], "urn:imprint:problem:image-not-found");
        assert_eq!(fault.exit_code(), 1);
        assert!(!fault.is_transient());
    }

    #[test]
    fn answers_that_are_no_problem_documents_still_have_a_remedy() {
        for (status, body, detail, remedy) in [
            (401, "", "GET /v1/nodes", "IMPRINT_TOKEN"),
            (
                502,
                "<html>\u{1b}[31mbad gateway",
                "GET /v1/nodes: <html>[31mbad gateway",
                "log",
            ),
            (404, "[]", "GET /v1/nodes: []", "URL"),
        ] {
            let Fault::Problem {
                detail: said,
                remedy: help,
                ..
            } = Fault::answered(status, body.as_bytes(), "GET /v1/nodes")
            else {
                panic!("an answer is a problem")
            };
            assert_eq!(said, detail);
            assert!(help.contains(remedy), "{help}");
        }
    }

    #[test]
    fn a_broken_connection_is_not_one_that_could_not_be_made() {
        let broken = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual",
        );
        let text = Fault::unanswered(&broken, "https://10.0.0.1:8443/").text();
        assert!(
            text.starts_with("imprint: The connection was broken at https://10.0.0.1:8443/"),
            "{text}"
        );
        assert!(text.contains("without sending TLS close_notify\n"), "{text}");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(explain(&refused).0, "No controller is listening");
    }

    #[test]
    fn tokens_are_one_word() {
        assert_eq!(clean_token(" abc \n", "x").unwrap().as_str(), "abc");
        for wrong in ["", "\n", "two words", "a\nb", "gr\u{fc}n"] {
            assert!(clean_token(wrong, "IMPRINT_TOKEN").is_err(), "{wrong:?}");
        }
    }
}
