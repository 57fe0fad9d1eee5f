//! Images between projects, quotas, usage.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A project that an image is shared with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Member {
    pub project_id: String,
    pub project: String,
    pub state: String,
    pub created_at: Option<Timestamp>,
}

/// An image that somebody offers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Invitation {
    pub image_id: String,
    pub image_name: String,
    pub os_distribution: String,
    pub os_version: String,
    pub disk_size_bytes: u64,
    pub owner: String,
    pub state: String,
}

/// A project that may use a paid image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Entitlement {
    pub project_id: String,
    pub project: String,
    pub granted_by: String,
    pub created_at: Option<Timestamp>,
}

/// Whether an image can be deployed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Preflight {
    pub ready: bool,
    pub image: String,
    pub price: Value,
    pub conditions: Vec<Condition>,
}

/// One condition of that.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    pub condition: String,
    pub holds: bool,
    pub detail: String,
    pub remedy: String,
}

/// What a project may keep.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub stored_bytes: QuotaUse,
    pub users: Vec<UserQuota>,
}

/// What is used of a limit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct QuotaUse {
    pub used: u64,
    pub reserved: u64,
    pub limit: Option<u64>,
}

/// A user's part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UserQuota {
    pub user: String,
    pub images: QuotaUse,
}

/// What usage comes to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub items: Vec<UsageLine>,
    pub logical_gib_hours: String,
    pub deduplicated_gib_hours: String,
}

/// For one image and one project.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UsageLine {
    pub project_id: String,
    pub image_id: String,
    pub image_name: String,
    pub logical_gib_hours: String,
    pub deduplicated_gib_hours: String,
    pub servers: u64,
    pub charges: Vec<Charge>,
}

/// How often a price was paid.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Charge {
    pub price: Price,
    pub deployments: u64,
}

/// What a use costs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Price {
    pub amount: String,
    pub currency: String,
    pub per: String,
}

/// A record that bills are made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UsageRecord {
    pub id: i64,
    pub kind: String,
    pub project_id: String,
    pub image_id: String,
    pub begins_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub deduplicated_bytes: u64,
    pub price: Option<Price>,
}
