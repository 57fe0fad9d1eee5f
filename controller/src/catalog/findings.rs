//! What was read from the content of a disk: facts, lint report, packages.

use imprint_image::facts::{Fact, Facts, Finding, Package, Packages};
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{Catalog, CatalogError, Image, words::BootMode};

/// Rows of packages that go into the database at once.
const PACKAGES_AT_ONCE: usize = 500;

/// What the content itself says of the system; `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detected {
    /// "debian"
    pub os_distribution: Option<String>,
    /// "12"
    pub os_version: Option<String>,
    /// "x86_64"
    pub architecture: Option<String>,
    /// How firmware can start it.
    pub boot_modes: Option<Vec<BootMode>>,
}

/// What was read from the content of a disk.
#[derive(Debug, Clone)]
pub struct Findings {
    /// The facts; the list of packages is empty, since they are kept apart.
    pub facts: Value,
    /// What would keep it from working.
    pub lint: Value,
    /// Software.
    pub packages: Vec<Package>,
    /// What of it the catalogue sorts by.
    pub system: Detected,
}

impl Detected {
    /// Of a disk with these facts.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let distribution = facts.distribution.known();
        Self {
            os_distribution: distribution.map(|d| d.id.clone()),
            os_version: distribution.and_then(|d| d.version_id.clone()),
            architecture: facts.architecture.known().cloned(),
            boot_modes: boot_modes(facts),
        }
    }

    /// Refuses what was declared of an image and is not so.
    pub fn agrees_with(&self, declared: &Image) -> Result<(), CatalogError> {
        for (field, said, found) in [
            (
                "os_distribution",
                &declared.os_distribution,
                &self.os_distribution,
            ),
            ("os_version", &declared.os_version, &self.os_version),
            ("architecture", &declared.architecture, &self.architecture),
        ] {
            if let Some(found) = found
                && !said.is_empty()
                && !said.eq_ignore_ascii_case(found)
            {
                return Err(CatalogError::Contradiction {
                    field,
                    declared: said.clone(),
                    detected: found.clone(),
                });
            }
        }
        self.can_start(&declared.boot_modes)
    }

    /// Refuses a way to start that the content has not.
    pub fn can_start(&self, modes: &[BootMode]) -> Result<(), CatalogError> {
        let Some(found) = &self.boot_modes else {
            return Ok(());
        };
        if modes.iter().all(|mode| found.contains(mode)) {
            return Ok(());
        }
        Err(CatalogError::Contradiction {
            field: "boot_modes",
            declared: join(modes),
            detected: if found.is_empty() {
                "none".to_owned()
            } else {
                join(found)
            },
        })
    }
}

/// Known only when both ways were looked at.
fn boot_modes(facts: &Facts) -> Option<Vec<BootMode>> {
    let uefi = facts.firmware.uefi.known()?;
    let bios = facts.firmware.bios.known()?;
    let uefi = uefi.as_ref().is_some_and(|esp| !esp.loaders.is_empty());
    let mut modes = Vec::new();
    modes.extend(uefi.then_some(BootMode::Uefi));
    modes.extend(bios.boot_code.then_some(BootMode::Bios));
    Some(modes)
}

impl Catalog {
    /// What was read from a disk when it came, for another one with the same content. What the catalogue sorts by is left
    /// out: that is said of the image by now.
    pub(crate) async fn findings(&self, manifest: &str) -> Result<Option<Findings>, CatalogError> {
        let mut tx = self.db.begin().await?;
        let kept: Option<(Option<String>, Option<String>)> =
            sqlx::query_as("SELECT facts, lint FROM manifests WHERE manifest = ?")
                .bind(manifest)
                .fetch_optional(&mut *tx)
                .await?;
        let Some((Some(facts), lint)) = kept else {
            return Ok(None);
        };
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT name, version, architecture FROM manifest_packages WHERE manifest = ?")
                .bind(manifest)
                .fetch_all(&mut *tx)
                .await?;
        let package = |(name, version, architecture)| Package {
            name,
            version,
            architecture,
        };
        let document = |text: &str| serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()));
        Ok(Some(Findings {
            facts: document(&facts)?,
            lint: document(lint.as_deref().unwrap_or("[]"))?,
            packages: rows.into_iter().map(package).collect(),
            system: Detected::default(),
        }))
    }
}

fn join(modes: &[BootMode]) -> String {
    let words: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
    words.join(", ")
}

impl Findings {
    /// Of a disk with these facts and this lint report.
    pub fn new(facts: &Facts, lint: &[Finding]) -> Result<Self, serde_json::Error> {
        let system = Detected::of(facts);
        let mut packages = Vec::new();
        let mut kept = facts.clone();
        if let Fact::Known(Packages { packages: found, .. }) = &mut kept.packages {
            packages = std::mem::take(found);
        }
        packages.sort();
        packages.dedup();
        Ok(Self {
            facts: serde_json::to_value(kept)?,
            lint: serde_json::to_value(lint)?,
            packages,
            system,
        })
    }

    /// Enters them; what was entered before stays.
    pub(super) async fn insert(
        &self,
        connection: &mut SqliteConnection,
        manifest: &str,
    ) -> Result<(), sqlx::Error> {
        let changed =
            sqlx::query("UPDATE manifests SET facts = ?, lint = ? WHERE manifest = ? AND facts IS NULL")
                .bind(self.facts.to_string())
                .bind(self.lint.to_string())
                .bind(manifest)
                .execute(&mut *connection)
                .await?;
        if changed.rows_affected() == 0 {
            return Ok(());
        }
        for some in self.packages.chunks(PACKAGES_AT_ONCE) {
            let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
                "INSERT INTO manifest_packages (manifest, name, version, architecture) ",
            );
            sql.push_values(some, |mut row, package| {
                row.push_bind(manifest.to_owned())
                    .push_bind(package.name.clone())
                    .push_bind(package.version.clone())
                    .push_bind(package.architecture.clone());
            });
            sql.push(" ON CONFLICT DO NOTHING");
            sql.build().execute(&mut *connection).await?;
        }
        Ok(())
    }
}
