//! Credentials for servers that files are fetched from: configured by the operator, named by the caller.

use std::fmt;

use http::HeaderValue;
use url::Url;
use zeroize::Zeroizing;

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Where a URL leads.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

/// What a server wants to see, and which server.
#[derive(Clone)]
pub struct Credential {
    origins: Vec<Origin>,
    /// The value of the Authorization header.
    value: Zeroizing<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// For these servers, and for no others.
    #[must_use]
    pub fn new(origins: Vec<Origin>, value: Zeroizing<String>) -> Self {
        Self { origins, value }
    }

    /// The header for a request to `url`; nothing when that is another server.
    pub(super) fn header_for(&self, url: &Url) -> Option<HeaderValue> {
        let origin = Origin::of(url)?;
        if !self.origins.contains(&origin) {
            return None;
        }
        let mut value = HeaderValue::from_str(&self.value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_58_a_credential_goes_to_its_own_server_only() {
        let url = |text: &str| Url::parse(text).unwrap();
        let own = Origin::of(&url("https://mirror.example.net")).unwrap();
        let credential = Credential::new(vec![own], "Bearer hunter2".to_owned().into());
        for (text, sent) in [
            ("https://mirror.example.net/a", true),
            ("https://mirror.example.net:443/b?c", true),
            ("http://mirror.example.net/a", false),
            ("https://mirror.example.net:8443/a", false),
            ("https://mirror.example.net.evil.example/a", false),
            ("https://evil.example/mirror.example.net", false),
        ] {
            assert_eq!(credential.header_for(&url(text)).is_some(), sent, "{text}");
        }
        assert!(!format!("{credential:?}").contains("hunter2"));
        assert!(
            !format!("{:?}", credential.header_for(&url("https://mirror.example.net"))).contains("hunter2")
        );
    }
}
