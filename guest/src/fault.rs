//! What a failed call means: whether another try can help, and which words help an operator.

use std::{error::Error, io};

use rustls::CertificateError;
use tonic::{Code, Status};

/// Why one attempt to report did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection could not be made.
    #[error("cannot connect to the controller{}", explain(.0))]
    Connect(#[source] tonic::transport::Error),
    /// The address or the CA of the configuration cannot be used for a connection at all.
    #[error("the controller's address or CA in the configuration cannot be used")]
    Endpoint(#[source] tonic::transport::Error),
    /// The token cannot be sent as a header.
    #[error("the report token holds characters that no token has")]
    Token,
    /// The controller answered with an error.
    #[error("the controller answered {}: {}", .0.code(), .0.message())]
    // Not a source: its Display would repeat what is said above.
    Answer(Box<Status>),
}

impl Fault {
    /// Whether the same report can be accepted later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Endpoint(_) | Self::Token => false,
            Self::Answer(status) => !matches!(
                status.code(),
                Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::InvalidArgument
                    | Code::NotFound
                    | Code::FailedPrecondition
            ),
        }
    }

    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(error) => match tls_fault(error) {
                Some(TlsFault::ClockBehind) => "set this machine's clock (firmware setup or time server)",
                Some(TlsFault::ClockAheadOrExpired) => {
                    "check this machine's clock; if it is right, renew the controller's certificate"
                }
                Some(TlsFault::WrongIssuer) => {
                    "the controller has another CA than at deployment time: deploy again, or point the address back to it"
                }
                Some(TlsFault::WrongName) => {
                    "the controller's certificate does not name the address: set public_url in its configuration"
                }
                Some(TlsFault::Other) => {
                    "check that a controller, and no other service, answers at this address"
                }
                None => {
                    "check network, routes and firewalls between this machine and the controller's TLS port"
                }
            },
            Self::Endpoint(_) | Self::Token => "deploy again: /etc/imprint/guest.json is damaged",
            Self::Answer(status) => match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => {
                    "the token was withdrawn, most likely because the deployment was cancelled or replaced: \
                     look at the deployment on the controller, and deploy again if it has not succeeded"
                }
                _ => "look at the controller's log",
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsFault {
    ClockBehind,
    ClockAheadOrExpired,
    WrongIssuer,
    WrongName,
    Other,
}

/// Half a sentence that says what the library's own words do not.
fn explain(error: &(dyn Error + 'static)) -> &'static str {
    match tls_fault(error) {
        Some(TlsFault::ClockBehind) => {
            ": this machine's clock is before the beginning of the certificate's validity, so it is most likely off"
        }
        Some(TlsFault::ClockAheadOrExpired) => {
            ": the certificate has expired, or this machine's clock is ahead of the time"
        }
        Some(TlsFault::WrongIssuer) => ": its certificate was not issued by the CA of this deployment",
        Some(TlsFault::WrongName) => ": its certificate is for another name or address",
        Some(TlsFault::Other) | None => "",
    }
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

fn tls_fault(error: &(dyn Error + 'static)) -> Option<TlsFault> {
    causes(error)
        .find_map(|cause| cause.downcast_ref::<rustls::Error>())
        .map(classify)
}

fn classify(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFault::ClockBehind
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsFault::ClockAheadOrExpired
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::WrongIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::WrongName
            }
            _ => TlsFault::Other,
        },
        _ => TlsFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_time_can_change_are_transient() {
        for (code, transient) in [
            (Code::Unavailable, true),
            (Code::Internal, true),
            (Code::DeadlineExceeded, true),
            (Code::ResourceExhausted, true),
            (Code::Unknown, true),
            (Code::Unauthenticated, false),
            (Code::PermissionDenied, false),
            (Code::InvalidArgument, false),
            (Code::NotFound, false),
        ] {
            assert_eq!(
                Fault::Answer(Box::new(Status::new(code, "x"))).is_transient(),
                transient,
                "{code:?}"
            );
        }
        assert!(!Fault::Token.is_transient());
    }

    #[test]
    fn a_tls_fault_is_found_inside_an_io_error() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::NotValidYet);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(tls_fault(&wrapped), Some(TlsFault::ClockBehind));
        assert!(explain(&wrapped).contains("clock"));
        assert_eq!(
            tls_fault(&io::Error::from(io::ErrorKind::ConnectionRefused)),
            None
        );
    }
}
