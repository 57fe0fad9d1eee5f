//! An artifact of a registry: its manifest, then the layer that is the image file.
//!
//! OCI Distribution Specification 1.1 ("Pull") and OCI Image Specification 1.1 ("Image Manifest"). The requests go
//! through the same client as those for URLs, since a registry names other servers: the one that gives tokens, and those
//! that it redirects to. Libraries for registries bring HTTP clients of their own, whose addresses nobody could look at.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use url::Url;

use super::{
    Opened,
    reference::{Reference, Sha256Digest, Version},
};
use crate::ingest::{
    ImportError,
    fetch::{self, Answer, Credential, FetchError, Fetcher, Origin},
};

/// As the specification asks of registries at least.
const MAX_MANIFEST: usize = 4 << 20;
const MAX_TOKEN: usize = 64 << 10;
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.oci.image.index.v1+json";
const TITLE: &str = "org.opencontainers.image.title";
const MAX_NAMED: usize = 20;

/// What is to be fetched of a registry.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) reference: Reference,
    /// Title, media type or digest of the layer.
    pub(super) layer: Option<String>,
    pub(super) credential: Option<Credential>,
}

/// "Image Manifest", and of "Image Index" what tells it from one.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    manifests: Vec<Listed>,
}

/// "Content Descriptors".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    digest: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Artifact {
    /// Opens the layer. Its digest is the promise that the import keeps.
    pub(super) async fn open(&self, fetcher: &Fetcher, limit: u64) -> Result<Opened, ImportError> {
        let at = self
            .reference
            .url("manifests", &self.reference.version.to_string());
        let (body, credential) = self.manifest(fetcher, &at).await?;
        let not_understood = |reason: String| FetchError::Registry {
            url: fetch::shown(&at),
            reason,
        };
        if let Version::Digest(expected) = &self.reference.version
            && <[u8; 32]>::from(Sha256::digest(&body)) != expected.0
        {
            return Err(
                not_understood("the manifest has another digest than was asked for".to_owned()).into(),
            );
        }
        let manifest: Manifest =
            serde_json::from_slice(&body).map_err(|error| not_understood(error.to_string()))?;
        let layer = choose(&manifest, self.layer.as_deref()).map_err(not_understood)?;
        let digest: Sha256Digest = layer
            .digest
            .parse()
            .map_err(|()| not_understood("the layer's digest is no SHA-256".to_owned()))?;
        if layer.size > limit {
            return Err(FetchError::TooLarge {
                url: fetch::shown(&at),
                limit,
            }
            .into());
        }
        let blob = self.reference.url("blobs", &digest.to_string());
        let download = fetcher
            .open(&blob, HeaderMap::new(), credential, layer.size)
            .await?;
        let mut opened = Opened::download(download);
        opened.length = Some(layer.size);
        opened.sha256 = Some(digest.0);
        Ok(opened)
    }

    /// The manifest, and what gave access to it.
    async fn manifest(
        &self,
        fetcher: &Fetcher,
        at: &Url,
    ) -> Result<(Vec<u8>, Option<Credential>), FetchError> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(ACCEPT))]);
        let first = fetcher.get(at, &headers, self.credential.as_ref()).await?;
        if first.response.status() != StatusCode::UNAUTHORIZED {
            return Ok((body(first, MAX_MANIFEST).await?, self.credential.clone()));
        }
        let challenge = first.response.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge
            .and_then(|value| value.to_str().ok())
            .and_then(Challenge::of);
        let Some(challenge) = challenge else {
            return Err(FetchError::Status {
                url: fetch::shown(at),
                status: StatusCode::UNAUTHORIZED,
            });
        };
        let credential = self.token(fetcher, &challenge).await?;
        let second = fetcher.get(at, &headers, Some(&credential)).await?;
        Ok((body(second, MAX_MANIFEST).await?, Some(credential)))
    }

    /// A token for the registry, of the server that the registry names. It is sent to the registry only.
    async fn token(&self, fetcher: &Fetcher, challenge: &Challenge) -> Result<Credential, FetchError> {
        let url = challenge.url(&self.reference.repository)?;
        let answer = fetcher
            .get(&url, &HeaderMap::new(), self.credential.as_ref())
            .await?;
        let body = body(answer, MAX_TOKEN).await?;
        let token: Option<Token> = serde_json::from_slice(&body).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.ok_or_else(|| FetchError::Registry {
            url: fetch::shown(&url),
            reason: "there is no token in it".to_owned(),
        })?;
        let registry = Origin::of(&self.reference.registry).into_iter().collect();
        Ok(Credential::new(registry, format!("Bearer {token}").into()))
    }
}

