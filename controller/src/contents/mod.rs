//! What is known of the content of an image: facts, lint report, software.
//!
//! All of it was read when the image was imported (`ingest`), and is kept with the manifest of each disk, so that images
//! with the same content share it. Here it is only told.

mod plugins;
mod sbom;

use imprint_image::facts::{Facts, Finding};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row, SqlitePool};
use utoipa::ToSchema;

pub use plugins::{Plugin, PluginState};
pub use sbom::document as sbom;

use crate::{catalog::Image, ingest::LintSummary};

/// What was read from one disk of an image.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DiskFacts {
    /// `system`, `data`, or a name of its own in a full machine.
    pub role: String,
    /// BLAKE3 over the plain content, hex.
    pub image_digest: String,
    /// What was read, as `docs/image-facts.md` describes it; null when nobody has looked.
    #[schema(value_type = Option<Object>)]
    pub facts: Option<Value>,
    /// What the system brings for servers: initialization, network, guest plugin.
    pub plugins: Vec<Plugin>,
    /// How many packages are installed; `GET /v1/images/{image}/sbom` has them.
    pub package_count: u64,
}

/// What was read from the disks of an image.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ImageFacts {
    /// Id of the image.
    pub image_id: String,
    /// Its disks; a system disk comes first.
    pub disks: Vec<DiskFacts>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingSeverity {
    /// Worth knowing.
    Info,
    /// Works on some machines or with care.
    Warning,
    /// Machines will not come up, or not as they should.
    Error,
}

/// Something about an image that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LintFinding {
    /// Its name, which stays as it is: `no_gpt` and so on; `docs/image-facts.md` has the table.
    pub code: String,
    /// How bad it is.
    pub severity: FindingSeverity,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What would keep one disk of an image from working.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DiskLint {
    /// `system`, `data`, or a name of its own in a full machine.
    pub role: String,
    /// The worst first; null when nobody has looked.
    pub findings: Option<Vec<LintFinding>>,
}

/// What would keep an image from working.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImageLint {
    /// Id of the image.
    pub image_id: String,
    /// How many findings there are.
    pub summary: LintSummary,
    /// Its disks; a system disk comes first.
    pub disks: Vec<DiskLint>,
}

impl From<Finding> for LintFinding {
    fn from(finding: Finding) -> Self {
        use imprint_image::facts::Severity as S;
        Self {
            code: finding.code,
            severity: match finding.severity {
                S::Info => FindingSeverity::Info,
                S::Warning => FindingSeverity::Warning,
                S::Error => FindingSeverity::Error,
            },
            what: finding.what,
            remedy: finding.remedy,
        }
    }
}

/// What is kept with a manifest.
struct Kept {
    facts: Option<Value>,
    lint: Option<Vec<Finding>>,
    packages: u64,
}

async fn kept(db: &SqlitePool, manifest: &str) -> Result<Kept, sqlx::Error> {
    let row = sqlx::query(
        "SELECT facts, lint, (SELECT count(*) FROM manifest_packages AS p WHERE p.manifest = m.manifest) AS packages
         FROM manifests AS m WHERE manifest = ?",
    )
    .bind(manifest)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(Kept {
            facts: None,
            lint: None,
            packages: 0,
        });
    };
    let text = |name: &str| row.try_get::<Option<String>, _>(name);
    let unreadable = |error: serde_json::Error| sqlx::Error::Decode(Box::new(error));
    Ok(Kept {
        facts: text("facts")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(unreadable)?,
        lint: text("lint")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(unreadable)?,
        packages: u64::try_from(row.try_get::<i64, _>("packages")?).unwrap_or(0),
    })
}

/// The facts of an image.
pub async fn facts(db: &SqlitePool, image: &Image) -> Result<ImageFacts, sqlx::Error> {
    let mut disks = Vec::with_capacity(image.disks.len());
    for disk in &image.disks {
        let kept = kept(db, &disk.manifest).await?;
        disks.push(DiskFacts {
            role: disk.role.clone(),
            image_digest: disk.image_digest.clone(),
            plugins: kept.facts.as_ref().map(plugins::of).unwrap_or_default(),
            facts: kept.facts,
            package_count: kept.packages,
        });
    }
    Ok(ImageFacts {
        image_id: image.id.clone(),
        disks,
    })
}

/// The lint report of an image.
pub async fn lint(db: &SqlitePool, image: &Image) -> Result<ImageLint, sqlx::Error> {
    let mut disks = Vec::with_capacity(image.disks.len());
    let mut all = Vec::new();
    for disk in &image.disks {
        let findings = kept(db, &disk.manifest).await?.lint;
        all.extend(findings.iter().flatten().cloned());
        disks.push(DiskLint {
            role: disk.role.clone(),
            findings: findings.map(|findings| findings.into_iter().map(LintFinding::from).collect()),
        });
    }
    Ok(ImageLint {
        image_id: image.id.clone(),
        summary: LintSummary::of(&all),
        disks,
    })
}

/// Facts that were kept, as the type they were, without the list of packages; nothing when a newer version has written
/// them.
#[must_use]
pub fn typed(facts: &Value) -> Option<Facts> {
    Facts::deserialize(facts).ok()
}
