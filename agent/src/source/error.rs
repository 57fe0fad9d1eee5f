//! What can go wrong between a server and us, and whether trying again can help.

use std::{error::Error, fmt::Write, io, path::PathBuf, time::Duration};

use imprint_image::ManifestError;
use reqwest::StatusCode;
use rustls::CertificateError;

/// What to do about a store that holds something else than the manifest says.
const OTHER_OBJECT: &str = "the object in the store isn't the one of the manifest: restore the folder `store` of the controller's data from a backup";
/// What to do about a server that gives nothing, or not all.
const NO_ANSWER: &str =
    "check that the controller or store runs and that the network between it and this machine holds";

/// A source didn't give what it should.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection, or a connection that broke.
    #[error("cannot read {url}")]
    Request {
        /// What was asked for.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered, but not with the content.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server sent everything instead of a part.
    #[error("{url} does not serve parts of a file: it answered {status} to a range request")]
    RangeIgnored {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// The server sent another part, or a part of another file.
    #[error("{url} sent the range {got:?}, expected {expected:?}")]
    WrongRange {
        /// What was asked for.
        url: String,
        /// The `Content-Range` that would be right.
        expected: String,
        /// The one that came.
        got: String,
    },
    /// The object is not the one that was meant: it has another size.
    #[error("{url} has {got} bytes, expected {expected}")]
    OtherSize {
        /// What was asked for.
        url: String,
        /// Its size by the manifest.
        expected: u64,
        /// Its size by the server.
        got: u64,
    },
    /// The connection ended before all bytes came.
    #[error("{place} ended after {got} bytes, expected {expected}")]
    Short {
        /// URL or path.
        place: String,
        /// Bytes that should have come.
        expected: u64,
        /// Bytes that came.
        got: u64,
        /// Whether it is a file of ours, which doesn't grow by asking again.
        local: bool,
    },
    /// More bytes came than belong there.
    #[error("{place} is longer than the {expected} bytes expected")]
    Long {
        /// URL or path.
        place: String,
        /// Bytes that should have come.
        expected: u64,
    },
    /// Nothing came for too long.
    #[error("{url} sent nothing for {} s", .waited.as_secs())]
    Silent {
        /// What was asked for.
        url: String,
        /// How long we waited.
        waited: Duration,
    },
    /// A local file can't be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A manifest that isn't one, or isn't signed by a key that we trust.
    #[error("the manifest at {place} is refused")]
    Manifest {
        /// URL or path.
        place: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// Tried for as long as we were told to.
    #[error("gave up after {} s without progress and {attempts} attempts", .waited.as_secs())]
    GaveUp {
        /// For how long nothing came.
        waited: Duration,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        #[source]
        last: Box<SourceError>,
    },
}

impl SourceError {
    /// Whether the same question would get the same answer.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            SourceError::Request { source, .. } => {
                let stranger = certificate_error(source).is_some_and(|wrong| !is_about_time(&wrong));
                stranger || source.is_builder() || source.is_redirect()
            }
            SourceError::Status { status, .. } => {
                let passing = [
                    StatusCode::REQUEST_TIMEOUT,
                    StatusCode::CONFLICT,
                    StatusCode::TOO_EARLY,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                !status.is_server_error() && !passing.contains(status)
            }
            SourceError::Short { local, .. } => *local,
            SourceError::Silent { .. } => false,
            SourceError::RangeIgnored { .. }
            | SourceError::WrongRange { .. }
            | SourceError::OtherSize { .. }
            | SourceError::Long { .. }
            | SourceError::File { .. }
            | SourceError::Manifest { .. }
            | SourceError::GaveUp { .. } => true,
        }
    }

    /// Whether a server, or the way to it, has more to do than it can: fewer requests may help it.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        match self {
            SourceError::Status { status, .. } => {
                matches!(
                    *status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                )
            }
            SourceError::Silent { .. } => true,
            _ => false,
        }
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            SourceError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            SourceError::Status { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "the store refuses this machine: check its certificate or token, and that the image is deployed to it"
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => {
                    "the store doesn't have this object: restore the folder `store` of the controller's data from a backup"
                }
                StatusCode::RANGE_NOT_SATISFIABLE => OTHER_OBJECT,
                status if status.is_server_error() => {
                    "look at the log of the controller or store, then deploy again"
                }
                _ => "check the URL and that the server is an Imprint store",
            },
            SourceError::GaveUp { last, .. } => last.remedy(),
            SourceError::Request { source, .. } => match certificate_error(source) {
                Some(wrong) if is_about_time(&wrong) => {
                    "set the clock of this machine, or renew the certificate of the store"
                }
                Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                    "name the store by a name or an address that its certificate carries"
                }
                Some(_) => "trust the authority that signed the store's certificate (--ca FILE)",
                None => NO_ANSWER,
            },
            SourceError::Silent { .. } | SourceError::Short { local: false, .. } => NO_ANSWER,
            SourceError::RangeIgnored { .. } => {
                "use a server that answers range requests, or name a local file"
            }
            SourceError::WrongRange { .. }
            | SourceError::OtherSize { .. }
            | SourceError::Long { .. }
            | SourceError::Short { .. } => OTHER_OBJECT,
            SourceError::File { .. } => "check the path and its permissions",
            SourceError::Manifest { source, .. } => match source {
                ManifestError::Encrypted { .. } | ManifestError::WrongKey { .. } => {
                    "give the data key of this image (--key-file FILE)"
                }
                ManifestError::NotEncrypted => "write this image without a data key",
                _ => {
                    "use a manifest signed by a trusted key, and an agent that is not older than the controller"
                }
            },
        }
    }
}

/// What is wrong with a server's certificate, if that is why there is no connection. A server that is not the one we
/// trust does not become it by being asked again.
fn certificate_error(error: &(dyn Error + 'static)) -> Option<CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
            return Some(error.clone());
        }
        next = cause_of(error);
    }
    None
}

/// Whether a clock that is set may help.
fn is_about_time(wrong: &CertificateError) -> bool {
    matches!(
        wrong,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

/// What caused an error. An I/O error shows what it wraps as its own text, not as its source.
pub(super) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// An error with all its sources on one line.
pub(crate) fn whole_cause(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        // Some libraries repeat their source; once is enough.
        if !text.ends_with(&part) {
            write!(text, ": {part}").expect("writing to a string cannot fail");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_pass_is_tried_again_and_what_cannot_is_not() {
        let status = |code| SourceError::Status {
            url: "http://x".to_owned(),
            status: StatusCode::from_u16(code).unwrap(),
            retry_after: None,
        };
        for code in [408, 409, 425, 429, 500, 502, 503, 504] {
            assert!(!status(code).is_permanent(), "{code}");
        }
        for code in [400, 401, 403, 404, 410, 416, 304] {
            assert!(status(code).is_permanent(), "{code}");
        }
        let short = |local| SourceError::Short {
            place: "x".to_owned(),
            expected: 9,
            got: 3,
            local,
        };
        assert!(short(true).is_permanent());
        assert!(!short(false).is_permanent());
        assert_eq!(short(false).to_string(), "x ended after 3 bytes, expected 9");
    }

    #[test]
    fn a_cause_is_told_once_with_all_its_parts() {
        let inner = SourceError::File {
            path: "/x".into(),
            source: io::Error::from_raw_os_error(5),
        };
        let outer = SourceError::GaveUp {
            waited: Duration::from_secs(3),
            attempts: 2,
            last: Box::new(inner),
        };
        assert_eq!(
            whole_cause(&outer),
            "gave up after 3 s without progress and 2 attempts: cannot read /x: Input/output error (os error 5)"
        );
    }
}
