//! What a caller wants to import, and from where.

use imprint_image::source::Format;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use utoipa::ToSchema;

use super::{ImportError, fetch};
use crate::{
    catalog::{ImageKind, ImageSpec, Source},
    identity::Caller,
};

/// What a caller wants to import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// What the new image is to be.
    pub spec: ImageSpec,
    /// How the file is to be taken.
    pub file: FileSpec,
    /// Of the request.
    pub idempotency_key: Option<String>,
    /// Who imports; the image belongs to the project that this caller acts for.
    pub by: Caller,
}

/// What a caller says of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileSpec {
    /// Format of the file: auto (the default), raw, raw.gz, raw.xz, raw.zst, raw.bz2, qcow2, qcow, qed, vmdk, vhd, vhdx, vdi
    /// or iso. A fixed vhd must be named: only its end tells it from raw.
    #[serde(default)]
    pub format: Option<String>,
    /// SHA-256 that the file, as it is, must have: 64 hex digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Logical sector size that the disk was made for, 512 or 4096; its partition table tells when it is left out.
    #[serde(default)]
    pub logical_sector_bytes: Option<u32>,
}

/// What is known of the file before a byte of it is read: a [`FileSpec`] that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) kind: ImageKind,
    pub(super) format: Option<Format>,
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) sector: Option<u32>,
}

impl FileSpec {
    /// Refuses what makes no sense.
    pub(super) fn check(&self, kind: Option<ImageKind>) -> Result<Declared, ImportError> {
        let kind = kind.unwrap_or(ImageKind::SystemDisk);
        let format = match self.format.as_deref() {
            None | Some("" | "auto") => None,
            Some(name) => Some(name.parse()?),
        };
        if kind == ImageKind::FullMachine {
            return Err(ImportError::FullMachine);
        }
        // Said twice, and not the same.
        if format.is_some_and(|format| (format == Format::Iso) != (kind == ImageKind::Iso)) {
            return Err(ImportError::Medium {
                kind,
                format: format.expect("there is one"),
            });
        }
        let sha256 = match self.sha256.as_deref() {
            None | Some("") => None,
            Some(text) => {
                let mut digest = [0; 32];
                hex::decode_to_slice(text.trim(), &mut digest).map_err(|_| ImportError::NoSha256)?;
                Some(digest)
            }
        };
        match self.logical_sector_bytes {
            None | Some(512 | 4096) => {}
            Some(bytes) => return Err(ImportError::NoSector { bytes }),
        }
        Ok(Declared {
            kind,
            format,
            sha256,
            sector: self.logical_sector_bytes,
        })
    }
}

/// Where the controller gets the file from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImportSource {
    /// An HTTP server.
    Url {
        /// `https://…` or `http://…`, without user name and password.
        #[schema(value_type = String)]
        url: Url,
        /// Name of a credential of the controller's configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential: Option<String>,
    },
    /// An artifact of a registry: its only layer, or the one that is named.
    Oci {
        /// `registry.example.net/images/debian:12`, or with `@sha256:…`.
        reference: String,
        /// Title, media type or digest of the layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
        /// Name of a credential of the controller's configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credential: Option<String>,
    },
    /// An object of an S3 bucket that the configuration names.
    S3 {
        /// Name of the bucket in the controller's configuration (`[[destinations]]`).
        destination: String,
        /// Key of the object below the bucket's prefix; in a bucket of several projects, below the project's folder.
        key: String,
    },
    /// A file that was uploaded in pieces.
    Upload {
        /// Its id.
        upload: String,
    },
}

impl ImportSource {
    /// The word for it in the catalogue.
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Url { .. } => Source::Url,
            Self::Oci { .. } => Source::Oci,
            Self::S3 { .. } => Source::S3,
            Self::Upload { .. } => Source::Upload,
        }
    }

    /// Where it is, without secrets.
    pub(super) fn reference(&self) -> String {
        match self {
            Self::Url { url, .. } => fetch::shown(url),
            Self::Oci { reference, .. } => reference.clone(),
            Self::S3 { destination, key } => format!("s3://{destination}/{key}"),
            Self::Upload { .. } => String::new(),
        }
    }

    /// The source as a job may keep and show it.
    pub(super) fn without_secrets(&self) -> Value {
        let mut shown = json!(self);
        if let Self::Url { url, .. } = self {
            shown["url"] = json!(fetch::shown(url));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_before_a_byte_is_read() {
        let file = |format: &str, sha256: &str, sector| FileSpec {
            format: Some(format.to_owned()),
            sha256: Some(sha256.to_owned()),
            logical_sector_bytes: sector,
        };
        let digest = "ab".repeat(32);
        for (kind, spec, good) in [
            (None, file("auto", "", None), true),
            (None, file("qcow2", &digest, Some(4096)), true),
            (Some(ImageKind::Iso), file("iso", "", None), true),
            (Some(ImageKind::Iso), file("", "", None), true),
            (Some(ImageKind::Iso), file("raw", "", None), false),
            (None, file("iso", "", None), false),
            (None, file("floppy", "", None), false),
            (None, file("", "abc", None), false),
            (None, file("", "", Some(520)), false),
            (Some(ImageKind::FullMachine), file("", "", None), false),
        ] {
            assert_eq!(spec.check(kind).is_ok(), good, "{kind:?} {spec:?}");
        }
    }

    #[test]
    fn what_a_job_keeps_has_no_signature() {
        let source: ImportSource = serde_json::from_value(
            json!({"type": "url", "url": "https://example.net/disk.raw?X-Signature=secret"}),
        )
        .unwrap();
        assert!(!source.without_secrets().to_string().contains("secret"));
        assert_eq!(source.reference(), "https://example.net/disk.raw");
        for wrong in [
            json!({"type": "ftp", "url": "ftp://example.net"}),
            json!({"type": "url"}),
            json!({"type": "upload", "upload": "u", "url": "https://example.net"}),
        ] {
            assert!(
                serde_json::from_value::<ImportSource>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
