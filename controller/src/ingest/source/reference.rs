//! Names of artifacts in registries: `registry.example.net/images/debian:12`, or with `@sha256:…`.
//!
//! The grammar is that of the OCI Distribution Specification 1.1, "Pulling manifests"; the registry must be named.

use std::str::FromStr;

use url::Url;

use crate::ingest::{
    ImportError,
    fetch::{self, FetchError},
};

/// An artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// `https://registry.example.net`
    pub(super) registry: Url,
    /// `images/debian`
    pub(super) repository: String,
    /// A tag, or a digest.
    pub(super) version: Version,
}

/// Which version of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Tag(String),
    Digest(Sha256Digest),
}

/// `sha256:…`; other algorithms are not used by registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sha256Digest(pub(super) [u8; 32]);

impl FromStr for Sha256Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut digest = [0; 32];
        let hex = text.strip_prefix("sha256:").ok_or(())?;
        hex::decode_to_slice(hex, &mut digest).map_err(drop)?;
        Ok(Self(digest))
    }
}

impl std::fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Reference {
    /// A URL of the registry's API.
    pub(super) fn url(&self, part: &str, name: &str) -> Url {
        let mut url = self.registry.clone();
        url.set_path(&format!("/v2/{}/{part}/{name}", self.repository));
        url
    }
}

impl FromStr for Reference {
    type Err = ImportError;

    fn from_str(text: &str) -> Result<Self, ImportError> {
        let refused = |reason| {
            ImportError::from(FetchError::Url {
                url: text.chars().take(300).collect(),
                reason,
            })
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
            Some(_) => return Err(refused("a registry is asked by https or http")),
            None => ("https", text),
        };
        let (host, path) = rest.split_once('/').ok_or_else(|| {
            refused("it does not name registry and repository: registry.example.net/images/debian:12")
        })?;
        if text.len() > 1024 || host.contains('@') || !(host.contains(['.', ':']) || host == "localhost") {
            return Err(refused("it does not begin with the address of a registry"));
        }
        let registry = Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|_| refused("the registry's address is none"))?;
        fetch::check(&registry)?;
        let (repository, version) = match path.split_once('@') {
            Some((name, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|()| refused("its digest is not sha256: and 64 hex digits"))?;
                // A tag beside a digest says nothing.
                (
                    name.split_once(':').map_or(name, |(name, _)| name),
                    Version::Digest(digest),
                )
            }
            None => {
                let (name, tag) = path.split_once(':').unwrap_or((path, "latest"));
                let good = (1..=128).contains(&tag.len())
                    && !tag.starts_with(['.', '-'])
                    && tag
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
                if !good {
                    return Err(refused("its tag is none"));
                }
                (name, Version::Tag(tag.to_owned()))
            }
        };
        let part = |part: &str| {
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(edge)
                && part.ends_with(edge)
                && part.chars().all(|c| edge(c) || "._-".contains(c))
        };
        if !repository.split('/').all(part) {
            return Err(refused(
                "its repository has other than lower-case letters, digits and ._- between slashes",
            ));
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_a_registry_and_lead_nowhere_else() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, registry, repository, version) in [
            (
                "registry.example.net/images/debian:12",
                "https://registry.example.net/",
                "images/debian",
                "12",
            ),
            (
                "localhost:5000/debian",
                "https://localhost:5000/",
                "debian",
                "latest",
            ),
            (
                "http://127.0.0.1:5000/a/b.c:x_y",
                "http://127.0.0.1:5000/",
                "a/b.c",
                "x_y",
            ),
            (&format!("r.io/a@{digest}"), "https://r.io/", "a", &digest),
            (&format!("r.io/a:tag@{digest}"), "https://r.io/", "a", &digest),
        ] {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!(
                (parsed.registry.as_str(), parsed.repository.as_str()),
                (registry, repository),
                "{text}"
            );
            assert_eq!(parsed.version.to_string(), version);
        }
        for wrong in [
            "debian:12",
            "images/debian:12",
            "file://r.io/a",
            "r.io/",
            "r.io/../a",
            "r.io/a/../../etc:1",
            "r.io/A",
            "r.io/a:b/c",
            "r.io/a:",
            "r.io/a@sha256:12",
            "r.io/a@md5:12",
            "me:pw@r.io/a",
            "r.io/a?x=y",
        ] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
        let reference: Reference = "r.io/a/b:1".parse().unwrap();
        assert_eq!(
            reference.url("manifests", "1").as_str(),
            "https://r.io/v2/a/b/manifests/1"
        );
    }
}
