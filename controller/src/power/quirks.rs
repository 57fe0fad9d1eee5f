//! Where BMCs differ from others: data, by vendor and model, and what an operator says of one.

use std::{sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const TABLE: &str = include_str!("quirks.toml");
/// What a change of power, or an answer, may take at most.
const LONGEST_SECONDS: u32 = 1800;

/// Where a BMC differs from others. What is null is as its vendor and model make it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcQuirks {
    /// How long a change of power may take; 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_seconds: Option<u32>,
    /// How long a system may take to shut down; 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_seconds: Option<u32>,
    /// How long an answer may take; 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_seconds: Option<u32>,
    /// User and password with each request, no sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<bool>,
    /// No If-Match with changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_if_match: Option<bool>,
    /// An override of the boot order stays until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_continuous: Option<bool>,
    /// An override of the boot order needs the boot mode beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<bool>,
    /// It cannot override the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_boot_override: Option<bool>,
    /// What it calls its virtual CD as a boot target; "Cd".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cd_target: Option<String>,
    /// Its UUID and serial number are not those that the server knows itself by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_identity: Option<bool>,
    /// IPMI: cipher suite; 17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<u8>,
}

impl BmcQuirks {
    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(&self, those: &Self) -> Self {
        Self {
            power_seconds: self.power_seconds.or(those.power_seconds),
            shutdown_seconds: self.shutdown_seconds.or(those.shutdown_seconds),
            request_seconds: self.request_seconds.or(those.request_seconds),
            basic_auth: self.basic_auth.or(those.basic_auth),
            no_if_match: self.no_if_match.or(those.no_if_match),
            boot_continuous: self.boot_continuous.or(those.boot_continuous),
            boot_mode: self.boot_mode.or(those.boot_mode),
            no_boot_override: self.no_boot_override.or(those.no_boot_override),
            cd_target: self.cd_target.clone().or_else(|| those.cd_target.clone()),
            other_identity: self.other_identity.or(those.other_identity),
            cipher_suite: self.cipher_suite.or(those.cipher_suite),
        }
    }

    /// What cannot be, as a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, seconds) in [
            ("power_seconds", self.power_seconds),
            ("shutdown_seconds", self.shutdown_seconds),
            ("request_seconds", self.request_seconds),
        ] {
            if seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
                return Err(format!("{name} is not between 1 and {LONGEST_SECONDS}"));
            }
        }
        let is_word = |word: &String| {
            (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if self.cd_target.as_ref().is_some_and(|word| !is_word(word)) {
            return Err("cd_target is no boot target of Redfish".to_owned());
        }
        Ok(())
    }

    /// How long a change of power may take.
    #[must_use]
    pub fn power(&self) -> Duration {
        Duration::from_secs(self.power_seconds.unwrap_or(60).into())
    }

    /// How long a system may take to shut down.
    #[must_use]
    pub fn shutdown(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds.unwrap_or(180).into())
    }

    /// How long an answer may take.
    #[must_use]
    pub fn request(&self) -> Duration {
        Duration::from_secs(self.request_seconds.unwrap_or(30).into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    bmc: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    vendor: String,
    #[serde(default)]
    model: String,
    quirks: BmcQuirks,
}

/// What is known of BMCs of this vendor and model.
#[must_use]
pub fn known(vendor: &str, model: &str) -> BmcQuirks {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        toml::from_str::<Table>(TABLE)
            .expect("the tests read the same table")
            .bmc
    });
    let has = |text: &str, part: &str| text.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let row = ROWS
        .iter()
        .find(|row| has(vendor, &row.vendor) && has(model, &row.model));
    row.map(|row| row.quirks.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_its_rows_can_be_had() {
        let table: Table = toml::from_str(TABLE).unwrap();
        for row in &table.bmc {
            row.quirks.check().unwrap();
            assert!(!row.vendor.is_empty() || !row.model.is_empty(), "{row:?}");
            assert_eq!(
                known(&row.vendor, &row.model),
                row.quirks,
                "hidden by an earlier row"
            );
        }
    }

    #[test]
    fn vendor_and_model_decide_and_the_operator_before_them() {
        let found = known("Supermicro", "SYS-1029P");
        assert_eq!(
            (found.boot_mode, found.cd_target.as_deref()),
            (Some(true), Some("UsbCd"))
        );
        assert_eq!(known("Somebody", "X"), BmcQuirks::default());
        let said = BmcQuirks {
            boot_mode: Some(false),
            ..BmcQuirks::default()
        };
        let all = said.or(&found);
        assert_eq!(
            (all.boot_mode, all.cd_target.as_deref()),
            (Some(false), Some("UsbCd"))
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let late = BmcQuirks {
            power_seconds: Some(0),
            ..BmcQuirks::default()
        };
        assert!(late.check().unwrap_err().contains("power_seconds"));
        let odd = BmcQuirks {
            cd_target: Some("Cd\"}".to_owned()),
            ..BmcQuirks::default()
        };
        assert!(odd.check().unwrap_err().contains("cd_target"));
    }
}
