//! What is kept of a BMC.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{BmcQuirks, BootTarget, PowerError, secret::Sealed};
use crate::{clock::timestamp_from_ms, events::doing, identity::WrappedKey, words::words};

words! {
    /// How a server is powered.
    BmcKind, "kind of BMC", {
        /// By a BMC that speaks Redfish.
        Redfish => "redfish",
        /// By a BMC that speaks IPMI alone.
        Ipmi => "ipmi",
        /// By hand.
        Manual => "manual",
    }
}

/// The management controller of a node. Its password is told by nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BmcRecord {
    /// How the server is powered.
    pub kind: BmcKind,
    /// Redfish: http(s)://HOST[:PORT]; IPMI: HOST:PORT; else empty.
    pub address: String,
    /// Who the controller is there.
    pub user: String,
    /// Id or path of the system; null: the only one, or the one that is the node.
    pub system: Option<String>,
    /// SHA-256 over the one certificate that is trusted, hex.
    pub fingerprint: Option<String>,
    /// The CAs that are trusted; without both, those of the controller's host are.
    pub ca_pem: Option<String>,
    /// The address is http://: whoever is in the management network can read the password.
    pub plain_http: bool,
    /// How it boots from the network.
    pub boot: BootTarget,
    /// Its server's serial console is read by IPMI (Serial over LAN), for the logs of deployments.
    pub serial_over_lan: bool,
    /// What people have to know who power it by hand.
    pub instructions: String,
    /// What was set by an operator.
    pub quirks: BmcQuirks,
    /// What it said that it manages, when it was asked last; else empty.
    pub vendor: String,
    /// The same.
    pub model: String,
    /// Who set it; empty: nobody has.
    pub set_by: String,
    /// When it was set; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub set_at: Option<Timestamp>,
    /// Its password.
    #[serde(skip)]
    pub(super) sealed: Option<Sealed>,
    /// An override of the boot order that stays is still to be taken back.
    #[serde(skip)]
    pub(super) boot_left: bool,
    /// The controller's own CD is in the virtual drive.
    pub(super) media_left: bool,
}

impl BmcRecord {
    /// Of a node of which nobody has said anything.
    pub(super) fn none() -> Self {
        Self {
            kind: BmcKind::Manual,
            address: String::new(),
            user: String::new(),
            system: None,
            fingerprint: None,
            ca_pem: None,
            plain_http: false,
            boot: BootTarget::Pxe,
            serial_over_lan: false,
            instructions: String::new(),
            quirks: BmcQuirks::default(),
            vendor: String::new(),
            model: String::new(),
            set_by: String::new(),
            set_at: None,
            sealed: None,
            boot_left: false,
            media_left: false,
        }
    }

    /// What is done by hand, where there is no BMC.
    pub(super) fn by_hand(&self, node: &str) -> String {
        by_hand(node, &self.instructions)
    }
}

/// What is done by hand.
pub(crate) fn by_hand(node: &str, instructions: &str) -> String {
    let known = if instructions.is_empty() {
        String::new()
    } else {
        format!(" ({instructions})")
    };
    format!(
        "{node} has no BMC that the controller knows. Power it on or off by hand{known}; to have it boot the ramdisk, put the \
         network first in its boot order, or choose it in the firmware's boot menu. If it has a BMC: imprint node set-bmc {node}"
    )
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl sqlx::FromRow<'_, SqliteRow> for BmcRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let word = |column: &str| row.try_get::<String, _>(column);
        let sealed: Option<Vec<u8>> = row.try_get("sealed")?;
        let key: Option<Vec<u8>> = row.try_get("wrapped_key")?;
        let by: Option<String> = row.try_get("wrapped_by")?;
        let address = word("address")?;
        let sealed = match (sealed, key, by) {
            (Some(bytes), Some(key), Some(by)) => Some(Sealed {
                bytes,
                key: WrappedKey { bytes: key, by },
            }),
            _ => None,
        };
        Ok(Self {
            kind: word("kind")?.parse().map_err(decode)?,
            plain_http: address.starts_with("http://"),
            address,
            user: word("user_name")?,
            system: row.try_get("system")?,
            fingerprint: row.try_get("fingerprint")?,
            ca_pem: row.try_get("ca_pem")?,
            boot: word("boot")?.parse().map_err(decode)?,
            serial_over_lan: row.try_get("serial_over_lan")?,
            instructions: word("instructions")?,
            quirks: serde_json::from_str(&word("quirks")?).map_err(decode)?,
            vendor: word("vendor")?,
            model: word("model")?,
            set_by: word("set_by")?,
            set_at: Some(timestamp_from_ms(row.try_get("set_at")?)),
            sealed,
            boot_left: row.try_get("boot_left")?,
            media_left: row.try_get("media_left")?,
        })
    }
}

/// What is kept of a node's BMC; none: nothing is.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    node_id: &str,
) -> Result<Option<BmcRecord>, PowerError> {
    let found = sqlx::query_as("SELECT * FROM bmcs WHERE node_id = ?")
        .bind(node_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the BMC of the node"))?;
    Ok(found)
}
