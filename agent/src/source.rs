//! Where bytes come from: how a manifest, a pack or a plain image is named, opened and read.
//!
//! A [`Location`] is a URL or a file. A manifest lies at `<store>/manifests/<digest>`, and its packs beside it at
//! `<store>/packs/<digest>`; a [`PackSource`] knows one or several such stores and reads ranges of packs from them.
//! Every answer is checked (status, range, length) before a byte of it is used, and each [`SourceError`] knows whether
//! trying again can help.

mod body;
mod error;
mod http;
mod manifest;
mod patience;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

pub(crate) use body::Object;
pub use body::RangeBody;
pub use error::SourceError;
pub(crate) use error::whole_cause;
pub use http::{HttpClient, http_client, http_client_trusting};
pub use manifest::{ManifestKeys, load_manifest};
pub(crate) use patience::{Patience, Verdict, is_worth_a_note};
use url::Url;

/// Where something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On an HTTP or HTTPS server.
    Url(Url),
    /// In the file system.
    File(PathBuf),
}

/// A text that names no place to read from.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Not a URL, although it has a scheme.
    #[error("{text:?} is not a valid URL")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: url::ParseError,
    },
    /// A scheme that isn't read.
    #[error("cannot read from a {scheme} URL: use http, https or the path of a file")]
    Scheme {
        /// What was given.
        scheme: String,
    },
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if !text.contains("://") {
            return Ok(Location::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|source| LocationError::Url {
            text: text.to_owned(),
            source,
        })?;
        match url.scheme() {
            "http" | "https" => Ok(Location::Url(url)),
            scheme => Err(LocationError::Scheme {
                scheme: scheme.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Url(url) => f.write_str(&public_url(url)),
            Location::File(path) => path.display().fmt(f),
        }
    }
}

/// A URL as it may be shown: user, password and query can hold credentials.
fn public_url(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// One or several stores that hold the packs of an image.
#[derive(Debug, Clone)]
pub struct PackSource {
    origins: Arc<[Origin]>,
}

#[derive(Debug, Clone)]
enum Origin {
    Http { base: Url, client: HttpClient },
    Dir(PathBuf),
}

impl PackSource {
    /// The store at `base`: packs are at `<base>/packs/<digest>`.
    #[must_use]
    pub fn http(base: &Url, client: HttpClient) -> Self {
        let mut base = base.clone();
        // Without the slash at its end, joining would replace the last part of the path.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        PackSource {
            origins: Arc::from([Origin::Http { base, client }]),
        }
    }

    /// The store in a local folder.
    #[must_use]
    pub fn dir(path: &Path) -> Self {
        PackSource {
            origins: Arc::from([Origin::Dir(path.to_owned())]),
        }
    }

    /// The store that holds the manifest at `location`, which lies at `<store>/manifests/<digest>`.
    #[must_use]
    pub fn beside_manifest(location: &Location, client: HttpClient) -> Self {
        match location {
            Location::Url(url) => {
                let base = url.join("../").expect("an http URL can be a base");
                PackSource::http(&base, client)
            }
            // `..` is resolved by the file system, so that a path without a parent and a linked folder work alike.
            Location::File(path) => PackSource::dir(&path.parent().unwrap_or(Path::new("")).join("..")),
        }
    }

    /// This source, with `other` to turn to when it fails.
    #[must_use]
    pub fn or(self, other: &PackSource) -> Self {
        PackSource {
            origins: self.origins.iter().chain(other.origins.iter()).cloned().collect(),
        }
    }

    /// How many stores there are.
    #[must_use]
    pub fn origin_count(&self) -> usize {
        self.origins.len()
    }

    /// What the windows of connections can hold in memory, beyond what requests take.
    #[must_use]
    pub(crate) fn window_bytes(&self) -> u64 {
        let windows = self.origins.iter().map(|origin| match origin {
            Origin::Http { client, .. } => client.window_bytes(),
            Origin::Dir(_) => 0,
        });
        windows.max().unwrap_or(0)
    }

    /// Asks the store number `origin` for the bytes `range` of a pack of `pack_bytes`.
    ///
    /// # Errors
    /// When the store can't be reached or answers with anything but these bytes.
    pub(crate) async fn open(
        &self,
        origin: usize,
        pack: &imprint_image::PackRef,
        range: std::ops::Range<u64>,
        read_timeout: Duration,
    ) -> Result<RangeBody, SourceError> {
        match &self.origins[origin % self.origins.len()] {
            Origin::Http { base, client } => {
                let url = base
                    .join(&format!("packs/{}", pack.digest))
                    .expect("a digest is a valid relative URL");
                RangeBody::open_url(client, &url, range, Some(pack.size_bytes), read_timeout).await
            }
            Origin::Dir(dir) => {
                let path = dir.join("packs").join(pack.digest.to_string());
                RangeBody::open_file(&path, range).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_urls_or_files() {
        assert!(matches!("https://c:8443/v1/x".parse(), Ok(Location::Url(_))));
        assert!(matches!("disk.raw".parse(), Ok(Location::File(_))));
        assert!(matches!("/srv/a b".parse(), Ok(Location::File(_))));
        for text in ["file:///etc/shadow", "ftp://x/y", "http://"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_holds_no_credential() {
        let location: Location = "https://user:hunter2@store:9000/a/b?token=hunter2#x"
            .parse()
            .unwrap();
        assert_eq!(location.to_string(), "https://store:9000/a/b");
    }

    #[test]
    fn packs_lie_beside_the_manifest() {
        let client = || http_client_trusting(rustls::RootCertStore::empty()).unwrap();
        let location: Location = "https://c:8443/v1/store/manifests/abc?x=1".parse().unwrap();
        let Origin::Http { base, .. } = &PackSource::beside_manifest(&location, client()).origins[0] else {
            panic!()
        };
        assert_eq!(base.as_str(), "https://c:8443/v1/store/");
        let source = PackSource::http(&"https://c/v1/store".parse().unwrap(), client());
        let Origin::Http { base, .. } = &source.origins[0] else {
            panic!()
        };
        assert_eq!(
            base.join("packs/x").unwrap().as_str(),
            "https://c/v1/store/packs/x"
        );

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("manifests")).unwrap();
        std::fs::create_dir_all(dir.path().join("packs")).unwrap();
        let location = Location::File(dir.path().join("manifests/abc"));
        let Origin::Dir(base) = &PackSource::beside_manifest(&location, client()).origins[0] else {
            panic!()
        };
        assert!(base.join("packs").is_dir());
    }
}