/// A whole answer that is a success and not too long.
async fn body(mut answer: Answer, most: usize) -> Result<Vec<u8>, FetchError> {
    let url = fetch::shown(&answer.url);
    let status = answer.response.status();
    if status != StatusCode::OK {
        return Err(FetchError::Status { url, status });
    }
    let mut all = Vec::new();
    loop {
        let piece = answer
            .response
            .chunk()
            .await
            .map_err(|source| FetchError::Broken {
                url: url.clone(),
                source: source.without_url(),
            })?;
        let Some(piece) = piece else { return Ok(all) };
        if all.len() + piece.len() > most {
            return Err(FetchError::TooLarge {
                url,
                limit: most as u64,
            });
        }
        all.extend_from_slice(&piece);
    }
}

/// The only layer, or the one that is named.
fn choose<'a>(manifest: &'a Manifest, named: Option<&str>) -> Result<&'a Layer, String> {
    if !manifest.manifests.is_empty() {
        let digests = manifest.manifests.iter().map(|one| one.digest.as_str());
        return Err(format!(
            "it is an index of several artifacts; name one by its digest: {}",
            digests.take(MAX_NAMED).collect::<Vec<_>>().join(", ")
        ));
    }
    let title = |layer: &'a Layer| layer.annotations.get(TITLE).map_or("", String::as_str);
    let fits = |layer: &&Layer| {
        named.is_none_or(|named| {
            layer.digest == named
                || layer.media_type == named
                || layer.annotations.get(TITLE).is_some_and(|title| title == named)
        })
    };
    let mut fitting = manifest.layers.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (found, _) => {
            let layers = manifest.layers.iter().take(MAX_NAMED);
            let layers: Vec<_> = layers
                .map(|layer| match title(layer) {
                    "" => layer.digest.clone(),
                    title => format!("{title} ({})", layer.digest),
                })
                .collect();
            let what = if found.is_some() {
                "more than one layer"
            } else {
                "no layer"
            };
            Err(format!(
                "{what} fits; name one of its layers: {}",
                layers.join(", ")
            ))
        }
    }
}

/// `Bearer realm="…",service="…",scope="…"`
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    fn of(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut values = BTreeMap::new();
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            values.insert(
                name.trim_matches([',', ' ']).to_ascii_lowercase(),
                value.to_owned(),
            );
            rest = after;
        }
        Some(Self {
            realm: values.remove("realm")?,
            service: values.remove("service"),
            scope: values.remove("scope"),
        })
    }

    fn url(&self, repository: &str) -> Result<Url, FetchError> {
        let refused = |reason| FetchError::Url {
            url: self.realm.chars().take(300).collect(),
            reason,
        };
        let mut url =
            Url::parse(&self.realm).map_err(|_| refused("the registry's server for tokens is none"))?;
        fetch::check(&url)?;
        let pull = format!("repository:{repository}:pull");
        let mut query = url.query_pairs_mut();
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", self.scope.as_deref().unwrap_or(&pull));
        drop(query);
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example.net/token",service="registry.example.net",scope="repository:a/b:pull""#;
        let challenge = Challenge::of(text).unwrap();
        assert_eq!(
            challenge.url("x").unwrap().as_str(),
            "https://auth.example.net/token?service=registry.example.net&scope=repository%3Aa%2Fb%3Apull"
        );
        let short = Challenge::of(r#"bearer realm="https://auth.example.net/""#).unwrap();
        assert!(
            short
                .url("a/b")
                .unwrap()
                .as_str()
                .ends_with("?scope=repository%3Aa%2Fb%3Apull")
        );
        for wrong in [
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"unclosed",
        ] {
            assert!(Challenge::of(wrong).is_none(), "{wrong}");
        }
        let local = Challenge::of(r#"Bearer realm="file:///etc/passwd""#).unwrap();
        assert!(local.url("a").is_err());
    }

    #[test]
    fn one_layer_is_chosen_or_named() {
        let manifest = |layers: &[&str]| {
            let layers: Vec<_> = layers
                .iter()
                .map(|title| serde_json::json!({"mediaType": "application/octet-stream", "digest": format!("sha256:{title}"),
                    "size": 1, "annotations": {TITLE: title}}))
                .collect();
            serde_json::from_value::<Manifest>(serde_json::json!({ "layers": layers })).unwrap()
        };
        let (one, two) = (manifest(&["disk.raw"]), manifest(&["disk.raw", "disk.sig"]));
        assert_eq!(choose(&one, None).unwrap().digest, "sha256:disk.raw");
        assert_eq!(choose(&two, Some("disk.sig")).unwrap().digest, "sha256:disk.sig");
        assert_eq!(
            choose(&two, Some("sha256:disk.raw")).unwrap().digest,
            "sha256:disk.raw"
        );
        for refused in [
            choose(&two, None),
            choose(&two, Some("none")),
            choose(&manifest(&[]), None),
        ] {
            assert!(refused.unwrap_err().contains("name one"));
        }
        let index: Manifest =
            serde_json::from_value(serde_json::json!({"manifests": [{"digest": "sha256:x"}]})).unwrap();
        assert!(choose(&index, None).unwrap_err().contains("sha256:x"));
    }
}
