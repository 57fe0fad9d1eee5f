//! The software in an image as a bill of materials: SPDX 2.3, JSON.
//!
//! The names of the fields are those of the specification's JSON form; the section that each part is from is named where
//! it is made. Only what was found is said: licences and origins of packages are `NOASSERTION`.

use std::fmt::Write as _;

use imprint_image::facts::{Fact, Facts};
use serde::Serialize;
use sqlx::{Row, SqlitePool};

use crate::catalog::{Image, ImageDisk, ImageKind};

const NO_ASSERTION: &str = "NOASSERTION";

/// Clause 6: document creation information.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    spdx_id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

/// 6.8 and 6.9.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

/// Clause 7: package information.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    spdx_id: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    download_location: &'static str,
    files_analyzed: bool,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
}

/// 7.10.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

/// 7.21, with the package URL of annex F.3.5.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

/// Clause 11.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

fn relationship(from: &str, kind: &'static str, to: &str) -> Relationship {
    Relationship {
        spdx_element_id: from.to_owned(),
        relationship_type: kind,
        related_spdx_element: to.to_owned(),
    }
}

/// The bill of materials of an image.
pub async fn document(db: &SqlitePool, image: &Image) -> Result<Document, sqlx::Error> {
    const DOCUMENT: &str = "SPDXRef-DOCUMENT";
    const IMAGE: &str = "SPDXRef-Image";
    let mut packages = vec![whole(image, IMAGE)];
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
    let mut comment = String::new();
    for disk in &image.disks {
        let found = sqlx::query(
            "SELECT name, version, architecture FROM manifest_packages WHERE manifest = ? ORDER BY name, version, architecture",
        )
        .bind(&disk.manifest)
        .fetch_all(db)
        .await?;
        let facts = super::kept(db, &disk.manifest).await?.facts;
        let facts = facts.as_ref().and_then(super::typed);
        if found.is_empty() {
            write!(comment, "{} ", nothing_of(facts.as_ref(), disk)).expect("a string takes everything");
        }
        let kind = facts
            .as_ref()
            .and_then(|facts| Manager::of(&facts.packages.known()?.manager));
        for row in &found {
            let id = format!("SPDXRef-Package-{}", packages.len());
            relationships.push(relationship(IMAGE, "CONTAINS", &id));
            let (name, version): (String, String) = (row.try_get("name")?, row.try_get("version")?);
            let architecture: String = row.try_get("architecture")?;
            let locator = kind.map(|kind| kind.purl(&image.os_distribution, &name, &version, &architecture));
            packages.push(Package {
                external_refs: locator.into_iter().map(purl).collect(),
                ..package(id, name, version)
            });
        }
    }
    Ok(Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        spdx_id: DOCUMENT,
        name: image.name.clone(),
        // 6.5: unique for each document; an image and its content never change.
        document_namespace: format!("urn:imprint:image:{}:{}", image.id, image.image_digest),
        creation_info: CreationInfo {
            created: image.created_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            creators: vec![concat!("Tool: imprint-controller-", env!("CARGO_PKG_VERSION")).to_owned()],
        },
        comment: comment.trim_end().to_owned(),
        packages,
        relationships,
    })
}

fn package(spdx_id: String, name: String, version_info: String) -> Package {
    Package {
        spdx_id,
        name,
        version_info,
        download_location: NO_ASSERTION,
        files_analyzed: false,
        license_concluded: NO_ASSERTION,
        license_declared: NO_ASSERTION,
        copyright_text: NO_ASSERTION,
        primary_package_purpose: None,
        checksums: Vec::new(),
        external_refs: Vec::new(),
    }
}

/// The image itself.
fn whole(image: &Image, id: &str) -> Package {
    let checksum = |disk: &ImageDisk| Checksum {
        algorithm: "BLAKE3",
        checksum_value: disk.image_digest.clone(),
    };
    let version = image.version.clone().unwrap_or_default();
    Package {
        // 7.24.
        primary_package_purpose: Some(match image.kind {
            ImageKind::SystemDisk | ImageKind::FullMachine => "OPERATING-SYSTEM",
            ImageKind::DataDisk | ImageKind::Iso => "ARCHIVE",
        }),
        checksums: image.disks.iter().map(checksum).collect(),
        ..package(id.to_owned(), image.name.clone(), version)
    }
}

/// Why no package of a disk is listed.
fn nothing_of(facts: Option<&Facts>, disk: &ImageDisk) -> String {
    let role = &disk.role;
    match facts.map(|facts| &facts.packages) {
        None => format!("Nobody has looked for packages on the disk `{role}`."),
        Some(Fact::Unknown(why)) => format!("The packages on the disk `{role}` are not known: {why}."),
        Some(Fact::Known(_)) => format!("There are no packages on the disk `{role}`."),
    }
}

fn purl(locator: String) -> ExternalRef {
    ExternalRef {
        reference_category: "PACKAGE-MANAGER",
        reference_type: "purl",
        reference_locator: locator,
    }
}

/// Whose packages they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Deb,
    Apk,
}

impl Manager {
    /// By the name that the facts have for it.
    fn of(name: &str) -> Option<Self> {
        match name {
            "dpkg" => Some(Self::Deb),
            "apk" => Some(Self::Apk),
            _ => None,
        }
    }

    fn purl(self, distribution: &str, name: &str, version: &str, architecture: &str) -> String {
        let kind = match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
        };
        format!(
            "pkg:{kind}/{}/{}@{}?arch={}",
            encoded(distribution),
            encoded(name),
            encoded(version),
            encoded(architecture)
        )
    }
}

/// Percent-encoded, but for what a package URL has as it is.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_those_of_the_specification() {
        let deb = Manager::of("dpkg").unwrap();
        assert_eq!(
            deb.purl("debian", "libstdc++6", "1:12.2.0-14+deb12u1", "amd64"),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1?arch=amd64"
        );
        assert_eq!(
            Manager::of("apk")
                .unwrap()
                .purl("alpine", "musl", "1.2.5-r0", "x86_64"),
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64"
        );
        assert_eq!(Manager::of("rpm"), None);
    }
}
