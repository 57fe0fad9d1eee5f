//! What an S3 service refuses, in an operator's words.
//!
//! The client's errors repeat their causes, URLs and whole XML documents. Here they are brought down to one cause and one
//! remedy.

use std::{error::Error, fmt};

/// Longest part of a service's own words that is shown.
const MAX_WORDS: usize = 300;

/// Why a bucket cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// The service's own words, or those of the network.
    pub cause: String,
}

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The service does not know the key, or the secret is wrong.
    Credentials,
    /// The key is right and may not do this.
    Forbidden,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or at another address.
    Elsewhere,
    /// The clocks of the two differ too much.
    Clock,
    /// No answer, or one that says "later".
    Unavailable,
    /// Anything else.
    Other,
}

impl FaultKind {
    fn cause(self) -> &'static str {
        match self {
            Self::Credentials => "the credentials are refused",
            Self::Forbidden => "the credentials do not allow it",
            Self::NoBucket => "there is no such bucket",
            Self::Elsewhere => "the bucket is in another region or at another address",
            Self::Clock => "the clock of this machine and that of the service differ too much",
            Self::Unavailable => "the service does not answer",
            Self::Other => "the service refuses",
        }
    }

    /// What can be done.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Credentials => {
                "check store.credentials_file (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            }
            Self::Forbidden => {
                "allow this key s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject below its prefix"
            }
            Self::NoBucket => "make the bucket, or check store.url, store.endpoint and store.path_style",
            Self::Elsewhere => "check store.region and store.endpoint",
            Self::Clock => "set the clock of this machine (timedatectl)",
            Self::Unavailable => {
                "check store.endpoint, the service and the network between; for an unknown CA set store.ca_file"
            }
            Self::Other => "check section [store] of the configuration and the service's own log",
        }
    }
}

impl fmt::Display for BucketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}); {}",
            self.kind.cause(),
            self.cause,
            self.kind.remedy()
        )
    }
}

impl BucketFault {
    /// Of what the client gave.
    pub fn of(error: &object_store::Error) -> Self {
        let text = error.to_string();
        let code = element(&text, "Code");
        let kind = match (code, error) {
            (Some("NoSuchBucket"), _) => FaultKind::NoBucket,
            (
                Some(
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "NotSignedUp"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "TokenRefreshRequired"
                    | "AuthorizationHeaderMalformed",
                ),
                _,
            )
            | (_, object_store::Error::Unauthenticated { .. }) => FaultKind::Credentials,
            (Some("RequestTimeTooSkewed"), _) => FaultKind::Clock,
            (Some("PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException"), _) => {
                FaultKind::Elsewhere
            }
            (Some("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout"), _) => {
                FaultKind::Unavailable
            }
            (_, object_store::Error::PermissionDenied { .. }) => FaultKind::Forbidden,
            // With the words around them: an address may have such a word or number in it.
            (None, _) if text.contains("Received redirect") || text.contains("status code: 301") => {
                FaultKind::Elsewhere
            }
            (None, _) if text.contains("HTTP error") || text.contains("status code: 5") => {
                FaultKind::Unavailable
            }
            _ => FaultKind::Other,
        };
        let cause = match (code, element(&text, "Message")) {
            (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
            (Some(code), None) => code.to_owned(),
            _ => deepest(error),
        };
        Self {
            kind,
            cause: cause.chars().take(MAX_WORDS).collect(),
        }
    }
}

/// The text of the first such element of an XML document.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once('<')
        .map(|(text, _)| text)
        .filter(|text| !text.is_empty())
}

/// The innermost cause: what the network or the TLS library said.
fn deepest(error: &object_store::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn each_refusal_is_told_by_its_kind_with_the_words_of_the_service() {
        let denied = |text: &str| object_store::Error::PermissionDenied {
            path: String::new(),
            source: text.into(),
        };
        let xml = |code: &str| {
            format!(
                "Server returned non-2xx status code: 403: <Error><Code>{code}</Code><Message>No.</Message></Error>"
            )
        };
        for (error, kind, cause) in [
            (
                denied(&xml("AccessDenied")),
                FaultKind::Forbidden,
                "AccessDenied: No",
            ),
            (
                denied(&xml("InvalidAccessKeyId")),
                FaultKind::Credentials,
                "InvalidAccessKeyId: No",
            ),
            (
                denied(&xml("RequestTimeTooSkewed")),
                FaultKind::Clock,
                "RequestTimeTooSkewed: No",
            ),
            (
                generic(&xml("NoSuchBucket")),
                FaultKind::NoBucket,
                "NoSuchBucket: No",
            ),
            (
                generic(&xml("PermanentRedirect")),
                FaultKind::Elsewhere,
                "PermanentRedirect: No",
            ),
            (
                generic(&xml("MalformedXML")),
                FaultKind::Other,
                "MalformedXML: No",
            ),
            (
                generic("HTTP error: error sending request"),
                FaultKind::Unavailable,
                "HTTP error: error sending request",
            ),
            (
                generic("HTTP error: error sending request for url (http://127.0.0.1:43301/redirects)"),
                FaultKind::Unavailable,
                "HTTP error: error sending request for url (http://127.0.0.1:43301/redirects)",
            ),
            (
                generic("Server returned non-2xx status code: 301: "),
                FaultKind::Elsewhere,
                "Server returned non-2xx status code: 301: ",
            ),
        ] {
            let fault = BucketFault::of(&error);
            assert_eq!((fault.kind, fault.cause.as_str()), (kind, cause));
        }
        let long = BucketFault::of(&generic(&"x".repeat(10_000)));
        assert_eq!(long.cause.len(), MAX_WORDS);
    }
}
